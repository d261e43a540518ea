//! Work beneath a foreign root: every path is taken with the root as `/`, so a link in it,
//! absolute or climbing, leads to somewhere inside.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{CWD, FileType, Gid, Mode, OFlags, ResolveFlags, Uid};
use rustix::io::Errno;

/// Links on the way, as many as the kernel takes.
pub(super) const MOST_LINKS: usize = 40;
/// Directories one within another: each is an open descriptor here.
pub(super) const MOST_DEPTH: usize = 256;

/// Why something beneath a root could not be had. Paths are as within the root.
#[derive(Debug, thiserror::Error)]
pub enum BeneathError {
    #[error("`{path}` is not a directory")]
    NotADirectory { path: PathBuf },
    #[error("`{path}` is a link")]
    Link { path: PathBuf },
    #[error("`{path}` leads through more than {MOST_LINKS} links")]
    TooManyLinks { path: PathBuf },
    #[error("`{path}` is deeper than {MOST_DEPTH} directories")]
    TooDeep { path: PathBuf },
    #[error("cannot open `{path}`")]
    Open { path: PathBuf, source: io::Error },
    #[error("cannot make directory `{path}`")]
    Make { path: PathBuf, source: io::Error },
}

/// A handle of the root that paths are taken beneath.
pub fn open_root(rootfs: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(CWD, rootfs, flags, Mode::empty())?)
}

/// Opens a directory for reading; `None` when there is nothing, or something else.
#[cfg(test)]
pub fn open_dir(root: &OwnedFd, path: &Path) -> Result<Option<OwnedFd>, BeneathError> {
    match open(root, path, OFlags::RDONLY | OFlags::DIRECTORY) {
        Ok(dir) => Ok(Some(dir)),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        Err(errno) => Err(BeneathError::Open { path: path.to_path_buf(), source: errno.into() }),
    }
}

/// Opens anything, close-on-exec.
pub fn open(root: &OwnedFd, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
    let flags = flags | OFlags::CLOEXEC;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    for _ in 0..16 {
        match rustix::fs::openat2(root, path, flags, Mode::empty(), resolve) {
            // A directory was renamed meanwhile, so the kernel could not verify `..`.
            Err(Errno::AGAIN) => {}
            Err(Errno::NOSYS) => return open_without_links(root, path, flags),
            result => return result,
        }
    }
    Err(Errno::AGAIN)
}

/// Before Linux 5.6: component by component, and no links at all.
fn open_without_links(root: &OwnedFd, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
    let into = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let mut dir = rustix::fs::openat(root, ".", into, Mode::empty())?;
    let mut parts = path.components().filter(|part| !matches!(part, Component::RootDir | Component::CurDir)).peekable();
    while let Some(part) = parts.next() {
        let Component::Normal(name) = part else { return Err(Errno::LOOP) };
        if parts.peek().is_none() {
            return rustix::fs::openat(dir.as_fd(), name, flags | OFlags::NOFOLLOW, Mode::empty());
        }
        dir = rustix::fs::openat(dir.as_fd(), name, into, Mode::empty())?;
    }
    rustix::fs::openat(dir.as_fd(), ".", flags, Mode::empty())
}

/// Makes a directory and those above it, as far as they are missing, with this mode and owner; existing ones are not
/// changed. Where a link leads to nothing, the directory is made there, inside. Returns a handle of the last.
pub fn make_dirs(root: &OwnedFd, path: &Path, mode: u32, owner: (u32, u32)) -> Result<OwnedFd, BeneathError> {
    let mut walk = Walk { path, root, above: Vec::new(), ahead: parts(path), links: 0 };
    while let Some(part) = walk.ahead.pop_front() {
        walk.step(&part, mode, owner)?;
    }
    match walk.above.pop() {
        Some((_, dir)) => Ok(dir),
        None => root.try_clone().map_err(|source| BeneathError::Open { path: path.to_path_buf(), source }),
    }
}

/// A way down from the root. `..` goes back along the handles it came by, never through the file system, and no link is
/// followed by the kernel: so a process that renames directories meanwhile cannot lead it out.
struct Walk<'a> {
    path: &'a Path,
    root: &'a OwnedFd,
    above: Vec<(OsString, OwnedFd)>,
    ahead: VecDeque<OsString>,
    links: usize,
}

impl Walk<'_> {
    fn step(&mut self, part: &OsStr, mode: u32, owner: (u32, u32)) -> Result<(), BeneathError> {
        if part == ".." {
            self.above.pop();
            return Ok(());
        }
        let dir = self.above.last().map_or(self.root, |(_, dir)| dir);
        let opened = match open_any(dir, part) {
            Err(Errno::NOENT) => {
                self.make(dir, part, mode, owner)?;
                open_any(dir, part)
            }
            other => other,
        };
        let opened = opened.map_err(|errno| BeneathError::Open { path: self.at(part), source: errno.into() })?;
        let kind = kind_of(&opened).map_err(|source| BeneathError::Open { path: self.at(part), source })?;
        match kind {
            FileType::Directory if self.above.len() >= MOST_DEPTH => {
                Err(BeneathError::TooDeep { path: self.path.to_path_buf() })
            }
            FileType::Directory => {
                self.above.push((part.to_owned(), opened));
                Ok(())
            }
            FileType::Symlink => self.follow(part, &opened),
            _ => Err(BeneathError::NotADirectory { path: self.at(part) }),
        }
    }

    fn make(&self, dir: &OwnedFd, part: &OsStr, mode: u32, (uid, gid): (u32, u32)) -> Result<(), BeneathError> {
        let make = || -> Result<(), Errno> {
            match rustix::fs::mkdirat(dir, part, Mode::from_raw_mode(mode)) {
                // Somebody else was faster: it is looked at like any other.
                Err(Errno::EXIST) => return Ok(()),
                other => other?,
            }
            let made = rustix::fs::openat(
                dir,
                part,
                OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
                Mode::empty(),
            )?;
            rustix::fs::fchown(&made, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
            // The umask has taken its part of the mode given above.
            rustix::fs::fchmod(&made, Mode::from_raw_mode(mode))
        };
        make().map_err(|errno| BeneathError::Make { path: self.at(part), source: errno.into() })
    }

    fn follow(&mut self, part: &OsStr, link: &OwnedFd) -> Result<(), BeneathError> {
        self.links += 1;
        if self.links > MOST_LINKS {
            return Err(BeneathError::TooManyLinks { path: self.path.to_path_buf() });
        }
        let target =
            leads_to(link).map_err(|errno| BeneathError::Open { path: self.at(part), source: errno.into() })?;
        if target.is_absolute() {
            self.above.clear();
        }
        for part in parts(&target).into_iter().rev() {
            self.ahead.push_front(part);
        }
        Ok(())
    }

    /// Where a part is, as the container would call it.
    fn at(&self, part: &OsStr) -> PathBuf {
        let mut path = PathBuf::from("/");
        path.extend(self.above.iter().map(|(name, _)| name));
        path.push(part);
        path
    }
}

/// The text of an open link.
pub(super) fn leads_to(link: &OwnedFd) -> Result<PathBuf, Errno> {
    let target = rustix::fs::readlinkat(link, "", Vec::new())?;
    Ok(PathBuf::from(OsString::from_vec(target.into_bytes())))
}

pub(super) fn parts(path: &Path) -> VecDeque<OsString> {
    path.components()
        .filter_map(|part| match part {
            Component::Normal(name) => Some(name.to_owned()),
            Component::ParentDir => Some("..".into()),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
        })
        .collect()
}

pub(super) fn open_any(dir: &OwnedFd, name: &OsStr) -> Result<OwnedFd, Errno> {
    rustix::fs::openat(dir, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
}

pub(super) fn kind_of(opened: &OwnedFd) -> io::Result<FileType> {
    let facts = rustix::fs::fstat(opened)?;
    Ok(FileType::from_raw_mode(facts.st_mode))
}

#[cfg(test)]
#[path = "beneath_tests.rs"]
mod tests;
