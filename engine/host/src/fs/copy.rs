//! A tree copied as it is: names, owners, modes, times, extended attributes, hard links within it, links, devices.
//!
//! The source is foreign. No link in it is followed, nothing but a regular file is read, and the depth
//! costs memory but neither stack nor descriptors: the way back up is `..`, taken only when it leads to where we came
//! from. Holes stay holes, and where the file system can share data it does.

use std::collections::HashMap;
use std::ffi::{CStr, CString, OsStr};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;

use super::beneath::BeneathError;

/// The longest path for the kernel, its NUL included.
const LONGEST_PATH: usize = 4096;

/// Why a tree was not copied to its end. Files copied before stay.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    #[error(transparent)]
    Beneath(#[from] BeneathError),
    #[error("cannot copy `{path}`")]
    Entry { path: PathBuf, source: io::Error },
    #[error("`{path}` was changed while it was copied")]
    Changed { path: PathBuf },
    #[error("the copying was given up")]
    Stopped,
}

/// The size of a copy.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Copied {
    pub entries: u64,
    /// Bytes of the contents of files.
    pub bytes: u64,
}

/// Copies the contents of the open directory `source` into the empty directory `into`, and makes that look like it.
/// `path` is for messages. Blocks; `stop` is asked before each entry. Does not wait for the disk.
pub fn copy_tree(source: OwnedFd, path: &Path, into: &OwnedFd, stop: &dyn Fn() -> bool) -> Result<Copied, CopyError> {
    let failed = |source: io::Error| CopyError::Entry { path: path.to_path_buf(), source };
    let top = into.try_clone().map_err(failed)?;
    let facts = rustix::fs::fstat(&source).map_err(|errno| failed(errno.into()))?;
    let target = rustix::fs::fstat(&top).map_err(|errno| failed(errno.into()))?;
    let names = names(&source).map_err(failed)?;
    let mut copy = Copy {
        source,
        target: top,
        into,
        shown: path.to_path_buf(),
        below: PathBuf::new(),
        levels: vec![Level { names, source: facts, target: identity(&target) }],
        links: HashMap::new(),
        copied: Copied::default(),
    };
    loop {
        if stop() {
            return Err(CopyError::Stopped);
        }
        if !copy.step()? {
            return Ok(copy.copied);
        }
    }
}

/// Makes one directory look like another: owner, mode, times, extended attributes.
pub fn copy_facts(from: &Path, to: &Path) -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let open = |path| rustix::fs::openat(rustix::fs::CWD, path, flags, Mode::empty());
    let (from, to) = (open(from)?, open(to)?);
    let facts = rustix::fs::fstat(&from)?;
    apply_facts_open(&from, &to, &facts)
}

/// One directory that is being copied.
struct Level {
    names: Vec<CString>,
    source: Stat,
    target: (u64, u64),
}

struct Copy<'a> {
    /// The directories that the innermost level is about.
    source: OwnedFd,
    target: OwnedFd,
    into: &'a OwnedFd,
    /// The innermost directory, for messages and below `into`.
    shown: PathBuf,
    below: PathBuf,
    levels: Vec<Level>,
    /// Where the first copy of a file with several names is, and how many of its names are still to come.
    links: HashMap<(u64, u64), (PathBuf, u64)>,
    copied: Copied,
}

impl Copy<'_> {
    /// One entry, or the end of one directory. `false` when that was the last.
    fn step(&mut self) -> Result<bool, CopyError> {
        match self.levels.last_mut().and_then(|level| level.names.pop()) {
            Some(name) => {
                self.copied.entries += 1;
                self.entry(&name)?;
                Ok(true)
            }
            None => self.leave(),
        }
    }

    fn entry(&mut self, name: &CStr) -> Result<(), CopyError> {
        let facts = rustix::fs::statat(&self.source, name, AtFlags::SYMLINK_NOFOLLOW).map_err(self.failed(name))?;
        let kind = FileType::from_raw_mode(facts.st_mode);
        match kind {
            FileType::Directory => return self.enter(name, &facts),
            FileType::RegularFile | FileType::Symlink | FileType::Fifo | FileType::Socket => {}
            FileType::CharacterDevice | FileType::BlockDevice => {}
            FileType::Unknown => return Err(self.failed(name)(Errno::INVAL)),
        }
        if facts.st_nlink > 1 && self.linked(name, &facts)? {
            return Ok(());
        }
        match kind {
            FileType::RegularFile => self.file(name, &facts)?,
            FileType::Symlink => {
                let leads = rustix::fs::readlinkat(&self.source, name, Vec::new()).map_err(self.failed(name))?;
                rustix::fs::symlinkat(leads, &self.target, name).map_err(self.failed(name))?;
                self.apply_facts(name, &facts, false)?;
            }
            _ => {
                rustix::fs::mknodat(&self.target, name, kind, Mode::RUSR, facts.st_rdev).map_err(self.failed(name))?;
                self.apply_facts(name, &facts, true)?;
            }
        }
        if facts.st_nlink > 1 {
            let first = self.below.join(OsStr::from_bytes(name.to_bytes()));
            self.links.insert(identity(&facts), (first, facts.st_nlink as u64 - 1));
        }
        Ok(())
    }

    /// Another name of a file that is copied already. `false`: it is the first, or the first is too deep to be named.
    fn linked(&mut self, name: &CStr, facts: &Stat) -> Result<bool, CopyError> {
        let key = identity(facts);
        let Some((first, left)) = self.links.get_mut(&key) else { return Ok(false) };
        *left -= 1;
        let (first, last) = (first.clone(), *left == 0);
        if last {
            self.links.remove(&key);
        }
        if first.as_os_str().len() >= LONGEST_PATH {
            return Ok(false);
        }
        // All directories of the target were made by us: none of them is a link.
        rustix::fs::linkat(self.into, &first, &self.target, name, AtFlags::empty()).map_err(self.failed(name))?;
        Ok(true)
    }

    fn enter(&mut self, name: &CStr, facts: &Stat) -> Result<(), CopyError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let source = rustix::fs::openat(&self.source, name, flags, Mode::empty()).map_err(self.failed(name))?;
        let opened = rustix::fs::fstat(&source).map_err(self.failed(name))?;
        if identity(&opened) != identity(facts) {
            return Err(self.changed(name));
        }
        rustix::fs::mkdirat(&self.target, name, Mode::RWXU).map_err(self.failed(name))?;
        let target = rustix::fs::openat(&self.target, name, flags, Mode::empty()).map_err(self.failed(name))?;
        let target_facts = rustix::fs::fstat(&target).map_err(self.failed(name))?;
        let names = names(&source).map_err(|error| self.entry_error(name, error))?;
        let name = OsStr::from_bytes(name.to_bytes());
        (self.source, self.target) = (source, target);
        self.shown.push(name);
        self.below.push(name);
        self.levels.push(Level { names, source: *facts, target: identity(&target_facts) });
        Ok(())
    }

    /// Finishes the innermost directory and goes back to the one it is in.
    fn leave(&mut self) -> Result<bool, CopyError> {
        let Some(level) = self.levels.pop() else { return Ok(false) };
        // Last: copying into it has changed its times, and its mode may keep others out.
        let applied = apply_facts_open(&self.source, &self.target, &level.source);
        applied.map_err(|source| CopyError::Entry { path: self.shown.clone(), source })?;
        let Some(above) = self.levels.last() else { return Ok(false) };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let up = |dir: &OwnedFd| -> io::Result<(OwnedFd, (u64, u64))> {
            let up = rustix::fs::openat(dir, "..", flags, Mode::empty())?;
            let facts = rustix::fs::fstat(&up)?;
            Ok((up, identity(&facts)))
        };
        let failed = |source| CopyError::Entry { path: self.shown.clone(), source };
        let (source, source_is) = up(&self.source).map_err(failed)?;
        let (target, target_is) = up(&self.target).map_err(failed)?;
        if source_is != identity(&above.source) || target_is != above.target {
            return Err(CopyError::Changed { path: self.shown.clone() });
        }
        (self.source, self.target) = (source, target);
        self.shown.pop();
        self.below.pop();
        Ok(true)
    }

    fn file(&mut self, name: &CStr, facts: &Stat) -> Result<(), CopyError> {
        let reading = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let source = rustix::fs::openat(&self.source, name, reading, Mode::empty()).map_err(self.failed(name))?;
        let opened = rustix::fs::fstat(&source).map_err(self.failed(name))?;
        if identity(&opened) != identity(facts) {
            return Err(self.changed(name));
        }
        let writing = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let target = rustix::fs::openat(&self.target, name, writing, Mode::RUSR).map_err(self.failed(name))?;
        let (source, target) = (File::from(source), File::from(target));
        let bytes = contents(&source, &target, facts.st_size as u64).map_err(|error| self.entry_error(name, error))?;
        self.copied.bytes += bytes;
        apply_facts_open(&source.into(), &target.into(), facts).map_err(|error| self.entry_error(name, error))
    }

    /// A file that cannot be opened gets its owner, mode and attributes by its name, in a directory of the engine.
    fn apply_facts(&self, name: &CStr, facts: &Stat, with_mode: bool) -> Result<(), CopyError> {
        let apply_facts = || -> io::Result<()> {
            let (uid, gid) = owner(facts);
            rustix::fs::chownat(&self.target, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)?;
            if with_mode {
                rustix::fs::chmodat(&self.target, name, mode(facts), AtFlags::empty())?;
            }
            let (source, target) = (by_descriptor(&self.source, name)?, by_descriptor(&self.target, name)?);
            let list = xattr_list(|buffer| rustix::fs::llistxattr(&source, buffer))?;
            for attribute in attributes(&list) {
                let value = xattr_value(|buffer| rustix::fs::lgetxattr(&source, attribute, buffer))?;
                kept_where_known(rustix::fs::lsetxattr(&target, attribute, &value, XattrFlags::empty()))?;
            }
            rustix::fs::utimensat(&self.target, name, &times(facts), AtFlags::SYMLINK_NOFOLLOW)?;
            Ok(())
        };
        apply_facts().map_err(|error| self.entry_error(name, error))
    }

    fn failed(&self, name: &CStr) -> impl Fn(Errno) -> CopyError {
        let path = self.shown.join(OsStr::from_bytes(name.to_bytes()));
        move |errno| CopyError::Entry { path: path.clone(), source: errno.into() }
    }

    fn entry_error(&self, name: &CStr, source: io::Error) -> CopyError {
        CopyError::Entry { path: self.shown.join(OsStr::from_bytes(name.to_bytes())), source }
    }

    fn changed(&self, name: &CStr) -> CopyError {
        CopyError::Changed { path: self.shown.join(OsStr::from_bytes(name.to_bytes())) }
    }
}

/// Everything of an open file or directory but its contents. In this order: a new owner takes set-user-id and
/// capabilities away.
fn apply_facts_open(source: &OwnedFd, target: &OwnedFd, facts: &Stat) -> io::Result<()> {
    let (uid, gid) = owner(facts);
    rustix::fs::fchown(target, uid, gid)?;
    rustix::fs::fchmod(target, mode(facts))?;
    let list = xattr_list(|buffer| rustix::fs::flistxattr(source, buffer))?;
    for attribute in attributes(&list) {
        let value = xattr_value(|buffer| rustix::fs::fgetxattr(source, attribute, buffer))?;
        kept_where_known(rustix::fs::fsetxattr(target, attribute, &value, XattrFlags::empty()))?;
    }
    rustix::fs::futimens(target, &times(facts))?;
    Ok(())
}

/// The contents, shared where the file system can, else copied by the kernel, hole by hole.
fn contents(mut source: &File, mut target: &File, size: u64) -> io::Result<u64> {
    if rustix::fs::ioctl_ficlone(target, source).is_ok() {
        return Ok(size);
    }
    let mut copied = 0;
    let mut at = 0;
    while at < size {
        let (from, to) = match rustix::fs::seek(source, rustix::fs::SeekFrom::Data(at)) {
            // A file system without holes answers that all is data; one that does not support the call fails.
            Ok(from) => (from, rustix::fs::seek(source, rustix::fs::SeekFrom::Hole(from))?.min(size)),
            Err(Errno::NXIO) => break,
            Err(_) => (at, size),
        };
        if from >= size {
            break;
        }
        source.seek(SeekFrom::Start(from))?;
        target.seek(SeekFrom::Start(from))?;
        let moved = io::copy(&mut source.take(to - from), &mut target)?;
        copied += moved;
        if moved < to - from {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        at = to;
    }
    target.set_len(size)?;
    Ok(copied)
}

fn names(dir: &OwnedFd) -> io::Result<Vec<CString>> {
    let mut names = Vec::new();
    for entry in rustix::fs::Dir::read_from(dir)? {
        let entry = entry?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            names.push(entry.file_name().to_owned());
        }
    }
    Ok(names)
}

/// A path to an entry of an open directory that does not follow the entry itself, for calls that only take paths.
fn by_descriptor(dir: &OwnedFd, name: &CStr) -> io::Result<CString> {
    let mut path = format!("/proc/self/fd/{}/", dir.as_raw_fd()).into_bytes();
    path.extend_from_slice(name.to_bytes());
    CString::new(path).map_err(io::Error::other)
}

/// The names that are copied: not those by which the overlay keeps its books, nor a label that the target's place
/// decides.
pub(super) fn attributes(list: &[u8]) -> impl Iterator<Item = &CStr> {
    list.split_inclusive(|byte| *byte == 0).filter_map(|name| CStr::from_bytes_with_nul(name).ok()).filter(|name| {
        let name = name.to_bytes();
        !name.starts_with(b"trusted.overlay.") && !name.starts_with(b"user.overlay.") && name != b"security.selinux"
    })
}

/// An attribute that the target's file system does not know is left out.
pub(super) fn kept_where_known(outcome: Result<(), Errno>) -> io::Result<()> {
    match outcome {
        Err(Errno::OPNOTSUPP) => Ok(()),
        other => Ok(other?),
    }
}

pub(super) fn xattr_list(list: impl Fn(&mut Vec<u8>) -> Result<usize, Errno>) -> io::Result<Vec<u8>> {
    match sized(list) {
        Err(Errno::OPNOTSUPP) => Ok(Vec::new()),
        other => Ok(other?),
    }
}

pub(super) fn xattr_value(get: impl Fn(&mut Vec<u8>) -> Result<usize, Errno>) -> io::Result<Vec<u8>> {
    Ok(sized(get)?)
}

/// Most are small; the kernel's own limit is 64 KiB.
fn sized(call: impl Fn(&mut Vec<u8>) -> Result<usize, Errno>) -> Result<Vec<u8>, Errno> {
    let mut buffer = vec![0; 256];
    loop {
        match call(&mut buffer) {
            Err(Errno::RANGE) if buffer.len() < 1 << 16 => buffer.resize(1 << 16, 0),
            Ok(length) => {
                buffer.truncate(length);
                return Ok(buffer);
            }
            Err(errno) => return Err(errno),
        }
    }
}

fn identity(facts: &Stat) -> (u64, u64) {
    (facts.st_dev, facts.st_ino)
}

fn owner(facts: &Stat) -> (Option<Uid>, Option<Gid>) {
    (Some(Uid::from_raw(facts.st_uid)), Some(Gid::from_raw(facts.st_gid)))
}

fn mode(facts: &Stat) -> Mode {
    Mode::from_raw_mode(facts.st_mode & 0o7777)
}

fn times(facts: &Stat) -> Timestamps {
    let time = |seconds, nanoseconds| Timespec { tv_sec: seconds as _, tv_nsec: nanoseconds as _ };
    Timestamps {
        last_access: time(facts.st_atime, facts.st_atime_nsec),
        last_modification: time(facts.st_mtime, facts.st_mtime_nsec),
    }
}

#[cfg(test)]
#[path = "copy_tests.rs"]
mod tests;
