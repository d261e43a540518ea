//! The containers that mount a volume, by their definitions.

use std::collections::HashMap;

use super::Volumes;
use crate::definition::{Definition, MountKind};
use crate::domain::id::{ContainerId, VolumeName};
use crate::records::Containers;

/// A user that keeps a volume from being removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum User {
    Container(ContainerId),
    /// Its definition cannot be read: it may be using any volume.
    Unreadable(ContainerId),
    /// A container that is being created.
    Creation,
    /// Containers that the store does not know may be there: their directories cannot be listed.
    Unlisted(String),
}

/// Every volume with its users. Containers that may use any volume are kept apart.
#[derive(Debug, Default)]
pub(super) struct Uses {
    by_name: HashMap<String, Vec<ContainerId>>,
    unreadable: Vec<ContainerId>,
    /// Why there may be other containers.
    unlisted: Option<String>,
}

impl Uses {
    /// Reads the definitions of all containers but one. Blocks on the disk.
    pub(super) fn of_all_but(containers: &Containers, left_out: Option<ContainerId>) -> Self {
        let mut uses = Self::default();
        for (id, entity) in containers.snapshot().iter() {
            if left_out == Some(*id) {
                continue;
            }
            match containers.definition_uncached(entity) {
                Ok(definition) => uses.add(*id, &definition),
                // The container was removed meanwhile, and its definition with it.
                Err(_) if containers.get(id).is_none() => {}
                Err(_) => uses.unreadable.push(*id),
            }
        }
        // Also of a store that is whole: it may have been lost, and begun again without the records that could not be
        // rebuilt.
        match containers.unknown() {
            Ok(unknown) => {
                unknown.into_iter().filter(|(id, _)| left_out != Some(*id)).for_each(|each| uses.add_unknown(each))
            }
            Err(problem) => uses.unlisted = Some(problem),
        }
        uses
    }

    fn add(&mut self, id: ContainerId, definition: &Definition) {
        for name in volumes_of(definition) {
            let users = self.by_name.entry(name.to_owned()).or_default();
            if users.last() != Some(&id) {
                users.push(id);
            }
        }
    }

    fn add_unknown(&mut self, (id, definition): (ContainerId, Option<Definition>)) {
        match definition {
            Some(definition) => self.add(id, &definition),
            None => self.unreadable.push(id),
        }
    }

    /// The containers that certainly mount it.
    pub(super) fn certain(&self, name: &VolumeName) -> &[ContainerId] {
        self.by_name.get(name.as_str()).map_or(&[], Vec::as_slice)
    }

    /// Whether any container may mount a volume of this name.
    pub(super) fn may_include(&self, name: &VolumeName) -> bool {
        !self.of(name).is_empty()
    }

    pub(super) fn of(&self, name: &VolumeName) -> Vec<User> {
        let certain = self.certain(name).iter().copied().map(User::Container);
        let unreadable = self.unreadable.iter().copied().map(User::Unreadable);
        certain.chain(unreadable).chain(self.unlisted.clone().map(User::Unlisted)).collect()
    }
}

impl Volumes {
    /// For each of these volumes, the containers that mount it. Blocks on the disk.
    pub(crate) fn users<'a>(
        &self,
        names: impl IntoIterator<Item = &'a VolumeName>,
    ) -> HashMap<VolumeName, Vec<ContainerId>> {
        let uses = Uses::of_all_but(&self.containers, None);
        names.into_iter().map(|name| (name.clone(), uses.certain(name).to_vec())).collect()
    }
}

fn volumes_of(definition: &Definition) -> impl Iterator<Item = &str> {
    definition.mounts.iter().filter(|mount| mount.kind == MountKind::Volume).map(|mount| mount.name.as_str())
}

/// The users, for the text of a refusal.
pub(super) fn text(users: &[User]) -> String {
    let words = users.iter().map(|user| match user {
        User::Container(id) => format!("container {}", id.short()),
        User::Unreadable(id) => format!("perhaps container {}, whose definition cannot be read", id.short()),
        User::Creation => "a container that is being created".to_owned(),
        User::Unlisted(problem) => format!("perhaps an unknown container: {problem}"),
    });
    words.collect::<Vec<_>>().join(", ")
}
