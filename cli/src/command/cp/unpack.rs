//! Unpacking an archive of a container, which is not to be trusted with anything outside the destination.
//!
//! All entries are made beneath one open directory, one component at a time: no link is followed, neither an older one
//! nor one that the archive has brought. Links are made as links. Device nodes are not made: one of a container's would
//! be the host's here.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid};
use rustix::io::Errno;
use tar::{Archive, EntryType, Header};

use crate::failure::Failure;
use crate::text::moment;

/// Written at once.
const BUFFER: usize = 256 << 10;
/// The limit for an extended header that describes one entry.
const LONGEST_DESCRIPTION: u64 = 1 << 20;

/// Where it goes.
#[derive(Debug)]
pub(super) struct Destination {
    dir: OwnedFd,
    /// For messages.
    shown: PathBuf,
    /// The top's name there; `None`: its contents go into the directory itself.
    name: Option<OsString>,
    /// How many components of the names in the archive are the top's.
    skip: usize,
}

impl Destination {
    /// `dir` is the caller's: links in it are followed.
    pub(super) fn open(dir: &Path, name: Option<OsString>, skip: usize) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let opened = rustix::fs::open(dir, flags, Mode::empty())?;
        Ok(Self { dir: opened, shown: dir.to_path_buf(), name, skip })
    }
}

/// The result: the entries that were left out.
#[derive(Debug, Default)]
pub(super) struct Unpacked {
    pub(super) notes: Vec<String>,
}

/// Unpacks all of it. With `archive`, owners and all mode bits are kept.
pub(super) fn unpack(from: impl Read, destination: Destination, archive: bool) -> Result<Unpacked, Failure> {
    let mut unpacking = Unpacking {
        destination,
        archive,
        directories: Vec::new(),
        notes: Vec::new(),
        last: None,
        made: HashSet::new(),
        drafts: 0,
        buffer: vec![0; BUFFER].into_boxed_slice(),
    };
    let mut tar = Archive::new(from);
    let broken = |error| Failure::io("read what the daemon sends", error);
    let mut overrides = Overrides::default();
    for entry in tar.entries().map_err(broken)?.raw(true) {
        let mut entry = entry.map_err(broken)?;
        let header = entry.header().clone();
        match header.entry_type() {
            EntryType::GNULongName => overrides.name = Some(description(&mut entry).map_err(broken)?),
            EntryType::GNULongLink => overrides.link = Some(description(&mut entry).map_err(broken)?),
            EntryType::XHeader => overrides.read(&described(&mut entry).map_err(broken)?),
            EntryType::XGlobalHeader => {}
            kind => {
                let described = std::mem::take(&mut overrides);
                let name = described.name.unwrap_or_else(|| header.path_bytes().into_owned());
                let link = described.link.or_else(|| header.link_name_bytes().map(|link| link.into_owned()));
                let item = Item { kind, name, link, header, mtime: described.mtime };
                unpacking.add(&item, &mut entry)?;
            }
        }
    }
    unpacking.finish()
}

/// The extended headers before an entry, which override its own.
#[derive(Debug, Default)]
struct Overrides {
    name: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    mtime: Option<(i64, i64)>,
}

impl Overrides {
    /// Records `length key=value\n`. Malformed records are skipped.
    fn read(&mut self, mut records: &[u8]) {
        while let Some((key, value, rest)) = record(records) {
            match key {
                b"path" => self.name = Some(value.to_vec()),
                b"linkpath" => self.link = Some(value.to_vec()),
                b"mtime" => self.mtime = time(value),
                _ => {}
            }
            records = rest;
        }
    }
}

fn record(bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let space = bytes.iter().position(|byte| *byte == b' ')?;
    let length: usize = std::str::from_utf8(&bytes[..space]).ok()?.parse().ok()?;
    let text = bytes.get(space + 1..length)?.strip_suffix(b"\n")?;
    let equals = text.iter().position(|byte| *byte == b'=')?;
    Some((&text[..equals], &text[equals + 1..], &bytes[length..]))
}

fn time(value: &[u8]) -> Option<(i64, i64)> {
    let text = std::str::from_utf8(value).ok()?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let seconds: i64 = whole.parse().ok()?;
    let nanoseconds: i64 = format!("{fraction:0<9}").get(..9)?.parse().ok()?;
    match (whole.starts_with('-'), nanoseconds) {
        (true, 1..) => Some((seconds - 1, 1_000_000_000 - nanoseconds)),
        _ => Some((seconds, nanoseconds)),
    }
}

fn described(entry: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    entry.take(LONGEST_DESCRIPTION + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LONGEST_DESCRIPTION { Err(io::ErrorKind::InvalidData.into()) } else { Ok(bytes) }
}

fn description(entry: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = described(entry)?;
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    bytes.truncate(end);
    Ok(bytes)
}

/// One entry.
struct Item {
    kind: EntryType,
    name: Vec<u8>,
    link: Option<Vec<u8>>,
    header: Header,
    mtime: Option<(i64, i64)>,
}

impl Item {
    fn times(&self) -> Timestamps {
        let seconds = self.header.mtime().ok().and_then(|seconds| i64::try_from(seconds).ok()).unwrap_or(0);
        let (seconds, nanoseconds) = self.mtime.unwrap_or((seconds, 0));
        let time = Timespec { tv_sec: seconds as _, tv_nsec: nanoseconds as _ };
        Timestamps { last_access: time, last_modification: time }
    }
}

struct Unpacking {
    destination: Destination,
    archive: bool,
    /// Their modes and times are set at the end: nothing is made in them any more.
    directories: Vec<(Vec<OsString>, Item)>,
    notes: Vec<String>,
    /// The directory that was entered last, the way to it, and whether it was made here.
    last: Option<(Vec<OsString>, Rc<OwnedFd>, bool)>,
    /// Directories that were made here, by the way to them.
    made: HashSet<Vec<OsString>>,
    /// How many were made: each has a name of its own.
    drafts: u64,
    buffer: Box<[u8]>,
}

/// A name in an open directory.
struct Place {
    dir: Rc<OwnedFd>,
    name: OsString,
    /// The directory was made here, so it is not whole before the end.
    made: bool,
    /// For messages.
    shown: PathBuf,
}

impl Place {
    fn failed(&self, doing: &str) -> impl Fn(Errno) -> Failure {
        let doing = format!("{doing} '{}'", self.shown.display());
        move |errno| Failure::io(&doing, errno.into())
    }

    fn kind(&self) -> Option<FileType> {
        let facts = rustix::fs::statat(&self.dir, &self.name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
        Some(FileType::from_raw_mode(facts.st_mode))
    }
}

impl Unpacking {
    fn add(&mut self, item: &Item, content: &mut impl Read) -> Result<(), Failure> {
        let path = self.below(&item.name)?;
        if path.is_empty() {
            // The directory that it all goes into.
            return Ok(());
        }
        let place = self.place(&path)?;
        match item.kind {
            EntryType::Directory => self.directory(path, &place, item),
            EntryType::Regular | EntryType::Continuous => self.file(&place, item, content),
            EntryType::Symlink => {
                let target = item.link.clone().unwrap_or_default();
                self.make(&place, item, &|place| rustix::fs::symlinkat(target.as_slice(), &place.dir, &place.name))
            }
            EntryType::Link => {
                let target = self.below(item.link.as_deref().unwrap_or_default())?;
                let source = self.place(&target)?;
                self.clear(&place)?;
                rustix::fs::linkat(&source.dir, &source.name, &place.dir, &place.name, AtFlags::empty())
                    .map_err(place.failed("make the link"))
            }
            EntryType::Fifo => self.make(&place, item, &|place| {
                rustix::fs::mknodat(&place.dir, &place.name, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)
            }),
            EntryType::Char | EntryType::Block => {
                self.notes.push(format!("{} is a device, which is not copied", place.shown.display()));
                Ok(())
            }
            _ => {
                self.notes.push(format!("{} is of a kind that is not copied", place.shown.display()));
                Ok(())
            }
        }
    }

    /// A name in the archive as components beneath the destination.
    fn below(&self, name: &[u8]) -> Result<Vec<OsString>, Failure> {
        let refuse = || Failure::Client(format!("refusing to unpack '{}'", String::from_utf8_lossy(name)));
        if name.starts_with(b"/") || name.contains(&0) {
            return Err(refuse());
        }
        let parts: Vec<&[u8]> = name.split(|byte| *byte == b'/').filter(|part| !matches!(*part, b"" | b".")).collect();
        if parts.contains(&&b".."[..]) || parts.len() < self.destination.skip {
            return Err(refuse());
        }
        let rest = parts[self.destination.skip..].iter().map(|part| OsString::from_vec(part.to_vec()));
        Ok(self.destination.name.iter().cloned().chain(rest).collect())
    }

    /// The place of a path: its directories are entered, and made where they are missing.
    fn place(&mut self, path: &[OsString]) -> Result<Place, Failure> {
        let Some((name, above)) = path.split_last() else {
            return Err(Failure::Client("refusing to unpack something without a name".into()));
        };
        let mut shown = self.destination.shown.clone();
        // Most entries lie beside the one before.
        if let Some((last, dir, made)) = &self.last
            && last == above
        {
            shown.extend(path);
            return Ok(Place { dir: dir.clone(), name: name.clone(), made: *made, shown });
        }
        let mut dir = self.destination.dir.try_clone().map_err(|error| Failure::io("open the destination", error))?;
        for part in above {
            shown.push(part);
            let failed = |errno: Errno| Failure::io(format!("enter '{}'", shown.display()), errno.into());
            dir = match enter(&dir, part) {
                Err(Errno::NOENT) => {
                    rustix::fs::mkdirat(&dir, part, Mode::from_raw_mode(0o755)).map_err(failed)?;
                    enter(&dir, part).map_err(failed)?
                }
                entered => entered.map_err(failed)?,
            };
        }
        shown.push(name);
        let (dir, made) = (Rc::new(dir), self.made.contains(above));
        self.last = Some((above.to_vec(), dir.clone(), made));
        Ok(Place { dir, name: name.clone(), made, shown })
    }

    fn directory(&mut self, path: Vec<OsString>, place: &Place, item: &Item) -> Result<(), Failure> {
        match rustix::fs::mkdirat(&place.dir, &place.name, Mode::RWXU) {
            Ok(()) => {
                let Item { kind, header, mtime, .. } = item;
                self.made.insert(path.clone());
                let item = Item { kind: *kind, name: Vec::new(), link: None, header: header.clone(), mtime: *mtime };
                self.directories.push((path, item));
                Ok(())
            }
            // An existing directory stays as it is.
            Err(Errno::EXIST) if place.kind() == Some(FileType::Directory) => Ok(()),
            Err(Errno::EXIST) => Err(place.failed("replace by a directory")(Errno::NOTDIR)),
            Err(errno) => Err(place.failed("make the directory")(errno)),
        }
    }

    /// The file appears under its name when all of it is there.
    fn file(&mut self, place: &Place, item: &Item, content: &mut impl Read) -> Result<(), Failure> {
        self.drafts += 1;
        let draft = Draft::new(place, self.drafts)?;
        let failed = |error| Failure::io(format!("write '{}'", place.shown.display()), error);
        let mut copied = 0;
        loop {
            match content.read(&mut self.buffer).map_err(failed)? {
                0 => break,
                count => {
                    (&draft.file).write_all(&self.buffer[..count]).map_err(failed)?;
                    copied += count as u64;
                }
            }
        }
        // A reader that ends early gives no error, so that the length is compared.
        if item.header.size().ok() != Some(copied) {
            return Err(failed(io::ErrorKind::UnexpectedEof.into()));
        }
        self.describe(&draft.file, item, false).map_err(place.failed("describe"))?;
        rustix::fs::futimens(&draft.file, &item.times()).map_err(place.failed("set the time of"))?;
        draft.publish(place)
    }

    fn make(
        &mut self,
        place: &Place,
        item: &Item,
        make: &dyn Fn(&Place) -> rustix::io::Result<()>,
    ) -> Result<(), Failure> {
        self.clear(place)?;
        make(place).map_err(place.failed("make"))?;
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let made = rustix::fs::openat(&place.dir, &place.name, flags, Mode::empty()).map_err(place.failed("open"))?;
        self.describe(&made, item, true).map_err(place.failed("describe"))?;
        rustix::fs::utimensat(&place.dir, &place.name, &item.times(), AtFlags::SYMLINK_NOFOLLOW)
            .map_err(place.failed("set the time of"))
    }

    /// A directory is never removed.
    fn clear(&self, place: &Place) -> Result<(), Failure> {
        match rustix::fs::unlinkat(&place.dir, &place.name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(place.failed("replace")(errno)),
        }
    }

    /// Without `archive` the owner is the caller, and a set-id bit is dropped with it. `only_named`: the handle is an
    /// `O_PATH` one, which only names the file.
    fn describe(&self, made: impl AsFd, item: &Item, only_named: bool) -> rustix::io::Result<()> {
        let made = made.as_fd();
        if self.archive {
            let id = |id: io::Result<u64>| id.ok().and_then(|id| u32::try_from(id).ok()).filter(|id| *id != u32::MAX);
            let (uid, gid) = (id(item.header.uid()), id(item.header.gid()));
            rustix::fs::chownat(made, "", uid.map(Uid::from_raw), gid.map(Gid::from_raw), AtFlags::EMPTY_PATH)?;
        }
        if item.kind == EntryType::Symlink {
            return Ok(());
        }
        let kept = if self.archive { 0o7777 } else { 0o1777 };
        let mode = Mode::from_raw_mode(item.header.mode().unwrap_or(0o600) & kept);
        match only_named {
            true => rustix::fs::chmod(format!("/proc/self/fd/{}", made.as_raw_fd()), mode),
            false => rustix::fs::fchmod(made, mode),
        }
    }

    fn finish(mut self) -> Result<Unpacked, Failure> {
        let directories = std::mem::take(&mut self.directories);
        for (path, item) in directories.iter().rev() {
            let place = self.place(path)?;
            let made = enter(&place.dir, &place.name).map_err(place.failed("open"))?;
            rustix::fs::futimens(&made, &item.times()).map_err(place.failed("set the time of"))?;
            self.describe(&made, item, false).map_err(place.failed("describe"))?;
        }
        Ok(Unpacked { notes: self.notes })
    }
}

fn enter(dir: &OwnedFd, name: &OsStr) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(dir, name, flags, Mode::empty())
}

/// A file under another name, or in a directory that is being made under its own; removed unless it was published.
struct Draft<'a> {
    file: File,
    dir: &'a OwnedFd,
    name: Option<OsString>,
}

impl<'a> Draft<'a> {
    fn new(place: &'a Place, number: u64) -> Result<Self, Failure> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let new = |name: &OsStr| rustix::fs::openat(&place.dir, name, flags, Mode::RUSR | Mode::WUSR);
        if place.made {
            match new(&place.name) {
                Ok(fd) => return Ok(Self { file: fd.into(), dir: &place.dir, name: Some(place.name.clone()) }),
                Err(Errno::EXIST) => {}
                Err(errno) => return Err(place.failed("make")(errno)),
            }
        }
        let name = OsString::from(format!(".isula-cp.{}.{}.{number}", std::process::id(), moment::now()));
        let file = new(&name).map_err(place.failed("make"))?.into();
        Ok(Self { file, dir: &place.dir, name: Some(name) })
    }

    fn publish(mut self, place: &Place) -> Result<(), Failure> {
        if let Some(name) = self.name.as_ref().filter(|name| **name != place.name) {
            rustix::fs::renameat(self.dir, name, self.dir, &place.name).map_err(place.failed("replace"))?;
        }
        self.name = None;
        Ok(())
    }
}

impl Drop for Draft<'_> {
    fn drop(&mut self) {
        if let Some(name) = self.name.take() {
            // The failure that led here is reported already.
            let _ = rustix::fs::unlinkat(self.dir, name, AtFlags::empty());
        }
    }
}

#[cfg(test)]
#[path = "unpack_tests.rs"]
mod tests;
