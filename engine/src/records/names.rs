//! The names of all containers, and the references by which callers name one.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use super::lock;
use crate::domain::container::Container;
use crate::domain::id::{ContainerId, Name};
use crate::ledger::{Index, Projection};

/// The holders of all names, including names reserved for pending creations. Clones share one table.
#[derive(Debug, Clone, Default)]
pub(crate) struct Names(Arc<Mutex<HashMap<Name, ContainerId>>>);

impl Names {
    fn holder(&self, name: &Name) -> Option<ContainerId> {
        lock(&self.0).get(name).copied()
    }

    /// Reserves a name for a container; fails with the holder when it is taken.
    fn reserve(&self, name: &Name, id: ContainerId) -> Result<(), ContainerId> {
        match *lock(&self.0).entry(name.clone()).or_insert(id) {
            holder if holder == id => Ok(()),
            holder => Err(holder),
        }
    }

    fn holds_any(&self, id: &ContainerId) -> bool {
        lock(&self.0).values().any(|holder| holder == id)
    }

    /// Releases a name, if this container holds it.
    fn release(&self, name: &Name, id: ContainerId) {
        let mut names = lock(&self.0);
        if names.get(name) == Some(&id) {
            names.remove(name);
        }
    }
}

impl Index<Container> for Names {
    fn replace(&mut self, id: &ContainerId, before: Option<&Container>, after: Option<&Container>) {
        let (old, new) = (before.map(|container| &container.card.name), after.map(|container| &container.card.name));
        if let Some(old) = old.filter(|_| old != new) {
            self.release(old, *id);
        }
        // Reserved by a creation or a rename already; repeated so that the table never depends on it.
        if let Some(new) = new.filter(|_| old != new) {
            lock(&self.0).insert(new.clone(), *id);
        }
    }
}

/// A reference that names no container, or several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ResolveError {
    NotFound,
    Ambiguous,
}

impl Projection<Container> {
    /// By full id, name, or unambiguous prefix of an id, in this order.
    pub(crate) fn resolve(&self, reference: &str) -> Result<ContainerId, ResolveError> {
        let containers = self.snapshot();
        // Full ids come first: a container with another's id for its name must not receive that one's calls.
        if let Ok(id) = reference.parse::<ContainerId>()
            && containers.contains_key(&id)
        {
            return Ok(id);
        }
        if let Ok(name) = reference.parse::<Name>()
            && let Some(id) = containers.index.holder(&name).filter(|id| containers.contains_key(id))
        {
            return Ok(id);
        }
        let hex = |b: u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
        if reference.is_empty() || reference.len() > 64 || !reference.bytes().all(hex) {
            return Err(ResolveError::NotFound);
        }
        let lowest = format!("{reference:0<64}").parse::<ContainerId>().map_err(|_| ResolveError::NotFound)?;
        let ids = containers.since(lowest).map(|(id, _)| *id);
        let mut matching = ids.take_while(|id| id.to_string().starts_with(reference));
        match (matching.next(), matching.next()) {
            (None, _) => Err(ResolveError::NotFound),
            (Some(id), None) => Ok(id),
            (Some(_), Some(_)) => Err(ResolveError::Ambiguous),
        }
    }

    /// Reserves a name for a container; fails with the holder when it is taken.
    pub(crate) fn reserve_name(&self, name: &Name, id: ContainerId) -> Result<(), ContainerId> {
        self.index().reserve(name, id)
    }

    /// Releases a name, if this container holds it.
    pub(crate) fn release_name(&self, name: &Name, id: ContainerId) {
        self.index().release(name, id);
    }

    /// Whether the container exists or is being created: its name is reserved before its first file is made.
    pub(crate) fn knows(&self, id: &ContainerId) -> bool {
        self.get(id).is_some() || self.index().holds_any(id)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::container;
    use super::*;

    #[test]
    fn references_resolve_by_name_then_id_then_prefix() {
        let containers = Projection::<Container>::default();
        let (a, b) = (container("ab1", "one"), container("ab2", "ab1"));
        containers.restore(a.clone(), 1);
        containers.restore(b.clone(), 2);
        assert_eq!(containers.resolve("one"), Ok(a.id));
        assert_eq!(containers.resolve("ab1"), Ok(b.id), "a name wins over a prefix");
        assert_eq!(containers.resolve("ab10"), Ok(a.id));
        let taken = container("cd", &a.id.to_string());
        containers.restore(taken, 3);
        assert_eq!(containers.resolve(&a.id.to_string()), Ok(a.id), "a full id wins over a name");
        assert_eq!(containers.resolve("ab"), Err(ResolveError::Ambiguous));
        assert_eq!(containers.resolve(&b.id.to_string()), Ok(b.id));
        for nothing in ["", "ac", "zz", "no such", &"a".repeat(65), &"f".repeat(64)] {
            assert_eq!(containers.resolve(nothing), Err(ResolveError::NotFound), "{nothing}");
        }
    }

    #[test]
    fn a_name_has_one_holder_until_it_is_released() {
        let containers = Projection::<Container>::default();
        let (a, b) = (container("a", "x"), container("b", "y"));
        let name: Name = "n".parse().unwrap();
        assert_eq!(containers.reserve_name(&name, a.id), Ok(()));
        assert_eq!(containers.reserve_name(&name, b.id), Err(a.id));
        containers.release_name(&name, b.id);
        assert_eq!(containers.reserve_name(&name, b.id), Err(a.id));
        assert!(containers.knows(&a.id) && !containers.knows(&b.id), "a name is held before its container is recorded");
        containers.release_name(&name, a.id);
        assert!(!containers.knows(&a.id));
        assert_eq!(containers.reserve_name(&name, b.id), Ok(()));
    }

    #[test]
    fn a_rename_moves_the_name_and_a_removal_frees_it() {
        let containers = Projection::<Container>::default();
        let mut it = container("a", "old");
        containers.publish(&it.id, Some(it.clone()), 1);
        it.card.name = "new".parse().unwrap();
        containers.publish(&it.id, Some(it.clone()), 2);
        assert_eq!(containers.resolve("new"), Ok(it.id));
        assert_eq!(containers.resolve("old"), Err(ResolveError::NotFound));
        containers.publish(&it.id, None, 3);
        assert_eq!(containers.resolve("new"), Err(ResolveError::NotFound));
    }
}
