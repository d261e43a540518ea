//! A container as a caller named it.

use std::sync::Arc;

use super::ContainerError;
use crate::domain::id::ContainerId;
use crate::engine::Engine;
use crate::records::Entity;

/// A container, with the caller's reference to it for the texts of errors.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Target<'a> {
    pub id: ContainerId,
    pub reference: &'a str,
}

impl<'a> Target<'a> {
    pub(crate) fn find(engine: &Engine, reference: &'a str) -> Result<Self, ContainerError> {
        let found = engine.containers.resolve(reference);
        let id = found.map_err(|error| ContainerError::of_resolve(error, reference))?;
        Ok(Self { id, reference })
    }

    /// The container as of now; an error when it is gone by now.
    pub(crate) fn entity(&self, engine: &Engine) -> Result<Arc<Entity>, ContainerError> {
        let gone = || ContainerError::NoSuchContainer { reference: self.reference.to_owned() };
        engine.containers.get(&self.id).ok_or_else(gone)
    }
}
