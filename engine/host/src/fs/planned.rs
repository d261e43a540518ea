//! A root as its container will see it, before anything is mounted in it: a link leads where it would lead the
//! container, and a planned mount is looked at instead of the directory that it covers.
//!
//! Walked by hand, one component after the other and on handles: the kernel follows no link in the root, so a process
//! that changes it meanwhile cannot lead the walk out of it.

use std::collections::{HashMap, VecDeque};
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::beneath::{BeneathError, MOST_DEPTH, MOST_LINKS, kind_of, leads_to, open_any, open_root, parts};

/// A root and the mounts planned in it so far.
#[derive(Debug)]
pub struct PlannedRoot {
    root: OwnedFd,
    /// By places without links on the way.
    mounts: HashMap<PathBuf, Content>,
}

/// The content of a mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// A file or directory of the host.
    Host(PathBuf),
    /// A file system that is made for the container: its content is the kernel's or the runtime's.
    Fresh,
}

/// Where a path leads.
#[derive(Debug)]
pub struct Located {
    /// From the root, without links on the way.
    pub path: PathBuf,
    /// `None`: nothing is there, and nothing on the way to it from the last thing that is.
    pub found: Option<Found>,
    /// The path lies in a planned mount.
    pub mounted: bool,
}

/// A handle that neither reads nor writes.
#[derive(Debug)]
pub struct Found {
    pub handle: OwnedFd,
    pub kind: FileType,
}

impl PlannedRoot {
    pub fn open(rootfs: &Path) -> io::Result<Self> {
        Ok(Self { root: open_root(rootfs)?, mounts: HashMap::new() })
    }

    /// From now on `content` is seen at `place`, as [`Self::locate`] has found it.
    pub fn mount(&mut self, place: PathBuf, content: Content) {
        self.mounts.insert(place, content);
    }

    /// Follows links, all of them.
    pub fn locate(&self, path: &Path) -> Result<Located, BeneathError> {
        self.walk(path, true, None)
    }

    /// Takes a link on the way, or at the end of it, for an error.
    pub fn locate_plain(&self, path: &Path) -> Result<Located, BeneathError> {
        self.walk(path, false, None)
    }

    /// The file that the mount at `path` covers.
    pub fn locate_covered(&self, path: &Path) -> Result<Located, BeneathError> {
        let place = self.locate(path)?.path;
        self.walk(&place, false, Some(&place))
    }

    fn walk(&self, path: &Path, follow: bool, uncovered: Option<&Path>) -> Result<Located, BeneathError> {
        let walk = Walk {
            planned: self,
            path,
            follow,
            uncovered,
            levels: Vec::new(),
            at: PathBuf::from("/"),
            ahead: parts(path),
            links: 0,
        };
        walk.run()
    }
}

impl Found {
    /// Opens a regular file for reading, or a directory.
    pub fn reopen(&self) -> io::Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let by_descriptor = format!("/proc/self/fd/{}", self.handle.as_raw_fd());
        Ok(rustix::fs::openat(CWD, by_descriptor, flags, Mode::empty())?)
    }

    fn of(handle: OwnedFd) -> io::Result<Self> {
        let kind = kind_of(&handle)?;
        Ok(Self { handle, kind })
    }
}

struct Level {
    found: Option<Found>,
    mounted: bool,
}

/// A way down. `..` goes back along the handles it came by.
struct Walk<'a> {
    planned: &'a PlannedRoot,
    path: &'a Path,
    follow: bool,
    uncovered: Option<&'a Path>,
    levels: Vec<Level>,
    /// Where the innermost level is.
    at: PathBuf,
    ahead: VecDeque<OsString>,
    links: usize,
}

impl Walk<'_> {
    fn run(mut self) -> Result<Located, BeneathError> {
        while let Some(part) = self.ahead.pop_front() {
            if part == ".." {
                self.levels.pop();
                self.at.pop();
            } else {
                self.step(&part)?;
            }
        }
        let level = match self.levels.pop() {
            Some(level) => level,
            None => {
                let root = self.planned.root.try_clone().map_err(self.failed())?;
                Level { found: Some(Found::of(root).map_err(self.failed())?), mounted: false }
            }
        };
        Ok(Located { path: self.at, found: level.found, mounted: level.mounted })
    }

    fn step(&mut self, part: &OsStr) -> Result<(), BeneathError> {
        if self.levels.len() >= MOST_DEPTH {
            return Err(BeneathError::TooDeep { path: self.path.to_path_buf() });
        }
        if let Some(Level { found: Some(found), .. }) = self.levels.last()
            && found.kind != FileType::Directory
        {
            return Err(BeneathError::NotADirectory { path: self.at.clone() });
        }
        self.at.push(part);
        let level = match self.planned.mounts.get(&self.at).filter(|_| self.uncovered != Some(&*self.at)) {
            Some(content) => Level { found: self.content(content)?, mounted: true },
            None => self.entry(part)?,
        };
        match &level.found {
            Some(Found { kind: FileType::Symlink, .. }) if !self.follow => {
                Err(BeneathError::Link { path: self.at.clone() })
            }
            Some(link @ Found { kind: FileType::Symlink, .. }) => {
                let target = leads_to(&link.handle).map_err(|errno| self.failed()(errno.into()))?;
                self.at.pop();
                self.turn_to(&target)
            }
            Some(_) | None => {
                self.levels.push(level);
                Ok(())
            }
        }
    }

    /// The file of this name in the innermost directory.
    fn entry(&self, name: &OsStr) -> Result<Level, BeneathError> {
        let mounted = self.levels.last().is_some_and(|level| level.mounted);
        let dir = match self.levels.last() {
            None => Some(&self.planned.root),
            Some(level) => level.found.as_ref().map(|found| &found.handle),
        };
        let Some(dir) = dir else { return Ok(Level { found: None, mounted }) };
        match open_any(dir, name) {
            Ok(handle) => Ok(Level { found: Some(Found::of(handle).map_err(self.failed())?), mounted }),
            Err(Errno::NOENT) => Ok(Level { found: None, mounted }),
            Err(errno) => Err(self.failed()(errno.into())),
        }
    }

    /// Links to the host's file or directory are the host's, and followed as the runtime will follow them.
    fn content(&self, content: &Content) -> Result<Option<Found>, BeneathError> {
        let Content::Host(source) = content else { return Ok(None) };
        match rustix::fs::openat(CWD, source, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()) {
            Ok(handle) => Found::of(handle).map(Some).map_err(self.failed()),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(self.failed()(errno.into())),
        }
    }

    fn turn_to(&mut self, target: &Path) -> Result<(), BeneathError> {
        self.links += 1;
        if self.links > MOST_LINKS {
            return Err(BeneathError::TooManyLinks { path: self.path.to_path_buf() });
        }
        if target.is_absolute() {
            self.levels.clear();
            self.at = PathBuf::from("/");
        }
        for part in parts(target).into_iter().rev() {
            self.ahead.push_front(part);
        }
        Ok(())
    }

    fn failed(&self) -> impl Fn(io::Error) -> BeneathError + use<> {
        let path = self.at.clone();
        move |source| BeneathError::Open { path: path.clone(), source }
    }
}

#[cfg(test)]
#[path = "planned_tests.rs"]
mod tests;
