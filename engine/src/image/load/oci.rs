//! The OCI layout: `index.json` names manifests, and everything is a blob under its digest.

use std::sync::Arc;

use super::archive::Archive;
use super::{Described, DescribedLayer, bad, check_count, check_size};
use crate::image::error::ImageError;
use crate::image::manifest::write::REF_NAME;
use crate::image::manifest::{
    self, CONFIG_LIMIT, Descriptor, Document, ImageConfig, Index, MANIFEST_LIMIT, Manifest, Platform, digest_of,
};
use crate::image::reference::Reference;

/// The annotations that hold a whole name, and one that may hold a tag alone.
const WHOLE_NAME: &str = "io.containerd.image.name";

pub(super) fn describe(archive: &Archive, platform: &Platform) -> Result<Vec<Described>, ImageError> {
    check_version(archive)?;
    let bytes = archive.document("index.json", MANIFEST_LIMIT)?;
    let document = Document::parse(&bytes, None).map_err(ImageError::document("index.json"))?;
    let Document::Index(index) = document else { return Err(bad("its `index.json` is no index")) };
    check_count(index.manifests.len())?;
    let mut images: Vec<Described> = Vec::new();
    for entry in named_entries(&index, platform)? {
        let image = image(archive, entry, platform)?;
        // One image under several names is listed several times.
        match images.iter_mut().find(|known| known.config == image.config) {
            Some(known) => known.names.extend(image.names),
            None => images.push(image),
        }
        check_size(&images)?;
    }
    if images.is_empty() { Err(bad("its `index.json` names no image")) } else { Ok(images) }
}

/// A layout without a version is read as a present one.
fn check_version(archive: &Archive) -> Result<(), ImageError> {
    if !archive.has("oci-layout") {
        return Ok(());
    }
    let bytes = archive.document("oci-layout", MANIFEST_LIMIT)?;
    let layout: serde_json::Value =
        serde_json::from_slice(&bytes).map_err(|error| bad(format!("its `oci-layout` is not valid: {error}")))?;
    match layout["imageLayoutVersion"].as_str() {
        Some(version) if version.starts_with("1.") => Ok(()),
        Some(version) => Err(bad(format!("its layout has version `{}`, which is not known", version.escape_debug()))),
        None => Err(bad("its `oci-layout` names no version")),
    }
}

/// Of entries with one name for several platforms the one for this machine; of those without a platform all.
fn named_entries<'a>(index: &'a Index, platform: &Platform) -> Result<Vec<&'a Descriptor>, ImageError> {
    let name = |entry: &Descriptor| name_of(entry).map(str::to_owned);
    let mut chosen = Vec::new();
    let mut seen = Vec::new();
    for entry in &index.manifests {
        let same: Vec<_> = index.manifests.iter().filter(|other| name(other) == name(entry)).collect();
        let one_of_several = same.len() > 1 && same.iter().all(|other| other.platform.is_some());
        if !one_of_several || same.iter().all(|other| other.platform == entry.platform) {
            chosen.push(entry);
        } else if !seen.contains(&name(entry)) {
            seen.push(name(entry));
            let manifests = same.into_iter().cloned().collect();
            let candidates = Index { media_type: index.media_type.clone(), manifests };
            let best = platform.choose(&candidates).map_err(ImageError::document("index.json"))?.digest;
            chosen.extend(index.manifests.iter().find(|other| other.digest == best && name(other) == name(entry)));
        }
    }
    Ok(chosen)
}

fn name_of(entry: &Descriptor) -> Option<&str> {
    let annotation = |key| entry.annotations.get(key).map(String::as_str);
    annotation(WHOLE_NAME).or_else(|| annotation(REF_NAME)).filter(|name| !name.is_empty())
}

fn image(archive: &Archive, entry: &Descriptor, platform: &Platform) -> Result<Described, ImageError> {
    let (bytes, manifest) = manifest_of(archive, entry, platform)?;
    let config = blob(archive, &manifest.config, CONFIG_LIMIT)?;
    let shown = format!("config {}", manifest.config.digest);
    let parsed = ImageConfig::parse(&config).map_err(ImageError::document(&shown))?;
    manifest::check_layers(&manifest, &parsed).map_err(ImageError::document(&shown))?;
    let layer = |layer: &manifest::Layer| {
        let Descriptor { digest, size, .. } = layer.descriptor;
        Ok(DescribedLayer { section: archive.section(&path(&layer.descriptor))?, transported: Some((digest, size)) })
    };
    let layers = manifest.layers.iter().map(layer).collect::<Result<_, ImageError>>()?;
    // A tag alone names no image: only the user who loads it knows its repository.
    let names = name_of(entry).filter(|name| name.contains(['/', ':']));
    let names = names.map(str::parse::<Reference>).transpose()?.into_iter().collect();
    Ok(Described { config, parsed: Arc::new(parsed), manifest: Some(bytes), layers, names })
}

fn manifest_of(archive: &Archive, entry: &Descriptor, platform: &Platform) -> Result<(Vec<u8>, Manifest), ImageError> {
    let bytes = blob(archive, entry, MANIFEST_LIMIT)?;
    let shown = || ImageError::document(format!("manifest {}", entry.digest));
    match Document::parse(&bytes, Some(&entry.media_type)).map_err(shown())? {
        Document::Manifest(manifest) => Ok((bytes, manifest)),
        Document::Index(index) => {
            let chosen = platform.choose(&index).map_err(shown())?;
            let bytes = blob(archive, chosen, MANIFEST_LIMIT)?;
            match Document::parse(&bytes, Some(&chosen.media_type)).map_err(shown())? {
                Document::Manifest(manifest) => Ok((bytes, manifest)),
                Document::Index(_) => Err(bad("an index within an index is not followed")),
            }
        }
    }
}

/// The content of a descriptor, verified by its size and digest.
fn blob(archive: &Archive, descriptor: &Descriptor, limit: u64) -> Result<Vec<u8>, ImageError> {
    let bytes = archive.document(&path(descriptor), limit)?;
    let found = digest_of(&bytes);
    if bytes.len() as u64 != descriptor.size || found != descriptor.digest {
        return Err(bad(format!("blob {} in it is not what its name says: its digest is {found}", descriptor.digest)));
    }
    Ok(bytes)
}

fn path(descriptor: &Descriptor) -> String {
    format!("blobs/sha256/{}", descriptor.digest.hex())
}
