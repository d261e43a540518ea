//! Recording an image whose layers are here: documents first, then one record with all facts.

use std::sync::Arc;

use super::Images;
use super::cover;
use super::error::ImageError;
use super::manifest::{CONFIG_LIMIT, ImageConfig};
use super::store::StoreError;
use crate::clock;
use crate::domain::id::Digest;
use crate::domain::image::{Command, Facts, Source};
use crate::domain::text::cut;
use crate::failpoint;
use crate::journal::record::Context;

/// An image to be recorded.
#[derive(Debug)]
pub(super) struct Addition {
    pub source: Source,
    /// The documents as they came: each is named by its digest.
    pub config: Vec<u8>,
    pub manifest: Vec<u8>,
    /// `config`, parsed.
    pub parsed: Arc<ImageConfig>,
    /// Canonical.
    pub names: Vec<String>,
    pub pinned: bool,
}

/// Makes the documents and the layers' names durable, then records the image. The caller holds the layers. Returns the
/// image's id.
pub(super) async fn add(images: &Images, addition: Addition, context: &Context) -> Result<Digest, ImageError> {
    let Addition { source, config, manifest, parsed, names, pinned } = addition;
    debug_assert!(config.len() as u64 <= CONFIG_LIMIT, "documents are limited where they are received");
    let cover = cover::make(images, &parsed.diff_ids).await?;
    let cover_id = cover.as_ref().map(|(diff_id, _)| *diff_id);
    // One at a time: the names and documents that one change has found are not removed by another.
    let _changes = images.changes.lock().await;
    let store = images.store.clone();
    let writing = tokio::task::spawn_blocking(move || -> Result<_, StoreError> {
        let id = store.put_blob(&config)?;
        store.put_cover(&id, cover_id.as_ref())?;
        Ok((id, store.put_blob(&manifest)?))
    });
    let (id, manifest) = writing.await.map_err(|source| ImageError::Task { source })??;
    images.store.sync_names().await?;
    failpoint::hit(failpoint::IMAGE_BEFORE_RECORD);
    let now = clock::now();
    let sizes = parsed.diff_ids.iter().filter_map(|diff_id| images.store.layer(diff_id));
    let facts = Facts {
        manifest,
        size: sizes.map(|layer| layer.facts.size).sum(),
        layers: u16::try_from(parsed.diff_ids.len()).unwrap_or(u16::MAX),
        created: parsed.created,
        added_at: now,
        used_at: now,
        pinned,
        os: cut(&parsed.os, Facts::WORD_LIMIT).to_owned(),
        architecture: cut(&parsed.architecture, Facts::WORD_LIMIT).to_owned(),
    };
    let since = images.ledger.next_since();
    let needed: Vec<Digest> = parsed.diff_ids.iter().copied().chain(cover_id).collect();
    images.layer_uses.add(id, &needed);
    let recorded = images.ledger.turn(&id, context, &Command::Add { source, facts, names: names.clone(), since }).await;
    if recorded.is_err() && images.ledger.get(&id).is_none() {
        images.layer_uses.remove(&id);
    }
    recorded?;
    failpoint::hit(failpoint::IMAGE_RECORDED);
    untag_previous_holders(images, id, &names, context).await;
    Ok(id)
}

/// Untags the images that had these names before. Nothing depends on it: a name belongs to the image that took it last;
/// so a failure is logged and left to the next time.
pub(super) async fn untag_previous_holders(images: &Images, holder: Digest, names: &[String], context: &Context) {
    for name in names {
        for previous in images.ledger.snapshot().listing(name).into_iter().filter(|id| *id != holder) {
            let untag = Command::Untag { name: name.clone() };
            if let Err(error) = images.ledger.turn(&previous, context, &untag).await {
                tracing::warn!(image_id = %previous.short(), %name, %error, "a name that was lost stays listed");
            }
        }
    }
}
