//! Packing files of the host for a container. Entries are under a name that the container's side has chosen.

use std::collections::HashMap;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use tar::{Builder, EntryType, Header};

use crate::failure::Failure;

/// Files of up to this size are read before their header is written.
const SMALL: usize = 64 << 10;
/// The limit for a file whose size field has no meaning and which is therefore read first. A longer one is an error.
const LONGEST_UNSIZED: u64 = 16 << 20;

/// The file or directory to be copied.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) path: PathBuf,
    /// The top's name in the archive; `None`: only its contents.
    pub(super) name: Option<PathBuf>,
    /// The top is followed if it is a link.
    pub(super) follow: bool,
}

/// Writes the source as a tar. Returns the files that were left out.
pub(super) fn pack(source: &Source, out: impl Write) -> Result<Vec<String>, Failure> {
    let mut packing =
        Packing { tar: Builder::new(out), links: HashMap::new(), notes: Vec::new(), head: Vec::with_capacity(SMALL) };
    let top = source.name.clone().unwrap_or_default();
    let mut ahead = vec![(source.path.clone(), top)];
    let mut is_top = true;
    while let Some((path, name)) = ahead.pop() {
        let facts = if is_top && source.follow { fs::metadata(&path) } else { fs::symlink_metadata(&path) };
        let facts = match facts {
            // The file has gone since its directory was read.
            Err(error) if error.kind() == io::ErrorKind::NotFound && !is_top => continue,
            other => other.map_err(|error| failed(&path, error))?,
        };
        if facts.is_dir() {
            packing.directory(&facts, &name).map_err(|error| failed(&path, error))?;
            ahead.extend(children(&path, &name).map_err(|error| failed(&path, error))?);
        } else {
            packing.entry(&path, &facts, &name, is_top).map_err(|error| failed(&path, error))?;
        }
        is_top = false;
    }
    packing.tar.into_inner().and_then(|mut out| out.flush()).map_err(|error| Failure::io("send the archive", error))?;
    Ok(packing.notes)
}

fn failed(path: &Path, error: io::Error) -> Failure {
    Failure::io(format!("copy '{}'", path.display()), error)
}

/// In reverse order: a stack returns them in order.
fn children(path: &Path, name: &Path) -> io::Result<Vec<(PathBuf, PathBuf)>> {
    let names = fs::read_dir(path)?.map(|entry| Ok(entry?.file_name())).collect::<io::Result<Vec<_>>>();
    let mut names = names?;
    names.sort_unstable_by(|one, other| other.cmp(one));
    Ok(names.into_iter().map(|child| (path.join(&child), name.join(&child))).collect())
}

struct Packing<W: Write> {
    tar: Builder<W>,
    /// Under which name a file with several names is in the archive.
    links: HashMap<(u64, u64), PathBuf>,
    notes: Vec<String>,
    /// The bytes that were read of a file before its header was written.
    head: Vec<u8>,
}

impl<W: Write> Packing<W> {
    fn directory(&mut self, facts: &Metadata, name: &Path) -> io::Result<()> {
        if name.as_os_str().is_empty() {
            return Ok(());
        }
        let mut header = header(facts, EntryType::Directory, 0);
        self.time(facts)?;
        self.tar.append_data(&mut header, name, io::empty())
    }

    fn entry(&mut self, path: &Path, facts: &Metadata, name: &Path, is_top: bool) -> io::Result<()> {
        let kind = facts.file_type();
        let key = (facts.dev(), facts.ino());
        if facts.nlink() > 1
            && !kind.is_symlink()
            && let Some(first) = self.links.get(&key)
        {
            let mut header = header(facts, EntryType::Link, 0);
            return self.tar.append_link(&mut header, name, first);
        }
        if kind.is_file() {
            self.file(path, facts, name)?;
        } else if kind.is_symlink() {
            let mut header = header(facts, EntryType::Symlink, 0);
            let target = fs::read_link(path)?;
            self.time(facts)?;
            return self.tar.append_link(&mut header, name, target);
        } else if kind.is_fifo() {
            self.bare(facts, EntryType::Fifo, name)?;
        } else if kind.is_char_device() || kind.is_block_device() {
            let entry = if kind.is_char_device() { EntryType::Char } else { EntryType::Block };
            self.bare(facts, entry, name)?;
        } else if is_top {
            return Err(io::Error::other("it is a socket, which is not copied"));
        } else {
            self.notes.push(format!("{} is a socket, which is not copied", path.display()));
            return Ok(());
        }
        if facts.nlink() > 1 {
            self.links.insert(key, name.to_path_buf());
        }
        Ok(())
    }

    fn file(&mut self, path: &Path, facts: &Metadata, name: &Path) -> io::Result<()> {
        // A file that has taken its place meanwhile, such as a FIFO, must not block the open.
        let mut options = OpenOptions::new();
        options.read(true).custom_flags((rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOCTTY).bits() as i32);
        let file = options.open(path)?;
        let opened = file.metadata()?;
        if (opened.dev(), opened.ino()) != (facts.dev(), facts.ino()) {
            return Err(io::Error::other("it was replaced while it was copied"));
        }
        let mut file: File = file;
        let size = size_of(&mut file, opened.len(), &mut self.head)?;
        let mut header = header(&opened, EntryType::Regular, size);
        self.time(&opened)?;
        let mut rest = size - self.head.len() as u64;
        let content = Read::chain(&self.head[..], Counted { file, left: &mut rest }).chain(io::repeat(0)).take(size);
        self.tar.append_data(&mut header, name, content)?;
        if rest > 0 {
            self.notes.push(format!("{} was cut while it was copied: its last {rest} bytes are zeros", path.display()));
        }
        Ok(())
    }

    fn bare(&mut self, facts: &Metadata, kind: EntryType, name: &Path) -> io::Result<()> {
        let mut header = header(facts, kind, 0);
        if kind != EntryType::Fifo {
            header.set_device_major(rustix::fs::major(facts.rdev()))?;
            header.set_device_minor(rustix::fs::minor(facts.rdev()))?;
        }
        self.time(facts)?;
        self.tar.append_data(&mut header, name, io::empty())
    }

    /// An extended header for the modification time's fraction, for which the header has no room.
    fn time(&mut self, facts: &Metadata) -> io::Result<()> {
        if facts.mtime() < 0 || facts.mtime_nsec() == 0 {
            return Ok(());
        }
        let time = format!("{}.{:09}", facts.mtime(), facts.mtime_nsec());
        self.tar.append_pax_extensions([("mtime", time.as_bytes())])
    }
}

/// The number of bytes to copy of a file, whose beginning is left in `head`. A file's size field is only a guess: the
/// kernel's files have 0 or 4096 there for contents of any length.
fn size_of(file: &mut File, stated: u64, head: &mut Vec<u8>) -> io::Result<u64> {
    head.clear();
    head.shrink_to(SMALL);
    // One byte more than stated shows a file that is longer than stated.
    let first = stated.saturating_add(1).clamp(4096, SMALL as u64);
    head.resize(first as usize, 0);
    let mut read = 0;
    while read < first && (read == 0 || read != stated) {
        match file.read(&mut head[read as usize..]) {
            Ok(0) => break,
            Ok(count) => read += count as u64,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    head.truncate(read as usize);
    if read < first {
        return Ok(read);
    }
    if stated > read && !is_kernels(file) {
        return Ok(stated);
    }
    Read::by_ref(file).take(LONGEST_UNSIZED - read + 1).read_to_end(head)?;
    match head.len() as u64 {
        size if size > LONGEST_UNSIZED => Err(io::Error::other("it does not tell its size and does not end")),
        size => Ok(size),
    }
}

/// Whether it is of a file system that shows the kernel, where a size means nothing.
fn is_kernels(file: &File) -> bool {
    const MAGICS: [u32; 6] = [0x9fa0, 0x6265_6572, 0x0027_e0eb, 0x6367_7270, 0x6462_6720, 0x7472_6163];
    rustix::fs::fstatfs(file).is_ok_and(|facts| MAGICS.contains(&(facts.f_type as u32)))
}

/// A file of which it is known how much is still to come.
struct Counted<'a> {
    file: File,
    left: &'a mut u64,
}

impl Read for Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(buffer)?;
        *self.left = self.left.saturating_sub(count as u64);
        Ok(count)
    }
}

fn header(facts: &Metadata, kind: EntryType, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(facts.mode() & 0o7777);
    header.set_uid(facts.uid().into());
    header.set_gid(facts.gid().into());
    header.set_mtime(u64::try_from(facts.mtime()).unwrap_or(0));
    header.set_size(size);
    header
}
