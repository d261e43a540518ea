//! Directories that are named like containers. A directory that cannot be listed does not count as empty: its contents
//! may be in use, so callers that decide about a removal do so only on a whole list.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::sweep::is_unborn;
use crate::definition::{self, Definition};
use crate::domain::id::ContainerId;
use crate::engine::Engine;

/// A directory that is named like a container, which the journal may not know.
#[derive(Debug)]
pub(super) struct Candidate {
    pub id: ContainerId,
    pub runtime: String,
    pub path: PathBuf,
}

#[derive(Debug, Default)]
pub(super) struct Candidates {
    pub found: Vec<Candidate>,
    /// The directories that could not be listed, which may hold more.
    pub unlisted: Vec<String>,
}

impl Candidates {
    /// All candidates; the error lists the directories that could not be listed.
    pub(super) fn whole(self) -> Result<Vec<Candidate>, String> {
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
                all.found.push(Candidate { id, runtime, path });
            }
        }
    }
    all
}

/// The entries of a directory; none of a missing one. Blocks.
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

/// Containers that have a directory and that the engine does not know, each with its definition where that can be read.
/// An error means that the list is incomplete. Blocks.
pub(crate) fn unknown_containers(engine: &Engine) -> Result<BTreeMap<ContainerId, Option<Definition>>, String> {
    let bundles = candidates(&engine.node.layout.engines()).whole()?;
    let states = candidates(&engine.node.layout.state).whole()?;
    // In this order: a known container stays known until its directories are gone.
    let is_unknown =
        |candidate: &Candidate| !engine.containers.knows(&candidate.id) && candidate.path.try_exists().unwrap_or(true);
    let mut found: BTreeMap<_, _> =
        states.iter().filter(|state| is_unknown(state)).map(|state| (state.id, None)).collect();
    for bundle in bundles.iter().filter(|bundle| is_unknown(bundle)) {
        let path = bundle.path.join("definition.json");
        let read = definition::read_unverified(&path).ok().map(|(definition, _)| definition);
        let own = read.filter(|read| read.id == bundle.id.to_string() && read.runtime == bundle.runtime);
        // A creation that ended before its definition was written, or a removal that has ended meanwhile.
        let uses_nothing = !path.try_exists().unwrap_or(true) && (is_unborn(&bundle.path) || !is_unknown(bundle));
        if own.is_some() || !uses_nothing {
            found.insert(bundle.id, own);
        }
    }
    Ok(found)
}
