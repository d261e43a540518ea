//! The host's mounts, read only for a container with a mount that depends on them.

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
    /// The last mount at each place. Sorted by path components: mounts below a path come right after it.
    read: Option<BTreeMap<PathBuf, MountEntry>>,
}

impl HostMounts {
    /// Checks that the mount that holds the source propagates at all; otherwise the user would wait for mounts in vain.
    pub(super) fn expect(&mut self, mount: &Mount, wanted: &'static str, tags: &[&str]) -> Result<(), SpecError> {
        let source = fs::canonicalize(&mount.source).map_err(failed)?;
        let mounts = self.read()?;
        // The deepest mount above the source holds it.
        let Some(holder) = source.ancestors().find_map(|above| mounts.get(above)) else { return Ok(()) };
        if holder.propagation.iter().any(|tag| tags.iter().any(|wanted| tag.starts_with(wanted))) {
            return Ok(());
        }
        Err(SpecError::NotPropagating { path: mount.source.clone(), mount: holder.target.clone(), wanted })
    }

    /// Whether a mount lies below `source`. A missing source has none.
    pub(super) fn any_below(&mut self, source: &str) -> Result<bool, SpecError> {
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
