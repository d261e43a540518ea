//! Packing a tree into a tar, while processes may be at work in the tree.
//!
//! Only regular files are opened for reading, and those by the handle that was examined before: neither a FIFO nor a
//! device is touched. A file that vanishes before its turn is left out; a replaced one is packed as it is then. File
//! systems that show the kernel itself (`/proc`, `/sys`) are empty directories unless the path names something within.
//!
//! A tar has the size of a file before its content. The size that a file reports is only a guess: small files are read
//! first, and so are those of the kernel, which report 0 or 4096 bytes whatever their content is.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags, Stat};
use rustix::io::Errno;
use tar::EntryType;

use super::FilesError;
use super::tar_writer::{Entry, ReadFailed, TarWriter};
use super::view::{Dir, Found, Node, View, last};
use crate::rootfs::attributes;

/// Open directories one within another.
const MOST_DEPTH: usize = 256;
/// Files of up to this are read before their size is written.
const SMALL: usize = 64 << 10;
/// A file of the kernel, which reports no true size, is read first. A longer one is refused.
const LONGEST_UNSIZED: usize = 16 << 20;

/// The callbacks of a packing.
pub(crate) struct Callbacks<'a> {
    /// Packing ends with [`FilesError::Stopped`] once it returns true.
    pub stop: &'a dyn Fn() -> bool,
    /// Gets a text about each file that is left out.
    pub note: &'a mut dyn FnMut(String),
}

/// Writes the found file or tree as a tar whose names begin with `base`; below an empty one they begin at the top,
/// which is `./`.
pub(crate) fn pack<'a>(
    view: &'a View,
    found: Found,
    base: &[u8],
    out: impl Write,
    callbacks: Callbacks<'a>,
) -> Result<(), FilesError> {
    let mut packing = Packing {
        view,
        writer: TarWriter::new(out),
        callbacks,
        links: HashMap::new(),
        levels: Vec::new(),
        head: Vec::with_capacity(SMALL),
    };
    match found {
        Found::Missing { above, name } => {
            return Err(FilesError::NoSuchPath { path: last(&above).path.join(name) });
        }
        Found::Other(node) => {
            let kernels = is_kernels(&node.fd);
            packing.entry(&node, base.to_vec(), kernels)?;
        }
        Found::Directory { above } => {
            let dir = last(&above).clone();
            let facts = rustix::fs::fstat(&*dir.fd);
            let facts = facts.map_err(|errno| FilesError::io("examine", &dir.path, errno.into()))?;
            packing.enter(dir, &facts, base.to_vec())?;
        }
    }
    while packing.step()? {}
    packing.writer.finish().map_err(|source| FilesError::Output { source })
}

/// A directory that is being packed.
struct Level {
    dir: Dir,
    name: Vec<u8>,
    /// The names that are still to be packed, the next one last.
    names: Vec<OsString>,
    device: u64,
    /// On a file system of the kernel, where unreadable entries are left out.
    kernels: bool,
}

struct Packing<'a, W> {
    view: &'a View,
    writer: TarWriter<W>,
    callbacks: Callbacks<'a>,
    /// Under which name a file with several names is in the tar.
    links: HashMap<(u64, u64), Vec<u8>>,
    levels: Vec<Level>,
    /// The beginning of a file, read before its size is written.
    head: Vec<u8>,
}

impl<W: Write> Packing<'_, W> {
    /// One entry, or the end of a directory; `false` when that was all.
    fn step(&mut self) -> Result<bool, FilesError> {
        if (self.callbacks.stop)() {
            return Err(FilesError::Stopped);
        }
        let Some(level) = self.levels.last_mut() else { return Ok(false) };
        let Some(name) = level.names.pop() else {
            self.levels.pop();
            return Ok(true);
        };
        let entry_name = match level.name.as_slice() {
            b"" => name.as_bytes().to_vec(),
            above => [above, b"/", name.as_bytes()].concat(),
        };
        let (device, kernels) = (level.device, level.kernels);
        let node = match self.view.child(&level.dir, &name) {
            Ok(Some(node)) => node,
            // The entry has gone since the directory was listed, or shows only while the container runs.
            Ok(None) | Err(FilesError::InMemory { .. }) => return Ok(true),
            Err(FilesError::Io { path, .. }) if kernels => {
                self.leave_out(&path, "cannot be looked at");
                return Ok(true);
            }
            Err(error) => return Err(error),
        };
        if node.kind() == FileType::Directory {
            let facts = node.facts;
            let dir = node.into_dir();
            if facts.st_dev != device && is_kernels(&dir.fd) {
                self.begin(&[entry_name.as_slice(), b"/"].concat(), EntryType::Directory, &facts, &[])?;
                self.leave_out(&dir.path, "shows the kernel itself: its contents are left out");
            } else {
                self.enter(dir, &facts, entry_name)?;
            }
            return Ok(true);
        }
        // A single file may be mounted here, too.
        let kernels = if node.facts.st_dev == device { kernels } else { is_kernels(&node.fd) };
        self.entry(&node, entry_name, kernels)?;
        Ok(true)
    }

    fn enter(&mut self, dir: Dir, facts: &Stat, name: Vec<u8>) -> Result<(), FilesError> {
        if self.levels.len() >= MOST_DEPTH {
            return Err(FilesError::TooDeep { path: dir.path });
        }
        let kernels = is_kernels(&dir.fd);
        let names = match names(&dir.fd) {
            Ok(names) => names,
            Err(_) if kernels && !self.levels.is_empty() => {
                self.leave_out(&dir.path, "cannot be read");
                Vec::new()
            }
            Err(error) => return Err(FilesError::io("read the directory", &dir.path, error)),
        };
        let entry_name = if name.is_empty() { b"./".to_vec() } else { [name.as_slice(), b"/"].concat() };
        let kept = attributes::read(&dir.fd).map_err(|error| FilesError::io("read attributes of", &dir.path, error))?;
        self.begin(&entry_name, EntryType::Directory, facts, &kept)?;
        self.levels.push(Level { dir, name, names, device: facts.st_dev, kernels });
        Ok(())
    }

    /// Packs any file but a directory.
    fn entry(&mut self, node: &Node, name: Vec<u8>, kernels: bool) -> Result<(), FilesError> {
        let facts = &node.facts;
        let kind = match node.kind() {
            FileType::RegularFile => EntryType::Regular,
            FileType::Symlink => EntryType::Symlink,
            FileType::CharacterDevice => EntryType::Char,
            FileType::BlockDevice => EntryType::Block,
            FileType::Fifo => EntryType::Fifo,
            FileType::Socket if self.levels.is_empty() => {
                return Err(FilesError::NotCopied { path: node.path.clone(), kind: "socket" });
            }
            FileType::Socket => {
                self.leave_out(&node.path, "is a socket, which is not copied");
                return Ok(());
            }
            FileType::Directory | FileType::Unknown => {
                return Err(FilesError::NotCopied { path: node.path.clone(), kind: "thing of no known kind" });
            }
        };
        let key = (facts.st_dev, facts.st_ino);
        if facts.st_nlink > 1
            && kind != EntryType::Symlink
            && let Some(first) = self.links.get(&key)
        {
            let first = first.clone();
            let entry = Entry { name: &name, kind: EntryType::Link, facts, size: 0, target: &first, attributes: &[] };
            return self.writer.begin(&entry).map_err(|source| FilesError::Output { source });
        }
        let written = match kind {
            EntryType::Regular => self.file(node, &name, kernels)?,
            EntryType::Symlink => {
                let target = node.target().map_err(|error| FilesError::io("read the link", &node.path, error))?;
                let entry = Entry { name: &name, kind, facts, size: 0, target: &target, attributes: &[] };
                self.writer.begin(&entry).map_err(|source| FilesError::Output { source })?;
                false
            }
            _ => {
                self.begin(&name, kind, facts, &[])?;
                true
            }
        };
        if written && facts.st_nlink > 1 {
            self.links.insert(key, name);
        }
        Ok(())
    }

    /// `false` when it was left out. `kernels`: an unreadable file is left out, unless the request named it.
    fn file(&mut self, node: &Node, name: &[u8], kernels: bool) -> Result<bool, FilesError> {
        let may_miss = kernels && !self.levels.is_empty();
        let opened = node.reopen(OFlags::RDONLY).and_then(|fd| Ok((attributes::read_open(&fd)?, File::from(fd))));
        let (kept, mut file) = match opened {
            Ok(opened) => opened,
            Err(_) if may_miss => {
                self.leave_out(&node.path, "cannot be opened");
                return Ok(false);
            }
            Err(error) => return Err(FilesError::io("open", &node.path, error)),
        };
        let mut head = std::mem::take(&mut self.head);
        let reported = u64::try_from(node.facts.st_size).unwrap_or(0);
        let size = match size_of(&mut file, reported, kernels, &mut head) {
            Ok(Some(size)) => size,
            Ok(None) if may_miss => {
                self.leave_out(&node.path, "does not end");
                return Ok(false);
            }
            Ok(None) => {
                return Err(FilesError::NotCopied { path: node.path.clone(), kind: "file that does not end" });
            }
            Err(_) if may_miss => {
                self.leave_out(&node.path, "cannot be read");
                return Ok(false);
            }
            Err(error) => return Err(FilesError::io("read", &node.path, error)),
        };
        let facts = &node.facts;
        let entry = Entry { name, kind: EntryType::Regular, facts, size, target: &[], attributes: &kept };
        self.writer.begin(&entry).map_err(|source| FilesError::Output { source })?;
        let stop = self.callbacks.stop;
        let content = Stopping { from: (&head[..]).chain(&mut file), stop };
        let missing = self.writer.content(content, size).map_err(|source| {
            if stop() {
                FilesError::Stopped
            } else if ReadFailed::is(&source) {
                FilesError::io("read", &node.path, source)
            } else {
                FilesError::Output { source }
            }
        })?;
        if missing > 0 {
            self.leave_out(&node.path, &format!("was cut while it was copied: its last {missing} bytes are zeros"));
        }
        // The memory for one large file of the kernel is given back.
        head.clear();
        head.shrink_to(SMALL);
        self.head = head;
        Ok(true)
    }

    fn begin(
        &mut self,
        name: &[u8],
        kind: EntryType,
        facts: &Stat,
        attributes: &[(Vec<u8>, Vec<u8>)],
    ) -> Result<(), FilesError> {
        let entry = Entry { name, kind, facts, size: 0, target: &[], attributes };
        self.writer.begin(&entry).map_err(|source| FilesError::Output { source })
    }

    fn leave_out(&mut self, path: &Path, why: &str) {
        (self.callbacks.note)(format!("{} {why}", crate::image::layer::reading::shown(path.as_os_str().as_bytes())));
    }
}

/// How many bytes to copy of a file, whose beginning is left in `head`; `None` when it does not end. `reported` is the
/// size in its metadata, which is ignored for files of the kernel (`kernels`).
fn size_of(file: &mut File, reported: u64, kernels: bool, head: &mut Vec<u8>) -> io::Result<Option<u64>> {
    head.clear();
    if !kernels {
        if read_up_to(file, SMALL, Some(reported), head)? {
            return Ok(Some(head.len() as u64));
        }
        if reported > head.len() as u64 {
            return Ok(Some(reported));
        }
    }
    // The file is longer than reported, or may be.
    Ok(read_up_to(file, LONGEST_UNSIZED, None, head)?.then_some(head.len() as u64))
}

/// Whether the file was read to its end: to the end itself, to the `expected` size, or to the last byte that an endless
/// file has for now.
fn read_up_to(file: &mut File, most: usize, expected: Option<u64>, head: &mut Vec<u8>) -> io::Result<bool> {
    // One byte more than expected, to see whether the file is longer.
    let first = expected
        .and_then(|reported| usize::try_from(reported).ok())
        .map_or(SMALL, |reported| reported.saturating_add(1).clamp(4096, SMALL));
    while head.len() < most {
        let before = head.len();
        head.resize((before * 2).max(first).min(most), 0);
        let read = file.read(&mut head[before..]);
        head.truncate(before + *read.as_ref().unwrap_or(&0));
        match read {
            Ok(0) => return Ok(true),
            // A small file in one call.
            Ok(_) if expected == Some(head.len() as u64) => return Ok(true),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(true),
            Err(error) => return Err(error),
        }
    }
    Ok(false)
}

/// A reader that fails once `stop` returns true.
struct Stopping<'a, R> {
    from: R,
    stop: &'a dyn Fn() -> bool,
}

impl<R: Read> Read for Stopping<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if (self.stop)() {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        self.from.read(buffer)
    }
}

fn names(dir: &OwnedFd) -> io::Result<Vec<OsString>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let readable = rustix::fs::openat(dir, ".", flags, Mode::empty())?;
    let mut names = Vec::new();
    for entry in rustix::fs::Dir::read_from(&readable)? {
        match entry {
            Ok(entry) => names.push(entry.file_name().to_bytes().to_vec()),
            // The directory was removed meanwhile.
            Err(Errno::NOENT) => break,
            Err(errno) => return Err(errno.into()),
        }
    }
    names.retain(|name| !matches!(name.as_slice(), b"." | b".."));
    names.sort_unstable_by(|one, other| other.cmp(one));
    Ok(names.into_iter().map(OsString::from_vec).collect())
}

/// Whether this is a file system that shows the kernel, not files.
fn is_kernels(dir: &OwnedFd) -> bool {
    const MAGICS: [u32; 16] = [
        0x9fa0,      // proc
        0x6265_6572, // sysfs
        0x0027_e0eb, // cgroup
        0x6367_7270, // cgroup2
        0x1cd1,      // devpts
        0x7363_6673, // securityfs
        0x6462_6720, // debugfs
        0x7472_6163, // tracefs
        0xcafe_4a11, // bpf
        0x6165_676c, // pstore
        0x1980_0202, // mqueue
        0x6265_6570, // configfs
        0xde5e_81e4, // efivarfs
        0x4249_4e4d, // binfmt_misc
        0x6573_5543, // fusectl
        0x6e73_6673, // nsfs
    ];
    // Widths and signs differ between machines; the numbers have 32 bits.
    rustix::fs::fstatfs(dir).is_ok_and(|facts| MAGICS.contains(&(facts.f_type as u32)))
}
