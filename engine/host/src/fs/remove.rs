//! Removing a directory of the engine with all it holds, and nothing beyond it: mounts below are never entered.
//!
//! `std::fs::remove_dir_all` goes on within a mount, whose data is foreign, and fails for ever at a file that is a
//! mount point (runc binds its own binary below its state directory, and may die before it unmounts it).

use std::ffi::{CString, OsStr};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, umount2};
use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, RenameFlags, ResolveFlags};
use rustix::io::Errno;

use super::mounts_below;

/// Directories one within another, each an open descriptor; deeper ones are moved up first.
const MOST_DEPTH: usize = 64;
/// A mount may come between a look and an unmount; one that comes every time is an error.
const ROUNDS: u32 = 4;

/// The handling of mounts below.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mounts {
    /// Unmounted: the directory is the engine's alone.
    Detach,
    /// Mounts are kept, and the removal fails with the name of one.
    Refuse,
}

/// Removes `path`; one that is gone is fine. Never enters a mount. Blocks.
pub fn remove_tree(path: &Path, mounts: Mounts) -> io::Result<()> {
    for _ in 0..ROUNDS {
        match remove_once(path) {
            Ok(Outcome::Gone) => return Ok(()),
            Ok(Outcome::Mounted) => {}
            Err(error) => return Err(error),
        }
        let found = mounted_below(path)?;
        match (mounts, found.last()) {
            (Mounts::Refuse, Some(mount)) => {
                let problem = format!("`{}` is mounted there; unmount it first", mount.display());
                return Err(io::Error::new(io::ErrorKind::ResourceBusy, problem));
            }
            (Mounts::Refuse, None) | (Mounts::Detach, _) => drop(detach(&found)?),
        }
    }
    let problem = "something below is busy, or is mounted again and again (see /proc/self/mountinfo)";
    Err(io::Error::new(io::ErrorKind::ResourceBusy, problem))
}

/// Unmounts everything at or below `path`, which is a directory of the engine's own, and returns how many. Blocks.
pub fn detach_below(path: &Path) -> io::Result<usize> {
    let found = match mounted_below(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        found => found?,
    };
    detach(&found)
}

/// The mounts at or below `path`, as the kernel spells them, the innermost last.
fn mounted_below(path: &Path) -> io::Result<Vec<PathBuf>> {
    let parent = path.parent().unwrap_or(Path::new("/")).canonicalize()?;
    let real = parent.join(path.file_name().unwrap_or_default());
    Ok(mounts_below(&[&real])?.into_iter().map(|mount| mount.target).collect())
}

/// Unmounts these, the last first, and returns how many were still there.
fn detach(mounts: &[PathBuf]) -> io::Result<usize> {
    let mut detached = 0;
    for mount in mounts.iter().rev() {
        match umount2(mount, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW) {
            Ok(()) => {
                detached += 1;
                let mount = mount.display();
                tracing::warn!(%mount, "unmounted a mount that was left below a directory that is removed");
            }
            // Gone meanwhile, or with the one that it was mounted in.
            Err(nix::errno::Errno::EINVAL | nix::errno::Errno::ENOENT) => {}
            Err(errno) => {
                let error = io::Error::from(errno);
                return Err(io::Error::new(error.kind(), format!("cannot unmount `{}`: {error}", mount.display())));
            }
        }
    }
    Ok(detached)
}

#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Gone,
    /// A mount is in the way; the rest is removed.
    Mounted,
}

/// One directory that is being emptied.
struct Level {
    dir: OwnedFd,
    /// Its name in the directory above.
    name: CString,
    entries: std::vec::IntoIter<(CString, FileType)>,
}

impl Level {
    fn of(dir: OwnedFd, name: CString) -> Result<Self, Errno> {
        let mut entries = Vec::new();
        for entry in Dir::read_from(&dir)? {
            let entry = entry?;
            if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
                entries.push((entry.file_name().to_owned(), entry.file_type()));
            }
        }
        Ok(Self { dir, name, entries: entries.into_iter() })
    }
}

fn remove_once(path: &Path) -> io::Result<Outcome> {
    let (Some(above), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the root is not removed"));
    };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let above = match rustix::fs::openat(CWD, above, flags, Mode::empty()) {
        Ok(above) => above,
        Err(Errno::NOENT) => return Ok(Outcome::Gone),
        Err(errno) => return Err(errno.into()),
    };
    let name = CString::new(OsStr::as_bytes(name))?;
    Ok(empty_and_remove(above.as_fd(), name)?)
}

fn empty_and_remove(above: BorrowedFd<'_>, name: CString) -> Result<Outcome, Errno> {
    let mut outcome = Outcome::Gone;
    let mut levels = match open_dir(above, &name) {
        Ok(dir) => vec![Level::of(dir, name)?],
        Err(Errno::NOENT) => return Ok(Outcome::Gone),
        Err(Errno::XDEV) => return Ok(Outcome::Mounted),
        // No directory at all.
        Err(Errno::NOTDIR | Errno::LOOP) => return unlink(above, &name, AtFlags::empty()),
        Err(errno) => return Err(errno),
    };
    let mut moved = 0_u32;
    loop {
        let depth = levels.len();
        let Some(level) = levels.last_mut() else { return Ok(outcome) };
        let Some((name, kind)) = level.entries.next() else {
            let done = levels.pop().expect("there is a last one");
            let parent = levels.last().map_or(above, |level| level.dir.as_fd());
            match unlink(parent, &done.name, AtFlags::REMOVEDIR) {
                Ok(removed) => outcome = worse(outcome, removed),
                // A directory was moved up into it, a file has come meanwhile, or a mount is in it.
                Err(Errno::NOTEMPTY | Errno::EXIST) if outcome == Outcome::Gone => {
                    let again = Level::of(open_dir(parent, &done.name)?, done.name)?;
                    levels.push(again);
                }
                Err(Errno::NOTEMPTY | Errno::EXIST) => {}
                Err(errno) => return Err(errno),
            }
            continue;
        };
        if kind != FileType::Directory && kind != FileType::Unknown {
            outcome = worse(outcome, unlink(level.dir.as_fd(), &name, AtFlags::empty())?);
            continue;
        }
        match open_dir(level.dir.as_fd(), &name) {
            Ok(_) if depth >= MOST_DEPTH => {
                // Removed from up there, when that one has been emptied so far.
                let deep = levels.last().expect("there is a last one").dir.as_fd();
                outcome = worse(outcome, move_up(deep, &name, levels[0].dir.as_fd(), &mut moved)?);
            }
            Ok(dir) => levels.push(Level::of(dir, name)?),
            Err(Errno::NOENT) => {}
            Err(Errno::XDEV) => outcome = Outcome::Mounted,
            Err(Errno::NOTDIR | Errno::LOOP) => {
                outcome = worse(outcome, unlink(level.dir.as_fd(), &name, AtFlags::empty())?);
            }
            Err(errno) => return Err(errno),
        }
    }
}

/// Under a name that is free.
fn move_up(from: BorrowedFd<'_>, name: &CString, to: BorrowedFd<'_>, moved: &mut u32) -> Result<Outcome, Errno> {
    loop {
        let up = CString::new(format!(".removed-{moved}")).expect("there is no NUL in it");
        *moved += 1;
        match rustix::fs::renameat_with(from, name, to, &up, RenameFlags::NOREPLACE) {
            Ok(()) | Err(Errno::NOENT) => return Ok(Outcome::Gone),
            Err(Errno::EXIST) => {}
            Err(Errno::BUSY | Errno::XDEV) => return Ok(Outcome::Mounted),
            Err(errno) => return Err(errno),
        }
    }
}

fn worse(one: Outcome, other: Outcome) -> Outcome {
    if one == Outcome::Gone { other } else { one }
}

fn unlink(dir: BorrowedFd<'_>, name: &CString, flags: AtFlags) -> Result<Outcome, Errno> {
    match rustix::fs::unlinkat(dir, name, flags) {
        Ok(()) | Err(Errno::NOENT) => Ok(Outcome::Gone),
        Err(Errno::BUSY) => Ok(Outcome::Mounted),
        Err(errno) => Err(errno),
    }
}

/// Opens a directory without following a link, and not across a mount.
fn open_dir(dir: BorrowedFd<'_>, name: &CString) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve = ResolveFlags::NO_XDEV | ResolveFlags::NO_SYMLINKS | ResolveFlags::BENEATH;
    for _ in 0..16 {
        match rustix::fs::openat2(dir, name, flags, Mode::empty(), resolve) {
            // A directory was renamed meanwhile.
            Err(Errno::AGAIN) => {}
            // Before Linux 5.6.
            Err(Errno::NOSYS) => return open_same_device(dir, name, flags),
            opened => return opened,
        }
    }
    Err(Errno::AGAIN)
}

fn open_same_device(dir: BorrowedFd<'_>, name: &CString, flags: OFlags) -> Result<OwnedFd, Errno> {
    let opened = rustix::fs::openat(dir, name, flags, Mode::empty())?;
    let same = rustix::fs::fstat(&opened)?.st_dev == rustix::fs::fstat(dir)?.st_dev;
    if same { Ok(opened) } else { Err(Errno::XDEV) }
}

#[cfg(test)]
#[path = "remove_tests.rs"]
mod tests;
