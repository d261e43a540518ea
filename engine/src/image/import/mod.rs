//! Importing: a root file system as a tar becomes an image of one layer.

mod changes;

use std::sync::Arc;

use super::Images;
use super::add::{self, Addition};
use super::error::ImageError;
use super::feed::Pieces;
use super::making;
use super::manifest::{Execution, HistoryEntry, ImageConfig, Platform};
use super::reference::Reference;
use super::save::plain_manifest;
use crate::clock;
use crate::domain::id::Digest;
use crate::domain::image::Source;
use crate::failpoint;
use crate::journal::record::Context;

/// A tar of nothing at all: the two blocks at its end.
const SMALLEST: u64 = 1024;

/// The name, changes and other facts for the image of an imported tar.
#[derive(Debug, Default)]
pub(crate) struct Import {
    pub name: Option<Reference>,
    /// As in a Dockerfile.
    pub changes: Vec<String>,
    pub message: String,
    /// `None` is the host's.
    pub platform: Option<Platform>,
}

impl Import {
    /// The config's part that the changes make, or the error of the first invalid one.
    pub(crate) fn execution(&self) -> Result<Execution, ImageError> {
        changes::apply(&self.changes)
    }
}

impl Images {
    /// Takes the tar that `pieces` brings and answers the image's id. The changes are checked before anything is read.
    pub(crate) async fn import(
        self: &Arc<Self>,
        import: Import,
        pieces: Pieces,
        context: &Context,
    ) -> Result<Digest, ImageError> {
        let execution = import.execution()?;
        self.store.ready().await;
        let (ingest, unpacked) = making::unpack(self, None, pieces).await?;
        failpoint::hit(failpoint::LAYER_UNPACKED);
        // There is no digest to compare: at least the tar is an archive, and not the empty rest of a command that
        // failed.
        if unpacked.facts.tar_size < SMALLEST {
            tokio::task::spawn_blocking(move || drop(ingest));
            return Err(ImageError::Archive { problem: "it is empty".to_owned() });
        }
        let diff_id = unpacked.facts.diff_id;
        let _hold = self.store.hold(&[diff_id]);
        let maker = self.store.maker(&diff_id).await;
        if self.store.layer(&diff_id).is_none() {
            self.store.commit(ingest, (diff_id, maker), unpacked.facts).await?;
        } else {
            // The drop removes files, which blocks.
            tokio::task::spawn_blocking(move || drop(ingest));
        }
        failpoint::hit(failpoint::LAYER_STORED);
        let platform = import.platform.unwrap_or_else(Platform::host);
        let now = Some(clock::now());
        let comment = if import.message.is_empty() { "Imported".to_owned() } else { import.message };
        let parsed = ImageConfig {
            architecture: platform.architecture,
            os: platform.os,
            variant: platform.variant,
            created: now,
            author: String::new(),
            execution,
            diff_ids: vec![diff_id],
            history: vec![HistoryEntry { created: now, comment, ..HistoryEntry::default() }],
        };
        let config = parsed.to_bytes();
        let manifest = plain_manifest(&self.store, &config, &parsed);
        let names = import.name.iter().map(ToString::to_string).collect();
        let parsed = Arc::new(parsed);
        let addition = Addition { source: Source::Imported, config, manifest, parsed, names, pinned: false };
        add::add(self, addition, context).await
    }
}
