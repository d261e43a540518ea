//! The files of a layer as they are made: each entry beneath a handle of `fs`, in its directory.
//!
//! There is no other writer. A way outside can only come from the archive itself: names, and links that it has made
//! before. So a directory is looked up as if `fs` were the root of everything, and each file is made in an open
//! directory under a single name that is never followed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use flate2::Crc;
use rustix::fs::{self, AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;

use super::archive::Archive;
use super::error::{is_full, shown};
use super::header::{Entry, Kind};
use super::names::{self, Meaning};
use super::recipe::Writer;
use super::sparse::Map;
use super::{FILES, LayerError, Problem, SHADOW};

/// Longer names cannot be looked up.
const LONGEST_PATH: usize = 4095;
/// The limit for names of directories in memory, each counted with the data beside it.
const KEPT_LIMIT: usize = 64 << 20;
const NAME_COST: usize = 64;
const OPAQUE: (&[u8], &[u8]) = (b"trusted.overlay.opaque", b"y");

pub(super) struct Tree<'a> {
    /// For errors.
    dir: PathBuf,
    pub(super) root: Rc<Directory>,
    /// The path of `fs` as the kernel reports it.
    root_name: Vec<u8>,
    pub(super) shadow: OwnedFd,
    pub(super) shadowed: u64,
    /// The directory that was looked up last, under the name it was asked for.
    pub(super) last: Option<(Vec<u8>, Rc<Directory>)>,
    /// Times of directories, set when nothing is made in them any more.
    pub(super) times: BTreeMap<Vec<u8>, (i64, u32)>,
    /// Directories that the archive has nothing about, and that are here because something lies in them.
    pub(super) implied: BTreeSet<Vec<u8>>,
    /// Bytes of names that are kept in memory.
    kept: usize,
    limit: u64,
    totals: Totals,
    lost_attributes: u64,
    pub(super) stop: &'a dyn Fn() -> bool,
}

#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Totals {
    pub size: u64,
    pub entries: u64,
}

pub(super) struct Directory {
    pub fd: OwnedFd,
    /// The directory's real path beneath the root; empty for the root.
    pub path: Vec<u8>,
}

/// A name in a directory.
pub(super) struct Place<'a> {
    pub dir: Rc<Directory>,
    pub name: &'a [u8],
}

impl Place<'_> {
    pub(super) fn path(&self) -> Vec<u8> {
        names::join(&self.dir.path, self.name)
    }

    fn stat(&self) -> rustix::io::Result<fs::Stat> {
        fs::statat(&self.dir.fd, self.name, AtFlags::SYMLINK_NOFOLLOW)
    }

    /// A name for calls that take no directory's handle. Its last component is the entry itself, and not to be
    /// followed.
    fn proc_path(&self) -> Vec<u8> {
        names::join(&proc_path(&self.dir.fd), self.name)
    }
}

fn proc_path(fd: &OwnedFd) -> Vec<u8> {
    format!("/proc/self/fd/{}", fd.as_raw_fd()).into_bytes()
}

impl<'a> Tree<'a> {
    pub(super) fn open(dir: &Path, limit: u64, stop: &'a dyn Fn() -> bool) -> Result<Self, LayerError> {
        let open = |name: &str| {
            let path = dir.join(name);
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let opened = fs::open(&path, flags, Mode::empty());
            opened.map_err(|source| LayerError::Open { path, source: source.into() })
        };
        let root = Rc::new(Directory { fd: open(FILES)?, path: Vec::new() });
        let shadow = open(SHADOW)?;
        let whole = fs::fchown(&root.fd, Some(Uid::ROOT), Some(Gid::ROOT))
            .and_then(|()| fs::fchmod(&root.fd, Mode::from_raw_mode(0o755)))
            .and_then(|()| fs::readlinkat(fs::CWD, proc_path(&root.fd), Vec::new()));
        let root_name = whole.map_err(|source| LayerError::write(&dir.join(FILES), source.into()))?.into_bytes();
        let (last, times, totals) = (None, BTreeMap::new(), Totals::default());
        let implied = BTreeSet::from([Vec::new()]);
        let dir = dir.to_owned();
        Ok(Self {
            dir,
            root,
            root_name,
            shadow,
            shadowed: 0,
            last,
            times,
            implied,
            kept: 0,
            limit,
            totals,
            lost_attributes: 0,
            stop,
        })
    }

    /// Makes the file that the entry describes.
    pub(super) fn add(&mut self, entry: &Entry, archive: &mut Archive<'_>) -> Result<(), LayerError> {
        if matches!(entry.kind, Kind::Label) {
            return Ok(());
        }
        self.count()?;
        let problem = |problem| LayerError::entry(&entry.name, problem);
        let path = names::normalise(&entry.name).map_err(problem)?;
        if path.is_empty() {
            return match entry.kind {
                Kind::Directory => self.describe_root(entry),
                _ => Err(problem(Problem::Root)),
            };
        }
        let (parent, name) = names::split(&path);
        let name = match names::meaning(&path).map_err(problem)? {
            Meaning::Plain => name,
            Meaning::Metadata => return Ok(()),
            Meaning::Opaque => {
                let dir = self.directory(parent, entry, &mut archive.recipe)?;
                return self.make_opaque(&proc_path(&dir.fd), entry);
            }
            Meaning::Whiteout(hidden) => {
                let dir = self.directory(parent, entry, &mut archive.recipe)?;
                return self.white_out(&Place { dir, name: hidden }, entry);
            }
        };
        let dir = self.directory(parent, entry, &mut archive.recipe)?;
        if dir.path.len() + 1 + name.len() > LONGEST_PATH {
            return Err(problem(Problem::LongName));
        }
        let place = Place { dir, name };
        match &entry.kind {
            Kind::Label => Ok(()),
            Kind::File => self.file(&place, entry, archive),
            Kind::SparseFile(map) => self.sparse_file(&place, entry, map, archive),
            Kind::SparsePayload(size) => {
                let map = archive.leading_map(entry, *size)?;
                self.sparse_file(&place, entry, &map, archive)
            }
            Kind::Directory => self.add_directory(&place, entry, &mut archive.recipe),
            Kind::HardLink(target) => self.hard_link(&place, entry, target, &mut archive.recipe),
            Kind::Symlink(target) if target.is_empty() => Err(problem(Problem::EmptyLink)),
            Kind::Symlink(target) if target.contains(&0) => Err(problem(Problem::ZeroByte)),
            Kind::Symlink(target) => {
                self.create(&place, entry, &mut archive.recipe, |place| {
                    fs::symlinkat(target.as_slice(), &place.dir.fd, place.name)
                })?;
                self.describe(&place, entry)
            }
            Kind::CharDevice(major, minor) => {
                self.node(&place, entry, FileType::CharacterDevice, (*major, *minor), &mut archive.recipe)
            }
            Kind::BlockDevice(major, minor) => {
                self.node(&place, entry, FileType::BlockDevice, (*major, *minor), &mut archive.recipe)
            }
            Kind::Fifo => self.node(&place, entry, FileType::Fifo, (0, 0), &mut archive.recipe),
        }
    }

    /// Sets the postponed times of directories. Nothing can be added after it.
    pub(super) fn finish(self) -> Result<Totals, LayerError> {
        for (path, time) in &self.times {
            if (self.stop)() {
                return Err(LayerError::Stopped);
            }
            let name = if path.is_empty() { &b"."[..] } else { path };
            // It is not opened for reading only because times cannot be set through less.
            let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
            let dir = open_directory(&self.root.fd, name, OFlags::RDONLY, resolve);
            dir.and_then(|dir| fs::futimens(&dir, &timestamps(*time)))
                .map_err(|error| self.failed(path, "set the times of a directory", error))?;
        }
        if self.lost_attributes > 0 {
            let (count, path) = (self.lost_attributes, self.dir.display());
            tracing::warn!(count, %path, "extended attributes of a layer have no place in this file system");
        }
        super::implied::write(&self.dir, &self.implied)?;
        Ok(self.totals)
    }

    fn file(&mut self, place: &Place<'_>, entry: &Entry, archive: &mut Archive<'_>) -> Result<(), LayerError> {
        let mut file = self.new_file(place, entry, &mut archive.recipe)?;
        let mut crc = Crc::new();
        archive.content(&mut |bytes| {
            crc.update(bytes);
            file.write_all(bytes).map_err(|error| self.io_failed(&entry.name, "write its content", error))
        })?;
        if entry.size > 0 {
            archive.recipe.content(&place.path(), entry.size, crc.sum())?;
        }
        self.totals.size += entry.size;
        self.describe_file(&file, entry)
    }

    /// Its payload goes into the recipe as well: this is rare.
    fn sparse_file(
        &mut self,
        place: &Place<'_>,
        entry: &Entry,
        map: &Map,
        archive: &mut Archive<'_>,
    ) -> Result<(), LayerError> {
        let mut file = self.new_file(place, entry, &mut archive.recipe)?;
        for (offset, length) in &map.pieces {
            let failed = |error| self.io_failed(&entry.name, "write its content", error);
            file.seek(SeekFrom::Start(*offset)).map_err(failed)?;
            archive.pass(*length, &mut |bytes| file.write_all(bytes).map_err(failed))?;
            self.totals.size += length;
        }
        file.set_len(map.size).map_err(|error| self.io_failed(&entry.name, "set its length", error))?;
        self.describe_file(&file, entry)
    }

    fn new_file(&mut self, place: &Place<'_>, entry: &Entry, recipe: &mut Writer) -> Result<File, LayerError> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(0o600);
        let file = self.create(place, entry, recipe, |place| fs::openat(&place.dir.fd, place.name, flags, mode))?;
        Ok(file.into())
    }

    fn add_directory(&mut self, place: &Place<'_>, entry: &Entry, recipe: &mut Writer) -> Result<(), LayerError> {
        let make = || fs::mkdirat(&place.dir.fd, place.name, Mode::from_raw_mode(0o700));
        if let Err(error) = make() {
            if error != Errno::EXIST {
                return Err(self.failed(&entry.name, "make it", error));
            }
            let stat = place.stat().map_err(|error| self.failed(&entry.name, "examine what is there", error))?;
            if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
                self.clear_attributes(place)
                    .map_err(|error| self.failed(&entry.name, "clear its attributes", error))?;
            } else {
                self.replace(place, recipe).map_err(|error| error.of(self, &entry.name))?;
                make().map_err(|error| self.failed(&entry.name, "make it", error))?;
                // The replaced file has ended whatever the layers below have under this name.
                self.make_opaque(&place.proc_path(), entry)?;
            }
        }
        self.describe(place, entry)?;
        let path = place.path();
        self.implied.remove(&path);
        if !self.times.contains_key(&path) {
            self.keep(&path)?;
        }
        self.times.insert(path, entry.mtime);
        Ok(())
    }

    fn hard_link(
        &mut self,
        place: &Place<'_>,
        entry: &Entry,
        target: &[u8],
        recipe: &mut Writer,
    ) -> Result<(), LayerError> {
        let problem = |problem| LayerError::entry(&entry.name, problem);
        let path = names::normalise(target).map_err(problem)?;
        let (parent, name) = names::split(&path);
        if path.is_empty() {
            return Err(problem(Problem::LinkToDirectory { target: shown(target) }));
        }
        let missing = || problem(Problem::NoTarget { target: shown(target) });
        let dir = match self.find(parent) {
            Ok(dir) => dir,
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Err(missing()),
            Err(error) => return Err(self.failed(&entry.name, "look up what it is a link to", error)),
        };
        let source = Place { dir, name };
        let stat = match source.stat() {
            Ok(stat) if is_whiteout(&stat) => return Err(missing()),
            Ok(stat) => stat,
            Err(Errno::NOENT) => return Err(missing()),
            Err(error) => return Err(self.failed(&entry.name, "look up what it is a link to", error)),
        };
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            return Err(problem(Problem::LinkToDirectory { target: shown(target) }));
        }
        let same = place.stat().is_ok_and(|there| (there.st_dev, there.st_ino) == (stat.st_dev, stat.st_ino));
        if same {
            return Ok(());
        }
        let made = self.create(place, entry, recipe, |place| {
            fs::linkat(&source.dir.fd, source.name, &place.dir.fd, place.name, AtFlags::empty())
        });
        match made {
            // The source lay below the path that the link has just replaced.
            Err(_) if matches!(source.stat(), Err(Errno::NOENT)) => Err(missing()),
            other => other,
        }
    }

    fn node(
        &mut self,
        place: &Place<'_>,
        entry: &Entry,
        kind: FileType,
        (major, minor): (u32, u32),
        recipe: &mut Writer,
    ) -> Result<(), LayerError> {
        let device = fs::makedev(major, minor);
        self.create(place, entry, recipe, |place| {
            fs::mknodat(&place.dir.fd, place.name, kind, Mode::from_raw_mode(0o600), device)
        })?;
        self.describe(place, entry)
    }

    fn white_out(&mut self, place: &Place<'_>, entry: &Entry) -> Result<(), LayerError> {
        match fs::mknodat(&place.dir.fd, place.name, FileType::CharacterDevice, Mode::empty(), 0) {
            Ok(()) => Ok(()),
            // The whiteout hides layers below; a file of this layer itself stays.
            Err(Errno::EXIST) => match place.stat() {
                Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => {
                    self.make_opaque(&place.proc_path(), entry)
                }
                Ok(_) => Ok(()),
                Err(error) => Err(self.failed(&entry.name, "examine what is there", error)),
            },
            Err(error) => Err(self.failed(&entry.name, "make a whiteout", error)),
        }
    }

    /// Makes something in a place, and clears it first if need be.
    fn create<T>(
        &mut self,
        place: &Place<'_>,
        entry: &Entry,
        recipe: &mut Writer,
        make: impl Fn(&Place<'_>) -> rustix::io::Result<T>,
    ) -> Result<T, LayerError> {
        let made = match make(place) {
            Err(Errno::EXIST) => {
                self.replace(place, recipe).map_err(|error| error.of(self, &entry.name))?;
                make(place)
            }
            other => other,
        };
        made.map_err(|error| match (&entry.kind, error) {
            (Kind::CharDevice(..) | Kind::BlockDevice(..), Errno::PERM | Errno::ACCESS) => {
                LayerError::entry(&entry.name, Problem::Device { source: error.into() })
            }
            _ => self.failed(&entry.name, "make it", error),
        })
    }

    /// The directory of this name; those that are not there yet are made.
    fn directory(&mut self, path: &[u8], entry: &Entry, recipe: &mut Writer) -> Result<Rc<Directory>, LayerError> {
        match self.find(path) {
            Ok(found) => Ok(found),
            Err(Errno::NOENT | Errno::NOTDIR) => self.make_directories(path, entry, recipe),
            Err(error) => Err(self.parent_failed(path, entry, error)),
        }
    }

    /// The directory of this name, through links too.
    fn find(&mut self, path: &[u8]) -> rustix::io::Result<Rc<Directory>> {
        if path.is_empty() {
            return Ok(self.root.clone());
        }
        if let Some((name, dir)) = &self.last
            && name == path
        {
            return Ok(dir.clone());
        }
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        let dir = match open_directory(&self.root.fd, path, OFlags::PATH, resolve) {
            Ok(fd) => Directory { fd, path: path.to_vec() },
            Err(Errno::LOOP) => self.find_through_links(path)?,
            Err(error) => return Err(error),
        };
        let dir = Rc::new(dir);
        self.last = Some((path.to_vec(), dir.clone()));
        Ok(dir)
    }

    fn find_through_links(&self, path: &[u8]) -> rustix::io::Result<Directory> {
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let fd = open_directory(&self.root.fd, path, OFlags::PATH, resolve)?;
        // A recipe names places without links, which must not change their meaning later.
        let name = fs::readlinkat(fs::CWD, proc_path(&fd), Vec::new())?.into_bytes();
        let below = name.strip_prefix(self.root_name.as_slice()).ok_or(Errno::XDEV)?;
        match below {
            [] => Ok(Directory { fd, path: Vec::new() }),
            [b'/', path @ ..] => Ok(Directory { fd, path: path.to_vec() }),
            _ => Err(Errno::XDEV),
        }
    }

    fn make_directories(
        &mut self,
        path: &[u8],
        entry: &Entry,
        recipe: &mut Writer,
    ) -> Result<Rc<Directory>, LayerError> {
        let mut current = self.root.clone();
        let mut name = Vec::new();
        for component in path.split(|byte| *byte == b'/') {
            name = names::join(&name, component);
            let place = Place { dir: current.clone(), name: component };
            current = match self.find_in(&place, &name) {
                Err(Errno::NOENT | Errno::NOTDIR) => {
                    self.count()?;
                    self.make_parent(&place, &name, entry, recipe)?;
                    let found = self.find_in(&place, &name);
                    found.map_err(|error| self.parent_failed(&name, entry, error))?
                }
                found => found.map_err(|error| self.parent_failed(&name, entry, error))?,
            };
        }
        self.last = Some((path.to_vec(), current.clone()));
        Ok(current)
    }

    /// The directory in this place, with its whole name.
    fn find_in(&mut self, place: &Place<'_>, name: &[u8]) -> rustix::io::Result<Rc<Directory>> {
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        match open_directory(&place.dir.fd, place.name, OFlags::PATH, resolve) {
            Ok(fd) => Ok(Rc::new(Directory { fd, path: place.path() })),
            Err(Errno::LOOP) => self.find_through_links(name).map(Rc::new),
            Err(error) => Err(error),
        }
    }

    /// A directory that the archive has nothing about.
    fn make_parent(
        &mut self,
        place: &Place<'_>,
        name: &[u8],
        entry: &Entry,
        recipe: &mut Writer,
    ) -> Result<(), LayerError> {
        let make = || {
            let mode = Mode::from_raw_mode(0o755);
            fs::mkdirat(&place.dir.fd, place.name, mode)?;
            fs::chownat(&place.dir.fd, place.name, Some(Uid::ROOT), Some(Gid::ROOT), AtFlags::SYMLINK_NOFOLLOW)?;
            fs::chmodat(&place.dir.fd, place.name, mode, AtFlags::empty())
        };
        let made = match make() {
            Err(Errno::EXIST) => {
                if !place.stat().is_ok_and(|stat| is_whiteout(&stat)) {
                    return Err(self.parent_failed(name, entry, Errno::NOTDIR));
                }
                self.replace(place, recipe).map_err(|error| error.of(self, &entry.name))?;
                make().map_err(|error| self.parent_failed(name, entry, error))?;
                return self.make_opaque(&place.proc_path(), entry);
            }
            other => other,
        };
        made.map_err(|error| self.parent_failed(name, entry, error))?;
        let path = place.path();
        self.keep(&path)?;
        self.implied.insert(path);
        Ok(())
    }

    /// Names of directories are kept to the end. A small archive can have very long ones.
    pub(super) fn keep(&mut self, path: &[u8]) -> Result<(), LayerError> {
        self.kept += path.len() + NAME_COST;
        if self.kept > KEPT_LIMIT { Err(LayerError::LongNames { limit: KEPT_LIMIT }) } else { Ok(()) }
    }

    fn describe_root(&mut self, entry: &Entry) -> Result<(), LayerError> {
        let root = self.root.clone();
        let failed = |error| self.failed(&entry.name, "set its owner and mode", error);
        fs::fchown(&root.fd, Some(Uid::from_raw(entry.uid)), Some(Gid::from_raw(entry.gid))).map_err(failed)?;
        fs::fchmod(&root.fd, Mode::from_raw_mode(entry.mode)).map_err(failed)?;
        self.set_attributes(entry, |name, value| fs::fsetxattr(&root.fd, name, value, XattrFlags::empty()))?;
        self.implied.remove(&Vec::new());
        self.times.insert(Vec::new(), entry.mtime);
        Ok(())
    }

    /// Owner first: a change of it takes set-user-id bits and capabilities away.
    fn describe_file(&mut self, file: &File, entry: &Entry) -> Result<(), LayerError> {
        fs::fchown(file, Some(Uid::from_raw(entry.uid)), Some(Gid::from_raw(entry.gid)))
            .map_err(|error| self.failed(&entry.name, "set its owner", error))?;
        fs::fchmod(file, Mode::from_raw_mode(entry.mode))
            .map_err(|error| self.failed(&entry.name, "set its mode", error))?;
        self.set_attributes(entry, |name, value| fs::fsetxattr(file, name, value, XattrFlags::empty()))?;
        fs::futimens(file, &timestamps(entry.mtime)).map_err(|error| self.failed(&entry.name, "set its times", error))
    }

    /// The same for files that were made without being opened. Times of directories have to wait.
    fn describe(&mut self, place: &Place<'_>, entry: &Entry) -> Result<(), LayerError> {
        let (dir, name) = (&place.dir.fd, place.name);
        let owner = (Some(Uid::from_raw(entry.uid)), Some(Gid::from_raw(entry.gid)));
        fs::chownat(dir, name, owner.0, owner.1, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|error| self.failed(&entry.name, "set its owner", error))?;
        if !matches!(entry.kind, Kind::Symlink(_)) {
            fs::chmodat(dir, name, Mode::from_raw_mode(entry.mode), AtFlags::empty())
                .map_err(|error| self.failed(&entry.name, "set its mode", error))?;
        }
        if !entry.xattrs.is_empty() {
            let path = place.proc_path();
            self.set_attributes(entry, |name, value| fs::lsetxattr(path.as_slice(), name, value, XattrFlags::empty()))?;
        }
        if matches!(entry.kind, Kind::Directory) {
            return Ok(());
        }
        fs::utimensat(dir, name, &timestamps(entry.mtime), AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|error| self.failed(&entry.name, "set its times", error))
    }

    fn set_attributes(
        &mut self,
        entry: &Entry,
        set: impl Fn(&[u8], &[u8]) -> rustix::io::Result<()>,
    ) -> Result<(), LayerError> {
        for (name, value) in &entry.xattrs {
            let keep = is_welcome(name);
            match if keep { set(name, value) } else { Ok(()) } {
                Ok(()) if keep => {}
                Ok(()) => self.lost_attributes += 1,
                // Not every file system has attributes, links and devices have none of the users', and other systems
                // have names of their own. A program without its capabilities, however, is a different program.
                Err(Errno::OPNOTSUPP) if name.as_slice() != b"security.capability" => self.lost_attributes += 1,
                Err(Errno::PERM) if name.starts_with(b"user.") || name.starts_with(b"system.") => {
                    self.lost_attributes += 1;
                }
                Err(error) => {
                    let problem = Problem::Attribute { attribute: shown(name), source: error.into() };
                    return Err(LayerError::entry(&entry.name, problem));
                }
            }
        }
        Ok(())
    }

    fn clear_attributes(&self, place: &Place<'_>) -> rustix::io::Result<()> {
        let path = place.proc_path();
        let mut list = [0; 64 << 10];
        let length = match fs::llistxattr(path.as_slice(), &mut list[..]) {
            Ok(length) => length,
            Err(Errno::OPNOTSUPP) => 0,
            Err(error) => return Err(error),
        };
        for name in list[..length].split(|byte| *byte == 0).filter(|name| is_welcome(name)) {
            fs::lremovexattr(path.as_slice(), name)?;
        }
        Ok(())
    }

    fn make_opaque(&self, path: &[u8], entry: &Entry) -> Result<(), LayerError> {
        // The name of a directory's handle, or of something in it that is a directory: nothing is followed out of the
        // layer.
        fs::setxattr(path, OPAQUE.0, OPAQUE.1, XattrFlags::empty())
            .map_err(|error| self.failed(&entry.name, "make the directory opaque", error))
    }

    fn count(&mut self) -> Result<(), LayerError> {
        self.totals.entries += 1;
        if self.totals.entries > self.limit { Err(LayerError::TooMany { limit: self.limit }) } else { Ok(()) }
    }

    fn parent_failed(&self, path: &[u8], entry: &Entry, error: Errno) -> LayerError {
        match error {
            Errno::NOENT | Errno::NOTDIR | Errno::LOOP => {
                LayerError::entry(&entry.name, Problem::Parent { path: shown(path) })
            }
            _ => self.failed(&entry.name, "make the directory it lies in", error),
        }
    }

    pub(super) fn failed(&self, name: &[u8], doing: &'static str, error: Errno) -> LayerError {
        self.io_failed(name, doing, error.into())
    }

    fn io_failed(&self, name: &[u8], doing: &'static str, source: io::Error) -> LayerError {
        match is_full(&source) {
            true => LayerError::Full { path: self.dir.clone(), source },
            false => LayerError::entry(name, Problem::Io { doing, source }),
        }
    }
}

/// Refuses attributes of overlays, labels, which are this host's, and integrity values, which hold for the original
/// files.
fn is_welcome(attribute: &[u8]) -> bool {
    let is_overlay = [&b"trusted.overlay."[..], b"user.overlay."].iter().any(|prefix| attribute.starts_with(prefix));
    let is_label = attribute.starts_with(b"security.") && attribute != b"security.capability";
    !attribute.is_empty() && !is_overlay && !is_label
}

pub(super) fn is_whiteout(stat: &fs::Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == 0
}

pub(super) fn open_directory(
    dir: &OwnedFd,
    path: &[u8],
    access: OFlags,
    resolve: ResolveFlags,
) -> rustix::io::Result<OwnedFd> {
    /// A rename anywhere on the machine can make a look-up through `..` fail.
    const ATTEMPTS: usize = 1000;
    let flags = access | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let open = || fs::openat2(dir, path, flags, Mode::empty(), resolve);
    (1..ATTEMPTS).map(|_| open()).find(|opened| !matches!(opened, Err(Errno::AGAIN))).unwrap_or_else(open)
}

fn timestamps((seconds, nanoseconds): (i64, u32)) -> Timestamps {
    let time = Timespec { tv_sec: seconds, tv_nsec: nanoseconds.into() };
    Timestamps { last_access: time, last_modification: time }
}
