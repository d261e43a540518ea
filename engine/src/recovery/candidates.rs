//! Directories named like containers. A directory that cannot be listed is not an empty one: what it holds may be in use, so the
//! callers that decide about removing something do so only on a whole list.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::domain::id::ContainerId;

/// A directory named like a container, of which the journal may know nothing.
#[derive(Debug)]
pub(super) struct Orphan {
    pub id: ContainerId,
    pub runtime: String,
    pub path: PathBuf,
}

#[derive(Debug, Default)]
pub(super) struct Candidates {
    pub found: Vec<Orphan>,
    /// Why there may be more.
    pub unlisted: Vec<String>,
}

impl Candidates {
    /// All there are, or why they are not known.
    pub fn whole(self) -> Result<Vec<Orphan>, String> {
        if self.unlisted.is_empty() { Ok(self.found) } else { Err(self.unlisted.join("; ")) }
    }

    fn entries(&mut self, dir: &Path) -> Vec<PathBuf> {
        entries(dir).unwrap_or_else(|error| {
            self.unlisted.push(unlisted(dir, &error));
            vec![]
        })
    }
}

/// Directories `<root>/<runtime>/<64 digits>`. Blocks.
pub(super) fn candidates(root: &Path) -> Candidates {
    let mut all = Candidates::default();
    for runtime in all.entries(root) {
        for path in all.entries(&runtime) {
            let name = |path: &Path| Some(path.file_name()?.to_str()?.to_owned());
            let id = name(&path).and_then(|name| name.parse().ok());
            if let (Some(id), Some(runtime)) = (id, name(&runtime)) {
                all.found.push(Orphan { id, runtime, path });
            }
        }
    }
    all
}

/// None of a directory that is not there. Blocks.
pub(super) fn entries(dir: &Path) -> io::Result<Vec<PathBuf>> {
    match fs::read_dir(dir) {
        Ok(entries) => entries.map(|entry| Ok(entry?.path())).collect(),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(vec![]),
        Err(error) => Err(error),
    }
}

pub(super) fn unlisted(dir: &Path, error: &io::Error) -> String {
    format!("cannot list `{}`: {error}", dir.display())
}
