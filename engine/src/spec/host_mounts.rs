//! The host's mounts, read when a mount of a container makes it necessary to look at them.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::ops::Bound;
use std::path::{Path, PathBuf};

use crate::definition::Mount;
use crate::rootfs::{MountEntry, mounts_below};

use super::SpecError;

/// Read at most once.
#[derive(Default)]
pub(super) struct HostMounts {
    /// Of those at one place the last. In the order of components: what is below a path comes right after it.
    read: Option<BTreeMap<PathBuf, MountEntry>>,
}

impl HostMounts {
    /// Checks that the mount the source lies on takes part at all; otherwise the user would wait for mounts in vain.
    pub fn expect(&mut self, mount: &Mount, wanted: &'static str, tags: &[&str]) -> Result<(), SpecError> {
        let source = fs::canonicalize(&mount.source).map_err(failed)?;
        let mounts = self.read()?;
        // Of the mounts over it the deepest holds it.
        let Some(holder) = source.ancestors().find_map(|above| mounts.get(above)) else { return Ok(()) };
        if holder.propagation.iter().any(|tag| tags.iter().any(|wanted| tag.starts_with(wanted))) {
            return Ok(());
        }
        Err(SpecError::NotPropagating { path: mount.source.clone(), mount: holder.target.clone(), wanted })
    }

    /// Whether anything is mounted below `source`. What does not exist has nothing below it.
    pub fn any_below(&mut self, source: &str) -> Result<bool, SpecError> {
        let source = match fs::canonicalize(source) {
            Ok(source) => source,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(failed(error)),
        };
        let range = (Bound::Excluded(source.as_path()), Bound::Unbounded);
        let next = self.read()?.range::<Path, _>(range).next();
        Ok(next.is_some_and(|(target, _)| target.starts_with(&source)))
    }

    fn read(&mut self) -> Result<&BTreeMap<PathBuf, MountEntry>, SpecError> {
        Ok(match &mut self.read {
            Some(read) => read,
            none => {
                let all = mounts_below(&[Path::new("/")]).map_err(failed)?;
                none.insert(all.into_iter().map(|entry| (entry.target.clone(), entry)).collect())
            }
        })
    }
}

fn failed(source: io::Error) -> SpecError {
    SpecError::HostMounts { source }
}
