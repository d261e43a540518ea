//! Pulling: the name is resolved, then its layers come side by side, each unpacked as it comes, then one record is
//! appended.
//!
//! A caller that wants an image that is being pulled already joins in; a pull is cancelled when its last caller has
//! gone. Layers of a cancelled pull are removed; whole layers of one that failed or was killed stay for a day, for the
//! next attempt.

mod shared;

use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::Images;
use super::add::{self, Addition};
use super::error::ImageError;
use super::feed::{Feed, feed};
use super::find::stack;
use super::making::{self, Expected};
use super::manifest::{self, CONFIG_LIMIT, Document, ImageConfig, Layer, Manifest, Platform};
use super::progress::{Cell, Progress, Stage};
use super::reference::Reference;
use super::registry::{Blob, Credentials, RegistryError, Resolved};
use crate::domain::id::Digest;
use crate::domain::image::Source;
use crate::failpoint;
use crate::journal::record::Context;

pub(crate) use shared::Pulling;
pub(super) use shared::Pulls;

/// The image to pull.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    pub reference: Reference,
    /// `None` takes the host's, and an image for another where there is no choice.
    pub platform: Option<Platform>,
    /// Credentials of the request, which are used instead of stored ones.
    pub credentials: Option<Credentials>,
}

/// The outcome of a pull.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pulled {
    pub id: Digest,
    /// The resolved name, with the digest.
    pub reference: Reference,
    /// The image was here already, under this name.
    pub up_to_date: bool,
}

async fn pull(
    images: &Arc<Images>,
    wanted: &Wanted,
    (progress, pulled_layers): (&Progress, &shared::PulledLayers),
    context: &Context,
) -> Result<Pulled, ImageError> {
    let shown = wanted.reference.familiar();
    let refused = |source: RegistryError| ImageError::Registry { reference: shown.clone(), source: source.into() };
    images.store.ready().await;
    if let Some(id) = images.provide_built_in(&wanted.reference).await? {
        return Ok(Pulled { id, reference: wanted.reference.clone(), up_to_date: true });
    }
    let resolved = images.registry.resolve(&wanted.reference, wanted.credentials.as_ref()).await.map_err(refused)?;
    failpoint::hit(failpoint::PULL_RESOLVED);
    let (bytes, manifest) = choose(images, wanted, &resolved).await?;
    let config = images.registry.small_blob(&resolved.source, &manifest.config, CONFIG_LIMIT).await.map_err(refused)?;
    let parsed = Arc::new(ImageConfig::parse(&config).map_err(ImageError::document(&shown))?);
    manifest::check_layers(&manifest, &parsed).map_err(ImageError::document(&shown))?;
    check_platform(wanted, &parsed)?;
    let reference = wanted.reference.with_digest(resolved.digest);
    // A digest in the name decides: its tag was not resolved.
    let names = match (wanted.reference.digest(), wanted.reference.tagged()) {
        (None, Some(tagged)) => vec![tagged.to_string(), reference.to_string()],
        (_, _) => vec![reference.to_string()],
    };
    let id = manifest.config.digest;
    let _hold = images.store.hold(&parsed.diff_ids);
    let sizes: Vec<_> = manifest.layers.iter().map(|layer| (layer.descriptor.digest, layer.descriptor.size)).collect();
    progress.resolved(resolved.digest, &sizes);
    let records = images.ledger.snapshot();
    let known = names.iter().all(|name| records.named(name).is_some_and(|entity| entity.state.id == id));
    let whole = stack(&parsed.diff_ids).iter().all(|diff_id| images.store.layer(diff_id).is_some());
    let up_to_date = known && whole && images.config(&id).is_ok();
    if up_to_date {
        (0..sizes.len()).filter_map(|index| progress.cell(index)).for_each(|cell| cell.set(Stage::Exists));
        return Ok(Pulled { id, reference, up_to_date });
    }
    pulled_layers.note(&parsed.diff_ids);
    fetch_layers(images, wanted, &resolved, &manifest, &parsed, progress).await?;
    let addition = Addition { source: Source::Pulled, config, manifest: bytes, parsed, names, pinned: false };
    let added = add::add(images, addition, context).await?;
    debug_assert_eq!(added, id, "the config was verified");
    Ok(Pulled { id, reference, up_to_date })
}

/// The manifest for the platform, and its bytes.
async fn choose(images: &Images, wanted: &Wanted, resolved: &Resolved) -> Result<(Vec<u8>, Manifest), ImageError> {
    let shown = wanted.reference.familiar();
    let index = match &resolved.document {
        Document::Manifest(manifest) => return Ok((resolved.bytes.clone(), manifest.clone())),
        Document::Index(index) => index,
    };
    let platform = wanted.platform.clone().unwrap_or_else(Platform::host);
    let chosen = platform.choose(index).map_err(ImageError::document(&shown))?;
    let refused = |source: RegistryError| ImageError::Registry { reference: shown.clone(), source: source.into() };
    let bytes = images.registry.manifest(&resolved.source, chosen).await.map_err(refused)?;
    match Document::parse(&bytes, Some(&chosen.media_type)).map_err(ImageError::document(&shown))? {
        Document::Manifest(manifest) => Ok((bytes, manifest)),
        Document::Index(index) => {
            let problem = "an index within an index is not followed".to_owned();
            let what = "index";
            tracing::debug!(manifests = index.manifests.len(), "an index within an index");
            Err(ImageError::document(&shown)(manifest::ManifestError::Invalid { what, problem }))
        }
    }
}

/// Refuses an image for a platform other than the wanted one. An image without a platform is for all.
fn check_platform(wanted: &Wanted, config: &ImageConfig) -> Result<(), ImageError> {
    let platform = wanted.platform.clone().unwrap_or_else(Platform::host);
    let found = config.platform();
    let same = |found: &str, wanted: &str| found.is_empty() || found == wanted;
    if same(&found.os, &platform.os) && same(&found.architecture, &platform.architecture) {
        return Ok(());
    }
    let (found, wanted_text) = (found.to_string(), platform.to_string());
    Err(ImageError::Platform { reference: wanted.reference.familiar(), found, wanted: wanted_text })
}

/// All layers that are not here, a few at a time, from the bottom up. The first failure ends the others.
async fn fetch_layers(
    images: &Arc<Images>,
    wanted: &Wanted,
    resolved: &Resolved,
    manifest: &Manifest,
    config: &ImageConfig,
    progress: &Progress,
) -> Result<(), ImageError> {
    let places = Arc::new(Semaphore::new(images.node.config.images.pull_concurrency));
    let mut tasks = JoinSet::new();
    for (index, (layer, diff_id)) in manifest.layers.iter().zip(&config.diff_ids).enumerate() {
        let Some(cell) = progress.cell(index) else { continue };
        let retried = cell.clone();
        let blob = images.registry.blob(&resolved.source, &layer.descriptor);
        let blob = blob.on_retry(move |_| retried.set(Stage::Retrying));
        let fetching = Fetching { images: images.clone(), layer: layer.clone(), diff_id: *diff_id, blob, cell };
        let (places, reference) = (places.clone(), wanted.reference.familiar());
        tasks.spawn(async move {
            let _place = places.acquire_owned().await;
            fetching.run(&reference).await
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.map_err(|source| ImageError::Task { source })??;
    }
    Ok(())
}

/// One layer that is being fetched.
struct Fetching {
    images: Arc<Images>,
    layer: Layer,
    diff_id: Digest,
    blob: Blob,
    cell: Arc<Cell>,
}

impl Fetching {
    async fn run(self, reference: &str) -> Result<(), ImageError> {
        let Self { images, layer, diff_id, blob, cell } = self;
        // Somebody else may be at it, for another image: then it is here afterwards.
        let maker = images.store.maker(&diff_id).await;
        if images.store.layer(&diff_id).is_some() {
            cell.set(Stage::Exists);
            return Ok(());
        }
        cell.set(Stage::Pulling);
        let transported = Some((layer.descriptor.digest, layer.descriptor.size));
        let (feed, pieces) = feed();
        let making = making::make(&images, Expected { diff_id, transported }, maker, pieces, &cell);
        let (made, received) = tokio::join!(making, receive(blob, feed, &cell));
        // An unpacking that broke off because the download did is no news.
        match received {
            Err(source) => Err(ImageError::Registry { reference: reference.to_owned(), source: source.into() }),
            Ok(()) => made,
        }
    }
}

/// Passes a blob on until its end, or until the other side has seen enough.
async fn receive(mut blob: Blob, feed: Feed, cell: &Cell) -> Result<(), RegistryError> {
    while let Some(bytes) = blob.next().await {
        let bytes = bytes?;
        if cell.stage() == Stage::Retrying {
            cell.set(Stage::Pulling);
        }
        cell.add(bytes.len() as u64);
        if feed.push(bytes).await.is_err() {
            return Ok(());
        }
    }
    let _ = feed.end().await;
    Ok(())
}
