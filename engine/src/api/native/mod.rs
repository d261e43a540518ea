//! `isula.v1`: the API of the command line.

mod attach;
mod container;
mod events;
mod exec;
mod files;
mod image;
mod limits;
mod logs;
mod network;
mod peer;
mod pieces;
mod relay;
mod status;
mod system;
mod usage;
mod volume;

use std::sync::Arc;

use crate::engine::Engine;

pub(crate) use status::ApiError;

/// One service object for all of the native services.
#[derive(Debug, Clone)]
pub(crate) struct Native {
    engine: Arc<Engine>,
}

impl Native {
    pub(crate) fn new(engine: Arc<Engine>) -> Self {
        Self { engine }
    }
}
