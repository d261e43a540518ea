//! Directories named like containers. A directory that cannot be listed is not an empty one: what it holds may be in use, so the
//! callers that decide about removing something do so only on a whole list.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::sweep::is_unborn;
use crate::definition::{self, Definition};
use crate::domain::id::ContainerId;
use crate::engine::Engine;

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

/// Containers that have a directory and that the engine does not know, each with its definition where that can be read. With an
/// error there may be more. Blocks.
pub fn strays(engine: &Engine) -> Result<BTreeMap<ContainerId, Option<Definition>>, String> {
    let bundles = candidates(&engine.layout.engines()).whole()?;
    let states = candidates(&engine.layout.state).whole()?;
    // In this order: a container that is known is so until its directories are gone.
    let is_stray = |orphan: &Orphan| !engine.containers.knows(&orphan.id) && orphan.path.try_exists().unwrap_or(true);
    let mut found: BTreeMap<_, _> =
        states.iter().filter(|state| is_stray(state)).map(|state| (state.id, None)).collect();
    for bundle in bundles.iter().filter(|bundle| is_stray(bundle)) {
        let path = bundle.path.join("definition.json");
        let read = definition::read_unvouched(&path).ok().map(|(definition, _)| definition);
        let own = read.filter(|read| read.id == bundle.id.to_string() && read.runtime == bundle.runtime);
        // A creation that ended before its definition was written, or a removal that has ended meanwhile.
        let uses_nothing = !path.try_exists().unwrap_or(true) && (is_unborn(&bundle.path) || !is_stray(bundle));
        if own.is_some() || !uses_nothing {
            found.insert(bundle.id, own);
        }
    }
    Ok(found)
}
