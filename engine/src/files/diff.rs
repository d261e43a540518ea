//! The changes of a container: its writable layer, against the layers below it.
//!
//! Only files in the writable layer are looked at, so the cost is that of the changes. Below a directory lies a stack
//! of handles, one for each layer that has it; layers hide each other's files as the overlay has it: by whiteouts and
//! opaque directories.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat, openat, statat};
use rustix::io::Errno;

use super::{Files, FilesError};
use crate::layout::Bundle;
use crate::records::Entity;
use crate::rootfs::Rootfs;
use crate::rootfs::{self, attributes};

/// Open directories one within another.
const MOST_DEPTH: usize = 256;
/// The longest spec; a longer file is not the engine's.
const LONGEST_SPEC: u64 = 16 << 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ChangeKind {
    Changed,
    Added,
    Deleted,
}

/// One changed path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Change {
    pub kind: ChangeKind,
    pub path: Vec<u8>,
}

/// The changes of a container, sorted by path. Blocks.
pub(crate) fn of_container(files: &Files, entity: &Entity, stop: &dyn Fn() -> bool) -> Result<Vec<Change>, FilesError> {
    let definition = files.containers.definition(entity)?;
    let lowers: Vec<PathBuf> = match &definition.rootfs {
        Rootfs::External { direct: true, .. } => return Err(FilesError::Direct),
        Rootfs::External { dir, .. } => vec![dir.into()],
        Rootfs::Image { layers, .. } => {
            layers.iter().rev().map(|layer| rootfs::layer_files(&files.node.layout.graph, layer)).collect()
        }
    };
    let bundle = files.node.bundle(&entity.state);
    let points = mount_points(&bundle)?;
    compare(&bundle.path().join("upper"), &lowers, &points, stop)
}

/// The mount points of the last start: the runtime makes those that are missing.
fn mount_points(bundle: &Bundle) -> Result<Vec<PathBuf>, FilesError> {
    let path = bundle.spec();
    let mut text = Vec::new();
    match File::open(&path).and_then(|file| file.take(LONGEST_SPEC).read_to_end(&mut text)) {
        Ok(_) => {}
        // The container was never started.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(vec![]),
        Err(source) => return Err(FilesError::Io { doing: "read", path, source }),
    }
    let spec: serde_json::Value = serde_json::from_slice(&text).unwrap_or_default();
    let mounts = spec["mounts"].as_array().map(Vec::as_slice).unwrap_or_default();
    Ok(mounts.iter().filter_map(|mount| mount["destination"].as_str()).map(PathBuf::from).collect())
}

/// The changes in `upper` against `lowers`, the topmost first. `points` are mount points, which the engine may have
/// made.
pub(crate) fn compare(
    upper: &Path,
    lowers: &[PathBuf],
    points: &[PathBuf],
    stop: &dyn Fn() -> bool,
) -> Result<Vec<Change>, FilesError> {
    let open = |path: &Path| {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rustix::fs::open(path, flags, Mode::empty())
    };
    let upper = match open(upper) {
        Ok(upper) => upper,
        // Nothing was ever mounted, so nothing was changed.
        Err(Errno::NOENT) => return Ok(vec![]),
        Err(errno) => return Err(FilesError::io("open", upper, errno.into())),
    };
    let lowers = lowers.iter().map(|path| open(path).map_err(|errno| FilesError::io("open", path, errno.into())));
    let points = points.iter().map(PathBuf::as_path).collect();
    let mut comparison = Comparison { points, stop, changes: BTreeMap::new() };
    let top = Level { upper, lowers: lowers.collect::<Result<_, _>>()?, path: PathBuf::from("/"), opaque: false };
    comparison.directory(&top, 0)?;
    let change = |(path, kind): (PathBuf, ChangeKind)| Change { kind, path: path.into_os_string().into_vec() };
    Ok(comparison.changes.into_iter().map(change).collect())
}

struct Comparison<'a> {
    points: BTreeSet<&'a Path>,
    stop: &'a dyn Fn() -> bool,
    changes: BTreeMap<PathBuf, ChangeKind>,
}

/// A directory of the writable layer, and the directories under its path in the layers below.
struct Level {
    upper: OwnedFd,
    /// Those of the layers that make up the directory below, the topmost first; none when there was none.
    lowers: Vec<OwnedFd>,
    path: PathBuf,
    /// Nothing below shows through.
    opaque: bool,
}

/// The outcome of comparing a directory's contents.
#[derive(Debug, Default, Clone, Copy)]
struct Outcome {
    /// Something in it has changed.
    changed: bool,
    /// Something in it was left out, since the engine made it.
    made: bool,
    /// There is nothing else in it.
    only_made: bool,
}

impl Comparison<'_> {
    fn directory(&mut self, level: &Level, depth: usize) -> Result<Outcome, FilesError> {
        if depth >= MOST_DEPTH {
            return Err(FilesError::TooDeep { path: level.path.clone() });
        }
        let mut outcome = Outcome { only_made: true, ..Outcome::default() };
        for name in names(&level.upper).map_err(|error| FilesError::io("read the directory", &level.path, error))? {
            if (self.stop)() {
                return Err(FilesError::Stopped);
            }
            let path = level.path.join(&name);
            let facts = match statat(&level.upper, &name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(facts) => facts,
                // The container is at work.
                Err(Errno::NOENT) => continue,
                Err(errno) => return Err(FilesError::io("examine", &path, errno.into())),
            };
            let below = below(&level.lowers, &name).map_err(|error| FilesError::io("examine", &path, error))?;
            let one = self.entry(level, &name, &path, &facts, below, depth)?;
            outcome.changed |= one.changed;
            outcome.made |= one.made;
            outcome.only_made &= one.only_made;
        }
        if level.opaque {
            outcome.changed |= self.hidden(level)?;
        }
        Ok(outcome)
    }

    fn entry(
        &mut self,
        level: &Level,
        name: &OsStr,
        path: &Path,
        facts: &Stat,
        below: Option<Below>,
        depth: usize,
    ) -> Result<Outcome, FilesError> {
        let nothing = Outcome { only_made: true, ..Outcome::default() };
        let changed = Outcome { changed: true, ..Outcome::default() };
        let failed = |error| FilesError::io("examine", path, error);
        if is_whiteout(facts) {
            if below.is_none() {
                return Ok(nothing);
            }
            self.changes.insert(path.to_path_buf(), ChangeKind::Deleted);
            return Ok(changed);
        }
        if FileType::from_raw_mode(facts.st_mode) != FileType::Directory {
            let kind = match &below {
                None if self.is_placeholder(path, facts) => return Ok(Outcome { made: true, ..nothing }),
                None => ChangeKind::Added,
                Some(below) if same(&level.upper, name, facts, below).map_err(failed)? => return Ok(nothing),
                Some(_) => ChangeKind::Changed,
            };
            self.changes.insert(path.to_path_buf(), kind);
            return Ok(changed);
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let upper = match openat(&level.upper, name, flags, Mode::empty()) {
            Ok(upper) => upper,
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(nothing),
            Err(errno) => return Err(failed(errno.into())),
        };
        let redirected = attributes::get(&upper, "trusted.overlay.redirect").map_err(failed)?.is_some();
        let opaque = level.opaque || is_opaque(&upper).map_err(failed)? || redirected;
        // A directory in the place of something else has nothing below it.
        let was = below.as_ref().map(|below| FileType::from_raw_mode(below.facts.st_mode));
        let was_same = match &below {
            Some(below) => same(&level.upper, name, facts, below).map_err(failed)?,
            None => false,
        };
        let only_times = below.as_ref().is_some_and(|below| {
            let (new, old) = (facts, &below.facts);
            (new.st_mode, new.st_uid, new.st_gid) == (old.st_mode, old.st_uid, old.st_gid)
        });
        let lowers = below.map(|below| below.dirs).unwrap_or_default();
        let inner = Level { upper, lowers, path: path.to_path_buf(), opaque };
        let mut inside = self.directory(&inner, depth + 1)?;
        if redirected {
            // A renamed directory brings its lower files along, which only the merged view shows: it counts as added.
            inside.changed = true;
        }
        let is_dir = was == Some(FileType::Directory);
        let left_out = inside.only_made && !inside.changed && self.is_on_the_way(path);
        let kind = match was {
            None if left_out => return Ok(Outcome { made: true, ..nothing }),
            None => ChangeKind::Added,
            Some(_) if is_dir && !inside.changed && was_same => return Ok(Outcome { made: inside.made, ..nothing }),
            // Only a mount point that the engine made in it has changed its times.
            Some(_) if is_dir && !inside.changed && inside.made && only_times => {
                return Ok(Outcome { made: true, ..nothing });
            }
            Some(_) => ChangeKind::Changed,
        };
        self.changes.insert(path.to_path_buf(), kind);
        Ok(changed)
    }

    /// Records the files of layers below that an opaque directory hides. Returns whether there are any.
    fn hidden(&mut self, level: &Level) -> Result<bool, FilesError> {
        let mut any = false;
        let failed = |error| FilesError::io("examine", &level.path, error);
        for lower in &level.lowers {
            for name in names(lower).map_err(failed)? {
                let here = statat(&level.upper, &name, AtFlags::SYMLINK_NOFOLLOW);
                if here.is_ok() || below(&level.lowers, &name).map_err(failed)?.is_none() {
                    continue;
                }
                self.changes.insert(level.path.join(name), ChangeKind::Deleted);
                any = true;
            }
        }
        Ok(any)
    }

    /// An empty file, as a runtime makes it for a mount. One that the container made instead would be hidden.
    fn is_placeholder(&self, path: &Path, facts: &Stat) -> bool {
        let is_empty = FileType::from_raw_mode(facts.st_mode) == FileType::RegularFile && facts.st_size == 0;
        is_empty && self.points.contains(path)
    }

    /// A place of a mount, or a directory above one.
    fn is_on_the_way(&self, path: &Path) -> bool {
        // Ordered by components: paths below it follow directly.
        self.points.range(path..).next().is_some_and(|point| point.starts_with(path))
    }
}

/// The file that lay under a name before.
struct Below {
    facts: Stat,
    /// The handle that the name is to be looked up by.
    within: OwnedFd,
    /// The handles of a directory, one for each layer that makes it up.
    dirs: Vec<OwnedFd>,
}

fn below(lowers: &[OwnedFd], name: &OsStr) -> io::Result<Option<Below>> {
    let mut found: Option<Below> = None;
    for lower in lowers {
        let facts = match statat(lower, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(facts) => facts,
            Err(Errno::NOENT) => continue,
            Err(errno) => return Err(errno.into()),
        };
        let is_dir = FileType::from_raw_mode(facts.st_mode) == FileType::Directory;
        // A whiteout hides the layers further down, and so does a file; a directory that follows a file is not merged.
        if is_whiteout(&facts) || (found.is_some() && !is_dir) {
            break;
        }
        let below = match found.take() {
            Some(below) => below,
            None => Below { facts, within: lower.try_clone()?, dirs: Vec::new() },
        };
        let below = found.insert(below);
        if !is_dir {
            break;
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let dir = openat(lower, name, flags, Mode::empty())?;
        let opaque = is_opaque(&dir)?;
        below.dirs.push(dir);
        if opaque {
            break;
        }
    }
    Ok(found)
}

/// Whether a file is unchanged, as far as that shows without reading it.
fn same(upper: &OwnedFd, name: &OsStr, new: &Stat, below: &Below) -> io::Result<bool> {
    let old = &below.facts;
    let kind = FileType::from_raw_mode(new.st_mode);
    let facts = |of: &Stat| (of.st_mode, of.st_uid, of.st_gid, of.st_rdev, of.st_mtime, of.st_mtime_nsec as i64);
    let sized = matches!(kind, FileType::RegularFile | FileType::Symlink);
    if facts(new) != facts(old) || (sized && new.st_size != old.st_size) {
        return Ok(false);
    }
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let (new, old) = match openat(upper, name, flags, Mode::empty()) {
        Ok(new) => (new, openat(&below.within, name, flags, Mode::empty())?),
        // The file has gone meanwhile.
        Err(Errno::NOENT) => return Ok(false),
        Err(errno) => return Err(errno.into()),
    };
    if kind == FileType::Symlink {
        let text = |link: &OwnedFd| rustix::fs::readlinkat(link, "", Vec::new());
        return Ok(text(&new)? == text(&old)?);
    }
    let sorted = |file: &OwnedFd| {
        attributes::read(file).map(|mut all| {
            all.sort();
            all
        })
    };
    Ok(sorted(&new)? == sorted(&old)?)
}

fn is_whiteout(facts: &Stat) -> bool {
    FileType::from_raw_mode(facts.st_mode) == FileType::CharacterDevice && facts.st_rdev == 0
}

fn is_opaque(dir: &OwnedFd) -> io::Result<bool> {
    Ok(attributes::get(dir, "trusted.overlay.opaque")?.is_some_and(|value| value == b"y"))
}

fn names(dir: &OwnedFd) -> io::Result<Vec<OsString>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let readable = openat(dir, ".", flags, Mode::empty())?;
    let mut names = Vec::new();
    for entry in rustix::fs::Dir::read_from(&readable)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if !matches!(name, b"." | b"..") {
            names.push(OsStr::from_bytes(name).to_owned());
        }
    }
    Ok(names)
}

#[cfg(test)]
#[path = "diff_tests.rs"]
mod tests;
