//! The image that is part of the daemon: made in the store when its name is first requested.

use std::io::Cursor;
use std::sync::Arc;

use super::Images;
use super::add::{self, Addition};
use super::error::ImageError;
use super::making::{self, Expected};
use super::manifest::ImageConfig;
use super::pause::{self, PauseImage};
use super::reference::Reference;
use crate::domain::id::Digest;
use crate::domain::image::Source;
use crate::journal::record::{Actor, Context};
use crate::node::Trust;

impl Images {
    /// Makes the pause image when the name means it and it is missing, or is not this daemon's own.
    pub(crate) async fn provide_built_in(
        self: &Arc<Self>,
        reference: &Reference,
    ) -> Result<Option<Digest>, ImageError> {
        let name = reference.to_string();
        if name != pause::REFERENCE {
            return Ok(None);
        }
        self.store.ready().await;
        if self.node.trust() == Trust::ReadOnly {
            return Ok(None);
        }
        let PauseImage { layer, diff_id, config, manifest } = pause::pause_image();
        let id = super::manifest::digest_of(&config);
        let is_here = self.ledger.named(&name).is_some_and(|entity| entity.state.id == id);
        if is_here && self.store.layer(&diff_id).is_some() {
            return Ok(Some(id));
        }
        let _hold = self.store.hold(&[diff_id]);
        let maker = self.store.maker(&diff_id).await;
        if self.store.layer(&diff_id).is_none() {
            let expected = Expected { diff_id, transported: None };
            let (ingest, unpacked) = making::unpack(self, Some(expected), Cursor::new(layer)).await?;
            self.store.commit(ingest, (diff_id, maker), unpacked.facts).await?;
        }
        let parsed = ImageConfig::parse(&config).map_err(ImageError::document(&name))?;
        let (parsed, names) = (Arc::new(parsed), vec![name]);
        let addition = Addition { source: Source::Imported, config, manifest, parsed, names, pinned: true };
        add::add(self, addition, &Context::new(Actor::Engine)).await.map(Some)
    }
}
