//! Directories that are named like containers. A directory that cannot be listed does not count as empty: its contents
//! may be in use, so callers that decide about a removal do so only on a whole list.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::Containers;
use crate::definition::{self, Definition};
use crate::domain::id::ContainerId;

/// A directory that is named like a container, which the journal may not know.
#[derive(Debug)]
pub(crate) struct Candidate {
    pub id: ContainerId,
    pub runtime: String,
    pub path: PathBuf,
}

#[derive(Debug, Default)]
pub(crate) struct Candidates {
    pub found: Vec<Candidate>,
    /// The directories that could not be listed, which may hold more.
    pub unlisted: Vec<String>,
}

impl Candidates {
    /// All candidates; the error lists the directories that could not be listed.
    pub(crate) fn whole(self) -> Result<Vec<Candidate>, String> {
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
pub(crate) fn candidates(root: &Path) -> Candidates {
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
pub(crate) fn entries(dir: &Path) -> io::Result<Vec<PathBuf>> {
    match fs::read_dir(dir) {
        Ok(entries) => entries.map(|entry| Ok(entry?.path())).collect(),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(vec![]),
        Err(error) => Err(error),
    }
}

pub(crate) fn unlisted(dir: &Path, error: &io::Error) -> String {
    format!("cannot list `{}`: {error}", dir.display())
}

impl Containers {
    /// Containers that have a directory and no record, each with its definition where that can be read. An error means
    /// that the list is incomplete. Blocks.
    pub(crate) fn unknown(&self) -> Result<BTreeMap<ContainerId, Option<Definition>>, String> {
        let bundles = candidates(&self.node.layout.engines()).whole()?;
        let states = candidates(&self.node.layout.state).whole()?;
        // In this order: a known container stays known until its directories are gone.
        let is_unknown =
            |candidate: &Candidate| !self.knows(&candidate.id) && candidate.path.try_exists().unwrap_or(true);
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

    /// Whether an unknown container with an id that begins so has a persistent or a volatile directory. A directory
    /// that cannot be listed may hold one. Blocks.
    pub(crate) fn has_unknown(&self, beginning: &str) -> bool {
        let is_unknown = |path: &Path| {
            let name = path.file_name().and_then(OsStr::to_str).filter(|name| name.starts_with(beginning));
            let id = name.and_then(|name| name.parse::<ContainerId>().ok());
            id.is_some_and(|id| !self.knows(&id))
        };
        let roots = [self.node.layout.engines(), self.node.layout.state.clone()];
        roots.iter().any(|root| any_entry(root, |runtime| any_entry(runtime, is_unknown)))
    }
}

/// Whether `holds` is true of an entry; true for a directory that cannot be listed.
fn any_entry(dir: &Path, holds: impl Fn(&Path) -> bool) -> bool {
    match fs::read_dir(dir) {
        Ok(mut entries) => entries.any(|entry| entry.map_or(true, |entry| holds(&entry.path()))),
        Err(error) => !matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory),
    }
}

/// Whether the directory has only files that a creation writes before its first event. False when it cannot be
/// examined.
pub(crate) fn is_unborn(bundle: &Path) -> bool {
    let Ok(entries) = fs::read_dir(bundle) else { return false };
    entries.into_iter().all(|entry| {
        let Ok(entry) = entry else { return false };
        let (name, kind) = (entry.file_name(), entry.file_type());
        // A file is written under a temporary name first.
        let name = name.to_str().map(|name| name.split_once(".tmp").map_or(name, |_| draft_of(name)));
        let known = name.is_some_and(|name| ["definition.json", "hostname", "hosts", "resolv.conf"].contains(&name));
        known && kind.is_ok_and(|kind| kind.is_file())
    })
}

/// `hosts` of `hosts.123-4.tmp`.
fn draft_of(name: &str) -> &str {
    let stem = name.strip_suffix(".tmp").unwrap_or(name);
    let (of, serial) = stem.rsplit_once('.').unwrap_or((stem, ""));
    if serial.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-') { of } else { name }
}
