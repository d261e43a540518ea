//! Unpacking one layer from any source and putting it in its place.

use std::io::Read;

use super::Images;
use super::error::ImageError;
use super::layer::{self, Unpacked};
use super::progress::{Cell, Stage};
use super::store::{Ingest, Maker};
use crate::cancel;
use crate::domain::id::Digest;
use crate::failpoint;

/// The digests that a layer must have.
#[derive(Debug, Clone)]
pub(super) struct Expected {
    pub diff_id: Digest,
    /// Digest and length as transported, where a document promises them.
    pub transported: Option<(Digest, u64)>,
}

/// Unpacks the source and compares the result with the promised digests, before anything becomes visible. Nothing is
/// left when it fails, or when its caller goes away.
pub(super) async fn unpack(
    images: &Images,
    expected: Option<Expected>,
    source: impl Read + Send + 'static,
) -> Result<(Ingest, Unpacked), ImageError> {
    let (store, limits) = (images.store.clone(), images.node.config.images.limits.clone());
    // The directory stays with the work: when that is abandoned, it removes it as soon as it notices.
    let work = cancel::blocking(move |cancel| {
        let ingest = store.ingest()?;
        let named = expected.as_ref().map_or(Digest([0; 32]), Expected::name);
        let unpacked = layer::unpack(source, ingest.path(), &limits, &|| cancel.is_cancelled())
            .map_err(|source| ImageError::Layer { layer: named, source: source.into() })?;
        expected.map_or(Ok(()), |expected| expected.compare(&unpacked))?;
        Ok((ingest, unpacked))
    });
    work.await.map_err(|source| ImageError::Task { source })?
}

/// Unpacks a layer of a known diff id and puts it in its place, unless it is there.
pub(super) async fn make(
    images: &Images,
    expected: Expected,
    maker: Maker,
    source: impl Read + Send + 'static,
    cell: &Cell,
) -> Result<(), ImageError> {
    let diff_id = expected.diff_id;
    let (ingest, unpacked) = unpack(images, Some(expected), source).await?;
    failpoint::hit(failpoint::LAYER_UNPACKED);
    cell.set(Stage::Storing);
    images.store.commit(ingest, (diff_id, maker), unpacked.facts).await?;
    failpoint::hit(failpoint::LAYER_STORED);
    cell.set(Stage::Done);
    Ok(())
}

impl Expected {
    /// As its manifest names it.
    pub(super) fn name(&self) -> Digest {
        self.transported.map_or(self.diff_id, |(digest, _)| digest)
    }

    fn compare(&self, unpacked: &Unpacked) -> Result<(), ImageError> {
        let layer = self.name();
        let wrong = |what, expected: &dyn ToString, found: &dyn ToString| ImageError::WrongLayer {
            layer,
            what,
            expected: expected.to_string(),
            found: found.to_string(),
        };
        if let Some((digest, size)) = self.transported {
            let (found, length) = unpacked.source;
            if length != size {
                return Err(wrong("its size", &size, &length));
            }
            if found != digest {
                return Err(wrong("its digest", &digest, &found));
            }
        }
        if unpacked.facts.diff_id != self.diff_id {
            return Err(wrong("the digest of its content", &self.diff_id, &unpacked.facts.diff_id));
        }
        Ok(())
    }
}
