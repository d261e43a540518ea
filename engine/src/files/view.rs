//! A container's tree of files as the container sees it, by handles.
//!
//! Processes in the tree may rename and replace files while the daemon walks. So a path is followed one component at
//! a time, from one open directory to the next: the kernel follows no link, the text of a link is read and walked
//! from the root's handle, and `..` goes back along the handles it came by. There is no way out of it.
//!
//! Of a running container the kernel knows the mounts. Of one that does not run only the root filesystem is there; its
//! future mounts and volumes are a table here, looked at before the kernel is asked.

use std::collections::{BTreeMap, VecDeque};
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use rustix::fs::{FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::FilesError;

/// Links on the way, as many as the kernel takes.
const MOST_LINKS: usize = 40;
/// Directories one within another: each is an open descriptor here.
const MOST_DEPTH: usize = 256;
/// A file that is replaced between two looks at it this often is replaced on purpose.
const PATIENCE: usize = 16;

/// An open directory, and where it is in the container.
#[derive(Debug, Clone)]
pub(crate) struct Dir {
    pub fd: Rc<OwnedFd>,
    pub path: PathBuf,
    pub read_only: bool,
}

/// A file in a directory, by a handle that neither reads nor writes.
#[derive(Debug)]
pub(crate) struct Node {
    pub fd: Rc<OwnedFd>,
    pub facts: Stat,
    pub path: PathBuf,
    pub read_only: bool,
    /// The file is the top of a mount from the table.
    pub mounted: bool,
}

impl Node {
    pub(crate) fn kind(&self) -> FileType {
        FileType::from_raw_mode(self.facts.st_mode)
    }

    pub(crate) fn into_dir(self) -> Dir {
        Dir { fd: self.fd, path: self.path, read_only: self.read_only }
    }

    /// Opens the very file that the handle names. Never waits, for instance for the other end of a FIFO.
    pub(crate) fn reopen(&self, flags: OFlags) -> io::Result<OwnedFd> {
        let path = format!("/proc/self/fd/{}", self.fd.as_raw_fd());
        let flags = flags | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        Ok(rustix::fs::open(path, flags, Mode::empty())?)
    }

    /// The text of a link.
    pub(crate) fn target(&self) -> io::Result<Vec<u8>> {
        Ok(rustix::fs::readlinkat(&*self.fd, "", Vec::new())?.into_bytes())
    }
}

/// Where a path leads. Every `above` begins with the root and ends with the directory that it is about.
#[derive(Debug)]
pub(crate) enum Found {
    Directory {
        above: Vec<Dir>,
    },
    /// A file of any other kind.
    Other(Node),
    /// All but the last component is there.
    Missing {
        above: Vec<Dir>,
        name: OsString,
    },
}

/// The mount over a path of a container that does not run.
#[derive(Debug)]
enum Over {
    Source { fd: Rc<OwnedFd>, read_only: bool },
    Memory,
    Missing(io::Error),
}

#[derive(Debug)]
pub(crate) struct View {
    root: Dir,
    mounts: BTreeMap<PathBuf, Over>,
}

impl View {
    /// A view of a running container, whose mounts the kernel knows; or of a tree without any.
    pub(crate) fn new(root: OwnedFd, read_only: bool) -> Self {
        Self { root: Dir { fd: Rc::new(root), path: "/".into(), read_only }, mounts: BTreeMap::new() }
    }

    pub(crate) fn root(&self) -> Dir {
        self.root.clone()
    }

    /// A source of the host's that lies at `target`, which is looked up: it may lead through links. Later ones lie over
    /// earlier ones.
    pub(crate) fn lay(&mut self, target: &Path, source: &Path, read_only: bool) -> Result<(), FilesError> {
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let over = match rustix::fs::open(source, flags, Mode::empty()) {
            Ok(fd) => Over::Source { fd: Rc::new(fd), read_only },
            Err(errno) => Over::Missing(errno.into()),
        };
        self.cover(target, over)
    }

    /// A tmpfs that will be at `target`.
    pub(crate) fn lay_memory(&mut self, target: &Path) -> Result<(), FilesError> {
        self.cover(target, Over::Memory)
    }

    fn cover(&mut self, target: &Path, over: Over) -> Result<(), FilesError> {
        let resolved = match self.find(target.as_os_str(), true)? {
            Found::Directory { above } => last(&above).path.clone(),
            Found::Other(node) => node.path,
            Found::Missing { above, name } => last(&above).path.join(name),
        };
        if resolved != Path::new("/") {
            // Paths are ordered by their components, so paths below one follow it directly.
            let within = self.mounts.range(resolved.clone()..).map(|(target, _)| target);
            let hidden: Vec<_> = within.take_while(|target| target.starts_with(&resolved)).cloned().collect();
            hidden.iter().for_each(|target| drop(self.mounts.remove(target)));
            self.mounts.insert(resolved, over);
        }
        Ok(())
    }

    /// The file of this name in a directory; `None` when there is none.
    pub(crate) fn child(&self, dir: &Dir, name: &OsStr) -> Result<Option<Node>, FilesError> {
        let path = dir.path.join(name);
        if let Some(over) = self.mounts.get(&path) {
            return mounted(over, path).map(Some);
        }
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = match rustix::fs::openat(&*dir.fd, name, flags, Mode::empty()) {
            Ok(fd) => Rc::new(fd),
            Err(Errno::NOENT) => return Ok(None),
            Err(errno) => return Err(FilesError::io("open", &path, errno.into())),
        };
        let facts = rustix::fs::fstat(&*fd).map_err(|errno| FilesError::io("examine", &path, errno.into()))?;
        Ok(Some(Node { fd, facts, path, read_only: dir.read_only, mounted: false }))
    }

    /// Where a path leads from the root. A link at its end is followed if `follow` is set, or if the path ends as a
    /// directory's.
    pub(crate) fn find(&self, path: &OsStr, follow: bool) -> Result<Found, FilesError> {
        self.find_from(vec![self.root()], path, follow)
    }

    /// The same from another directory, unless the path begins at the root.
    pub(crate) fn find_from(&self, start: Vec<Dir>, path: &OsStr, follow: bool) -> Result<Found, FilesError> {
        let mut above = start;
        if path.as_bytes().first() == Some(&b'/') {
            above.truncate(1);
        }
        let mut directory = is_directory_path(path);
        let mut ahead = components(path);
        let mut links = 0;
        while let Some(name) = ahead.pop_front() {
            if name == ".." {
                // The root's own parent is the root.
                if above.len() > 1 {
                    above.pop();
                }
                continue;
            }
            let is_last = ahead.is_empty();
            let dir = last(&above);
            let Some(node) = self.child(dir, &name)? else {
                return match is_last {
                    true => Ok(Found::Missing { above, name }),
                    false => Err(FilesError::NoSuchPath { path: dir.path.join(name) }),
                };
            };
            match node.kind() {
                FileType::Directory if above.len() > MOST_DEPTH => {
                    return Err(FilesError::TooDeep { path: node.path });
                }
                FileType::Directory => above.push(node.into_dir()),
                FileType::Symlink if !is_last || follow || directory => {
                    links += 1;
                    if links > MOST_LINKS {
                        return Err(FilesError::TooManyLinks { path: node.path });
                    }
                    let target = node.target().map_err(|error| FilesError::io("read the link", &node.path, error))?;
                    let target = OsString::from_vec(target);
                    if target.as_bytes().first() == Some(&b'/') {
                        above.truncate(1);
                    }
                    directory |= is_last && is_directory_path(&target);
                    for part in components(&target).into_iter().rev() {
                        ahead.push_front(part);
                    }
                }
                _ if is_last && !directory => return Ok(Found::Other(node)),
                _ => return Err(FilesError::NotADirectory { path: node.path }),
            }
        }
        Ok(Found::Directory { above })
    }

    /// The directory that a path leads to from another; missing directories are made, as root's. `made` is called with
    /// each of those.
    pub(crate) fn make_dirs(
        &self,
        start: Vec<Dir>,
        path: &OsStr,
        made: &mut dyn FnMut(&Path),
    ) -> Result<Vec<Dir>, FilesError> {
        let mut above = start;
        for part in components(path) {
            above = self.enter_or_make(above, &part, made)?;
        }
        Ok(above)
    }

    fn enter_or_make(
        &self,
        start: Vec<Dir>,
        part: &OsStr,
        made: &mut dyn FnMut(&Path),
    ) -> Result<Vec<Dir>, FilesError> {
        for _ in 0..PATIENCE {
            match self.find_from(start.clone(), part, true)? {
                Found::Directory { above } => return Ok(above),
                Found::Other(node) => return Err(FilesError::NotADirectory { path: node.path }),
                Found::Missing { above, name } => {
                    let dir = last(&above);
                    let path = dir.path.join(&name);
                    may_write(dir, &path)?;
                    match rustix::fs::mkdirat(&*dir.fd, &name, Mode::from_raw_mode(0o755)) {
                        Ok(()) => made(&path),
                        // A process was faster: its file is looked at like any other.
                        Err(Errno::EXIST) => {}
                        Err(errno) => return Err(FilesError::io("make the directory", &path, errno.into())),
                    }
                }
            }
        }
        Err(FilesError::Changed { path: last(&start).path.join(part) })
    }
}

/// The top of a mount from the table.
fn mounted(over: &Over, path: PathBuf) -> Result<Node, FilesError> {
    match over {
        Over::Source { fd, read_only } => {
            let facts = rustix::fs::fstat(&**fd);
            let facts = facts.map_err(|errno| FilesError::io("examine", &path, errno.into()))?;
            Ok(Node { fd: fd.clone(), facts, path, read_only: *read_only, mounted: true })
        }
        Over::Memory => Err(FilesError::InMemory { target: path.clone(), path }),
        Over::Missing(error) => {
            let source = error.raw_os_error().map_or_else(|| error.kind().into(), io::Error::from_raw_os_error);
            Err(FilesError::Source { target: path.clone(), path, source })
        }
    }
}

/// A tree that was described as read-only, which the kernel does not know of one that does not run.
pub(crate) fn may_write(dir: &Dir, path: &Path) -> Result<(), FilesError> {
    if dir.read_only { Err(FilesError::ReadOnly { path: path.to_path_buf() }) } else { Ok(()) }
}

/// The directory that a walk has led to.
pub(crate) fn last(above: &[Dir]) -> &Dir {
    above.last().expect("a walk begins at the root and never leaves it")
}

/// A path that ends like a directory's.
pub(crate) fn is_directory_path(path: &OsStr) -> bool {
    let path = path.as_bytes();
    path.ends_with(b"/") || path.ends_with(b"/.") || path == b"."
}

fn components(path: &OsStr) -> VecDeque<OsString> {
    let parts = path.as_bytes().split(|byte| *byte == b'/').filter(|part| !matches!(**part, [] | [b'.']));
    parts.map(|part| OsStr::from_bytes(part).to_owned()).collect()
}

#[cfg(test)]
#[path = "view_tests.rs"]
mod tests;
