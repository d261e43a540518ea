//! Images as archives. Layers go out as the very tars they came as, so that every digest stays the same: the recipe
//! beside each layer has all but the files' contents.

use std::collections::{BTreeMap, HashSet};
use std::io::{self, Write};
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::mpsc;

use super::Images;
use super::error::ImageError;
use super::layer;
use super::manifest::document::{OCI_CONFIG, OCI_MANIFEST};
use super::manifest::write::{self, ArchiveEntry, OCI_LAYOUT, REF_NAME};
use super::manifest::{Descriptor, ImageConfig, digest_of};
use super::outlet::outlet;
use super::reference::Reference;
use super::remove::familiar;
use super::store::{Hold, ImageStore};
use super::uses::ImageLease;
use crate::domain::id::Digest;

/// The media type of a layer in a saved archive.
pub(super) const PLAIN_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// The layout of an archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    DockerArchive,
    OciLayout,
}

/// An image to be saved.
struct Saved {
    id: Digest,
    config: Vec<u8>,
    parsed: Arc<ImageConfig>,
    /// The names by which it was requested; all of its names for a request by id.
    names: Vec<String>,
    _lease: ImageLease,
}

impl Images {
    /// Everything is checked before the first byte; a later failure is an error in the stream.
    pub(crate) async fn save(
        self: &Arc<Self>,
        references: &[String],
        format: Format,
    ) -> Result<mpsc::Receiver<io::Result<Bytes>>, ImageError> {
        self.store.ready().await;
        let mut found: BTreeMap<Digest, Vec<String>> = BTreeMap::new();
        let mut order = Vec::new();
        for reference in references {
            let entity = self.find(reference)?;
            let id = entity.state.id;
            if !found.contains_key(&id) {
                order.push(id);
            }
            let names = found.entry(id).or_default();
            names.extend(self.names_for(reference, &entity.state));
            names.sort();
            names.dedup();
        }
        let (images, store) = (self.clone(), self.store.clone());
        let loading = tokio::task::spawn_blocking(move || -> Result<Vec<Saved>, ImageError> {
            let load = |id: &Digest| {
                let lease = images.leases.lease(*id)?;
                let (config, parsed) = (images.store.blob(id)?, images.config(id)?);
                let names = found.get(id).cloned().unwrap_or_default();
                Ok(Saved { id: *id, config, parsed, names, _lease: lease })
            };
            order.iter().map(load).collect()
        });
        let images = loading.await.map_err(|source| ImageError::Task { source })??;
        let needed: Vec<Digest> = images.iter().flat_map(|saved| saved.parsed.diff_ids.clone()).collect();
        let hold = store.hold(&needed);
        if let Some(missing) = needed.iter().find(|diff_id| store.layer(diff_id).is_none()) {
            let problem = format!("layer {missing} is not here or cannot be read; pull or load the image again");
            return Err(ImageError::Archive { problem });
        }
        let (mut outlet, pieces) = outlet();
        tokio::task::spawn_blocking(move || {
            let outcome = Archive { store: &store, images: &images, _hold: hold }.write(format, &mut outlet);
            outlet.finish(outcome);
        });
        Ok(pieces)
    }

    fn names_for(&self, asked: &str, image: &crate::domain::image::Image) -> Vec<String> {
        let all: Vec<String> =
            self.ledger.snapshot().names_of(image).into_iter().filter(|name| !name.contains('@')).collect();
        match asked.parse::<Reference>() {
            Ok(reference) if all.contains(&reference.to_string()) => vec![reference.to_string()],
            Ok(reference) if reference.digest().is_some() => vec![],
            _ => all,
        }
    }
}

struct Archive<'a> {
    store: &'a ImageStore,
    images: &'a [Saved],
    _hold: Hold,
}

impl Archive<'_> {
    fn write(&self, format: Format, out: &mut impl Write) -> io::Result<()> {
        let mut tar = tar::Builder::new(&mut *out);
        match format {
            Format::DockerArchive => self.docker(&mut tar)?,
            Format::OciLayout => self.oci(&mut tar)?,
        }
        tar.finish()?;
        drop(tar);
        out.flush()
    }

    fn docker(&self, tar: &mut tar::Builder<impl Write>) -> io::Result<()> {
        self.layers(tar, |diff_id| format!("{}.tar", diff_id.hex()))?;
        let mut entries = Vec::new();
        for image in self.images {
            let config = format!("{}.json", image.id.hex());
            append(tar, &config, &image.config)?;
            let layers = image.parsed.diff_ids.iter().map(|diff_id| format!("{}.tar", diff_id.hex())).collect();
            let repo_tags = image.names.iter().map(|name| familiar(name)).collect();
            entries.push(ArchiveEntry { config, repo_tags, layers });
        }
        append(tar, "manifest.json", &write::archive(&entries))
    }

    fn oci(&self, tar: &mut tar::Builder<impl Write>) -> io::Result<()> {
        append(tar, OCI_LAYOUT.0, OCI_LAYOUT.1.as_bytes())?;
        self.layers(tar, |diff_id| format!("blobs/sha256/{}", diff_id.hex()))?;
        let mut index = Vec::new();
        for image in self.images {
            append(tar, &format!("blobs/sha256/{}", image.id.hex()), &image.config)?;
            let manifest = plain_manifest(self.store, &image.config, &image.parsed);
            let digest = digest_of(&manifest);
            append(tar, &format!("blobs/sha256/{}", digest.hex()), &manifest)?;
            let mut entry = Descriptor::new(OCI_MANIFEST, digest, manifest.len() as u64);
            entry.platform = Some(image.parsed.platform());
            if image.names.is_empty() {
                index.push(entry.clone());
            }
            for name in &image.names {
                let mut named = entry.clone();
                named.annotations.insert(REF_NAME.to_owned(), familiar(name));
                named.annotations.insert("io.containerd.image.name".to_owned(), name.clone());
                index.push(named);
            }
        }
        append(tar, "index.json", &write::index(&index))
    }

    /// Writes each layer once, whatever images it is in.
    fn layers(&self, tar: &mut tar::Builder<impl Write>, name: impl Fn(&Digest) -> String) -> io::Result<()> {
        let mut written = HashSet::new();
        for diff_id in self.images.iter().flat_map(|image| &image.parsed.diff_ids) {
            if !written.insert(*diff_id) {
                continue;
            }
            let layer = self.store.layer(diff_id).ok_or(io::ErrorKind::NotFound)?;
            let mut header = header(layer.facts.tar_size);
            header.set_path(name(diff_id))?;
            header.set_cksum();
            let out = tar.get_mut();
            out.write_all(header.as_bytes())?;
            layer::assemble(&self.store.dirs().layer(diff_id), &mut *out)
                .map_err(|error| io::Error::other(format!("layer {diff_id}: {}", crate::cause::chain(&error))))?;
            let padding = layer.facts.tar_size.next_multiple_of(512) - layer.facts.tar_size;
            out.write_all(&[0; 512][..padding as usize])?;
        }
        Ok(())
    }
}

/// A manifest for layers that are not compressed: of images that came without one, and of saved ones.
pub(super) fn plain_manifest(store: &ImageStore, config: &[u8], parsed: &ImageConfig) -> Vec<u8> {
    let config = Descriptor::of(OCI_CONFIG, config);
    let layer = |diff_id: &Digest| {
        let size = store.layer(diff_id).map_or(0, |layer| layer.facts.tar_size);
        Descriptor::new(PLAIN_LAYER, *diff_id, size)
    };
    write::manifest(&config, &parsed.diff_ids.iter().map(layer).collect::<Vec<_>>())
}

fn append(tar: &mut tar::Builder<impl Write>, path: &str, bytes: &[u8]) -> io::Result<()> {
    tar.append_data(&mut header(bytes.len() as u64), path, bytes)
}

/// The same for the same image, whenever it is saved.
fn header(size: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_size(size);
    header.set_mode(0o644);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    header
}
