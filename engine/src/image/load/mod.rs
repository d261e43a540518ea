//! Images out of archives: docker-archives and OCI layouts, plain or compressed.
//!
//! An archive comes in pieces and has its index at its end, so it is spooled, decompressed, into a file without
//! a name, and read from there.

mod archive;
mod docker;
mod oci;
mod spool;

use std::sync::Arc;

use self::archive::{Archive, Section};
use super::Images;
use super::add::{self, Addition};
use super::error::ImageError;
use super::feed::Pieces;
use super::making::{self, Expected};
use super::manifest::{ImageConfig, Platform};
use super::progress::{Cell, Progress, Stage};
use super::reference::Reference;
use super::save::plain_manifest;
use crate::domain::id::Digest;
use crate::domain::image::Source;
use crate::failpoint;
use crate::journal::record::Context;

/// An image that was loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Loaded {
    pub id: Digest,
    /// Familiar.
    pub names: Vec<String>,
}

/// An image as an archive describes it: checked, but for its layers.
#[derive(Debug)]
struct Described {
    config: Vec<u8>,
    parsed: Arc<ImageConfig>,
    /// The manifest's bytes, if the archive has one.
    manifest: Option<Vec<u8>>,
    layers: Vec<DescribedLayer>,
    names: Vec<Reference>,
}

#[derive(Debug)]
struct DescribedLayer {
    section: Section,
    /// Digest and length of the section, where the archive promises them.
    transported: Option<(Digest, u64)>,
}

impl Images {
    /// Takes all images of the archive that `pieces` brings, under their own names or, if there is one image only,
    /// under `name`. `received` is called when the archive is here as a whole; from then on `progress` counts its
    /// layers.
    pub(crate) async fn load(
        self: &Arc<Self>,
        pieces: Pieces,
        name: Option<Reference>,
        (progress, received): (&Progress, impl FnOnce()),
        context: &Context,
    ) -> Result<Vec<Loaded>, ImageError> {
        self.store.ready().await;
        let archive = spool::receive(self, pieces).await?;
        failpoint::hit(failpoint::LOAD_SPOOLED);
        received();
        let reading = {
            let archive = archive.clone();
            tokio::task::spawn_blocking(move || described(&archive, &Platform::host()))
        };
        let mut images = reading.await.map_err(|source| ImageError::Task { source })??;
        if let Some(name) = name {
            let [image] = images.as_mut_slice() else {
                let problem = format!("it holds {} images, and a name was given for one", images.len());
                return Err(ImageError::Archive { problem });
            };
            image.names = vec![name];
        }
        let all = images.iter().flat_map(|image| image.layers.iter().zip(&image.parsed.diff_ids));
        let sizes: Vec<_> = all.map(|(layer, diff_id)| (layer.name(diff_id), layer.section.length)).collect();
        // An archive has no digest that its sender knows.
        progress.resolved(Digest([0; 32]), &sizes);
        let mut cells = (0..sizes.len()).filter_map(|index| progress.cell(index));
        let mut loaded = Vec::new();
        for image in images {
            let cells: Vec<Arc<Cell>> = cells.by_ref().take(image.layers.len()).collect();
            loaded.push(self.load_one(&archive, image, &cells, context).await?);
        }
        Ok(loaded)
    }

    async fn load_one(
        self: &Arc<Self>,
        archive: &Arc<Archive>,
        image: Described,
        cells: &[Arc<Cell>],
        context: &Context,
    ) -> Result<Loaded, ImageError> {
        let Described { config, parsed, manifest, layers, names } = image;
        let _hold = self.store.hold(&parsed.diff_ids);
        for ((layer, diff_id), cell) in layers.iter().zip(&parsed.diff_ids).zip(cells) {
            let maker = self.store.maker(diff_id).await;
            if self.store.layer(diff_id).is_some() {
                cell.set(Stage::Exists);
                continue;
            }
            cell.set(Stage::Pulling);
            let reader = archive.reader(layer.section, cell.clone());
            let expected = Expected { diff_id: *diff_id, transported: layer.transported };
            making::make(self, expected, maker, reader, cell).await?;
        }
        let manifest = manifest.unwrap_or_else(|| plain_manifest(&self.store, &config, &parsed));
        let (familiar, names) =
            (names.iter().map(Reference::familiar).collect(), names.iter().map(ToString::to_string));
        let names = names.collect();
        let addition = Addition { source: Source::Loaded, config, manifest, parsed, names, pinned: false };
        let id = add::add(self, addition, context).await?;
        Ok(Loaded { id, names: familiar })
    }
}

impl DescribedLayer {
    fn name(&self, diff_id: &Digest) -> Digest {
        self.transported.map_or(*diff_id, |(digest, _)| digest)
    }
}

/// Describes all images, under names that an archive can give.
fn described(archive: &Archive, platform: &Platform) -> Result<Vec<Described>, ImageError> {
    let images = describe(archive, platform)?;
    if images.iter().any(|image| image.names.iter().any(|name| name.digest().is_some())) {
        return Err(bad("it gives an image a name by digest, which only a registry can vouch for"));
    }
    Ok(images)
}

/// Which of the two kinds it is shows in its files. Newer docker-archives are both; theirs is the kind with the names.
fn describe(archive: &Archive, platform: &Platform) -> Result<Vec<Described>, ImageError> {
    if archive.has("manifest.json") {
        docker::describe(archive)
    } else if archive.has("index.json") {
        oci::describe(archive, platform)
    } else {
        let problem =
            "it is neither a docker-archive (there is no `manifest.json`) nor an OCI layout (no `index.json`)";
        let hint = if archive.is_empty() { "; it is empty" } else { "; a root file system is taken by `isula import`" };
        Err(ImageError::Archive { problem: format!("{problem}{hint}") })
    }
}

/// The most images in an archive, and names of one: all of them are described in memory before the first is taken.
const LISTED: usize = 1_000;
const CONFIGS: u64 = 64 << 20;

fn check_count(count: usize) -> Result<(), ImageError> {
    if count > LISTED { Err(bad(format!("it lists more than {LISTED} images or names"))) } else { Ok(()) }
}

fn check_size(images: &[Described]) -> Result<(), ImageError> {
    let total: usize = images.iter().map(|image| image.config.len()).sum();
    if total as u64 <= CONFIGS {
        return Ok(());
    }
    Err(bad(format!("the configs of its images have more than {CONFIGS} bytes together")))
}

fn bad(problem: impl Into<String>) -> ImageError {
    ImageError::Archive { problem: problem.into() }
}
