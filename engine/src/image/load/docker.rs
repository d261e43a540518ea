//! The docker-archive: `manifest.json` names configs, layers and tags.

use std::sync::Arc;

use super::archive::Archive;
use super::{Described, DescribedLayer, bad, check_count, check_size};
use crate::image::error::ImageError;
use crate::image::manifest::write::{ArchiveEntry, parse_archive};
use crate::image::manifest::{CONFIG_LIMIT, ImageConfig, MANIFEST_LIMIT};
use crate::image::reference::Reference;

pub(super) fn describe(archive: &Archive) -> Result<Vec<Described>, ImageError> {
    let bytes = archive.document("manifest.json", MANIFEST_LIMIT)?;
    let entries = parse_archive(&bytes).map_err(ImageError::document("manifest.json"))?;
    if entries.is_empty() {
        return Err(bad("its `manifest.json` names no image"));
    }
    check_count(entries.len())?;
    let mut images: Vec<Described> = Vec::new();
    for entry in entries {
        images.push(image(archive, entry)?);
        check_size(&images)?;
    }
    Ok(images)
}

fn image(archive: &Archive, entry: ArchiveEntry) -> Result<Described, ImageError> {
    let config = archive.document(&entry.config, CONFIG_LIMIT)?;
    let parsed = ImageConfig::parse(&config).map_err(ImageError::document(&entry.config))?;
    if parsed.diff_ids.len() != entry.layers.len() {
        let (layers, diff_ids) = (entry.layers.len(), parsed.diff_ids.len());
        return Err(bad(format!("an image in it has {layers} layers, and {diff_ids} in its config")));
    }
    let layer = |name: &String| Ok(DescribedLayer { section: archive.section(name)?, transported: None });
    let layers = entry.layers.iter().map(layer).collect::<Result<_, ImageError>>()?;
    check_count(entry.repo_tags.len())?;
    let names = entry.repo_tags.iter().map(|name| name.parse::<Reference>()).collect::<Result<_, _>>()?;
    Ok(Described { config, parsed: Arc::new(parsed), manifest: None, layers, names })
}
