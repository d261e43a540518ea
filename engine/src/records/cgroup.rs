//! The cgroup of a container's last start.

use super::Containers;
use crate::cause::chain;
use crate::domain::container::Container;
use crate::rootfs::write_atomically;
use crate::spec::cgroup::Placement;
use crate::spec::{GroupPath, NoteError};

impl Containers {
    /// Whether the container's cgroup is frozen; `None` where the kernel has no file for it.
    pub(crate) fn frozen(&self, container: &Container) -> Option<bool> {
        self.node.host.cgroups.frozen(&self.group(container)?)
    }

    /// The cgroup of the last start: from its note, or, for an invalid note, where a start would put it now.
    /// Blocks on the disk.
    pub(crate) fn group(&self, container: &Container) -> Option<GroupPath> {
        let note = self.node.bundle(container).cgroup_note();
        let foreign = match GroupPath::read(&note, &container.id.to_string()) {
            Ok(Some(group)) => return Some(group),
            Ok(None) if container.phase.never_started() => return None,
            Ok(None) => None,
            // The note may be whole, and names the cgroup once it can be read again.
            Err(error @ NoteError::Read { .. }) => {
                self.node.warn(format!("container {}: {}", container.id.short(), chain(&error)));
                return None;
            }
            Err(error @ NoteError::Foreign { .. }) => Some(error),
        };
        let entity = self.ledger.get(&container.id)?;
        let placed = self.definition(&entity).ok().and_then(|definition| {
            Placement::of(&definition, &self.node.config.cgroup_parent, self.node.config.systemd_cgroup).ok()
        });
        if let Some(error) = foreign {
            let now = match &placed {
                Some(placed) => {
                    // Warned once; a note that cannot be written is warned of again the next time.
                    let _ = write_atomically(&note, placed.path.as_str().as_bytes(), 0o600, false);
                    format!("it is written anew, as `{}`", placed.path)
                }
                None => "end by hand what is left of its processes, if any".to_owned(),
            };
            self.node.warn(format!("container {}: {}; {now}", container.id.short(), chain(&error)));
        }
        placed.map(|placed| placed.path)
    }

    /// The cgroup of the last start, where it still exists and the engine has to remove it.
    pub(crate) fn left_group(&self, container: &Container) -> Option<GroupPath> {
        let group = self.group(container)?;
        (!self.node.config.systemd_cgroup && self.node.host.cgroups.exists(&group)).then_some(group)
    }
}
