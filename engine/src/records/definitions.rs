//! The definitions of containers: files beside the journal, read when they are needed, cached while they are used.

use std::sync::Arc;

use super::{Containers, Entity, Labels};
use crate::cause::chain;
use crate::definition::{self, Definition, DefinitionError};
use crate::domain::container::Container;
use crate::domain::id::{ContainerId, Digest};

impl Containers {
    /// The definition, from the cache or from its file, which must have the recorded digest. Blocks on the
    /// disk, unless it is cached.
    pub(crate) fn definition(&self, entity: &Entity) -> Result<Arc<Definition>, DefinitionError> {
        if let Some(definition) = self.cached_definition(entity) {
            return Ok(definition);
        }
        let (definition, digest, bytes) = self.read_definition(entity)?;
        self.definitions.put(digest, definition.clone(), bytes);
        Ok(definition)
    }

    /// The same for a caller that goes through many containers: the cache stays as it is.
    pub(crate) fn definition_uncached(&self, entity: &Entity) -> Result<Arc<Definition>, DefinitionError> {
        match self.cached_definition(entity) {
            Some(definition) => Ok(definition),
            None => self.read_definition(entity).map(|(definition, ..)| definition),
        }
    }

    /// Caches a definition that was just written and is needed at once. `bytes`: the length of its file.
    pub(crate) fn cache_definition(&self, digest: Digest, definition: Arc<Definition>, bytes: usize) {
        self.definitions.put(digest, definition, bytes);
    }

    /// The definition if it is cached. Does not block.
    pub(crate) fn cached_definition(&self, entity: &Entity) -> Option<Arc<Definition>> {
        self.definitions.get(&entity.state.card.definition)
    }

    /// The container's labels. Blocks on the disk unless they are cached, as few ones are after the first read.
    pub(crate) fn labels(&self, entity: &Entity) -> Result<Labels, DefinitionError> {
        match entity.labels() {
            Some(labels) => Ok(labels),
            None => self.definition_uncached(entity).map(|definition| entity.remember_labels(&definition.labels)),
        }
    }

    fn read_definition(&self, entity: &Entity) -> Result<(Arc<Definition>, Digest, usize), DefinitionError> {
        let container = &entity.state;
        let digest = container.card.definition;
        match self.read_placed(container, &digest) {
            Ok((read, bytes)) => {
                entity.remember_labels(&read.labels);
                Ok((Arc::new(read), digest, bytes))
            }
            // An update may have replaced it since the caller read the entry.
            Err(DefinitionError::Altered { path }) => match self.ledger.get(&container.id) {
                Some(now) if now.state.card.definition != digest => self.read_definition(&now),
                Some(_) | None => Err(DefinitionError::Altered { path }),
            },
            Err(error) => Err(error),
        }
    }

    /// The definition with this digest: the container's present one, or a pending update's. Blocks.
    pub(crate) fn definition_of(&self, container: &Container, digest: &Digest) -> Result<Definition, DefinitionError> {
        self.read_placed(container, digest).map(|(definition, _)| definition)
    }

    /// With the length of its file.
    fn read_placed(&self, container: &Container, digest: &Digest) -> Result<(Definition, usize), DefinitionError> {
        let (mut definition, bytes) = definition::read(&self.node.bundle(container).definition(), digest)?;
        definition.place_volumes(&self.node.layout);
        Ok((definition, bytes))
    }

    /// Moves the definition with the recorded digest to its place, and removes leftovers of rejected or interrupted
    /// updates beside it. The caller holds the container's place for updates, or is recovery, which runs before any
    /// update. Blocks.
    pub(crate) fn settle_definition(&self, id: &ContainerId) {
        let Some(before) = self.ledger.get(id) else { return };
        let _files = before.hold_files();
        // Read again, since the lock may have been waited for during a change.
        let Some(entity) = self.ledger.get(id) else { return };
        let container = &entity.state;
        let wanted = container.update.map(|update| update.definition);
        let settled =
            definition::settle(&self.node.bundle(container).definition(), &container.card.definition, wanted.as_ref());
        if let Err(error) = settled {
            self.node.warn(format!("container {}: {}", id.short(), chain(&error)));
        }
    }
}
