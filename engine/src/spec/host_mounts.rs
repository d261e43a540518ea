//! The host's mounts, read when a mount of a container makes it necessary to look at them.

use std::collections::BTreeSet;
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
    read: Option<Read>,
}

struct Read {
    list: Vec<MountEntry>,
    /// In the order of components: what is below a path comes right after it.
    targets: BTreeSet<PathBuf>,
}

impl HostMounts {
    /// Checks that the mount the source lies on takes part at all; otherwise the user would wait for mounts in vain.
    pub fn expect(&mut self, mount: &Mount, wanted: &'static str, tags: &[&str]) -> Result<(), SpecError> {
        let source = fs::canonicalize(&mount.source).map_err(failed)?;
        // Of the mounts over it the deepest holds it, and of those at one place the last.
        let over = self.read()?.list.iter().filter(|entry| source.starts_with(&entry.target));
        let Some(holder) = over.max_by_key(|entry| entry.target.components().count()) else { return Ok(()) };
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
        let next = self.read()?.targets.range::<Path, _>(range).next();
        Ok(next.is_some_and(|target| target.starts_with(&source)))
    }

    fn read(&mut self) -> Result<&Read, SpecError> {
        Ok(match &mut self.read {
            Some(read) => read,
            none => {
                let list = mounts_below(&[Path::new("/")]).map_err(failed)?;
                let targets = list.iter().map(|entry| entry.target.clone()).collect();
                none.insert(Read { list, targets })
            }
        })
    }
}

fn failed(source: io::Error) -> SpecError {
    SpecError::HostMounts { source }
}
