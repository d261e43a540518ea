//! One start of a container in its runtime's records: `<container>-<start>` below the runtime's root.
//!
//! The root is one for all containers of a runtime, since crun keeps its compiled seccomp programs there. The id
//! differs for each start, so that a late call of a runtime, in whatever way it was given up, never finds a later
//! start.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

use engine_host::fs;

use crate::domain::id::{ContainerId, StartId};

/// Identifies a container to its runtime.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Instance {
    /// The runtime's `--root`.
    pub root: PathBuf,
    /// The runtime's id of the container.
    pub id: String,
}

impl Instance {
    pub(crate) fn new(root: PathBuf, container: &ContainerId, start: StartId) -> Self {
        Self { root, id: format!("{container}-{}", start.0) }
    }

    /// The runtime's record of the instance. Absent: unknown to the runtime.
    pub(crate) fn directory(&self) -> PathBuf {
        self.root.join(&self.id)
    }

    /// Unmounts leftovers of a killed runtime: some releases of runc mount their own binary for
    /// a moment. Blocks.
    pub(crate) fn unmount(&self) -> Result<(), String> {
        let directory = self.directory();
        let failed = |error| format!("cannot unmount what is mounted below `{}`: {error}", directory.display());
        fs::detach_below(&directory).map(drop).map_err(failed)
    }
}

/// All instances below a runtime's root, by container. Other names are foreign and skipped. Blocks.
pub(crate) fn all_in(root: &Path) -> io::Result<Vec<(ContainerId, Instance)>> {
    named(root, |_| true)
}

/// The instances of one container. Blocks.
pub(crate) fn left_of(root: &Path, container: &ContainerId) -> io::Result<Vec<Instance>> {
    let prefix = format!("{container}-");
    // Compared by the raw name: there are as many as containers run, and each that ends looks through them.
    let ours = named(root, |name| name.as_encoded_bytes().starts_with(prefix.as_bytes()))?;
    Ok(ours.into_iter().map(|(_, instance)| instance).collect())
}

/// The instance's start.
pub(crate) fn start_of(instance: &Instance) -> Option<StartId> {
    instance.id.split_once('-')?.1.parse().ok().map(StartId)
}

/// A missing root has none; any other failure is an error.
fn named(root: &Path, wanted: impl Fn(&OsStr) -> bool) -> io::Result<Vec<(ContainerId, Instance)>> {
    let entries = match std::fs::read_dir(root) {
        Ok(entries) => entries,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(Vec::new());
        }
        Err(error) => return Err(error),
    };
    let mut found = Vec::new();
    for entry in entries {
        let name = entry?.file_name();
        if wanted(&name)
            && let Ok(name) = name.into_string()
            && let Some(owner) = owner(&name)
        {
            found.push((owner, Instance { root: root.to_owned(), id: name }));
        }
    }
    Ok(found)
}

fn owner(name: &str) -> Option<ContainerId> {
    let (container, start) = name.split_once('-')?;
    let number = !start.is_empty() && start.bytes().all(|byte| byte.is_ascii_digit());
    container.parse().ok().filter(|_| number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_names_are_skipped() {
        let root = tempfile::tempdir().unwrap();
        let (one, other) = ("a".repeat(64), "b".repeat(64));
        for name in [
            format!("{one}-7"),
            format!("{one}-12"),
            format!("{other}-7"),
            one.clone(),
            format!("{one}-"),
            format!("{one}-x"),
            format!("{one}-7-8"),
            ".cache".to_owned(),
            "abc-1".to_owned(),
        ] {
            std::fs::create_dir(root.path().join(name)).unwrap();
        }
        let one: ContainerId = one.parse().unwrap();
        let mut found = left_of(root.path(), &one).unwrap();
        found.sort_by(|a, b| a.id.cmp(&b.id));
        let wanted = [12, 7].map(|start| Instance::new(root.path().to_owned(), &one, StartId(start)));
        assert_eq!(found, wanted);
        assert_eq!(all_in(root.path()).unwrap().len(), 3);
        assert_eq!(all_in(&root.path().join("absent")).unwrap().len(), 0);
        std::fs::write(root.path().join("file"), "").unwrap();
        assert_eq!(all_in(&root.path().join("file/root")).unwrap().len(), 0);
        std::os::unix::fs::symlink("loop", root.path().join("loop")).unwrap();
        assert!(left_of(&root.path().join("loop"), &one).is_err(), "what cannot be read is not empty");
    }

    #[test]
    fn ids_are_what_runtimes_take() {
        let id: ContainerId = "f".repeat(64).parse().unwrap();
        let instance = Instance::new("/s".into(), &id, StartId(u64::MAX));
        // A file's name, and letters, digits, _ + - . for runc.
        assert!(
            instance.id.len() <= 255 && instance.id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        );
    }
}
