//! Unpacking a tar into a directory of a container, while processes may be at work there.
//!
//! The archive is read by the code that reads layers. Whatever is made is made in an open directory under a single name
//! that is never followed; the way to that directory is walked within the container (`view.rs`). A file appears under
//! its name when all of it is there; but in a directory that the archive itself has made, and that is not whole before
//! the end either, it is written in its place.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, OFlags, StatxAttributes, StatxFlags, Timespec, Timestamps, Uid};
use rustix::io::Errno;

use super::FilesError;
use super::view::{Dir, Found, Node, View, last, may_write};
use crate::failpoint;
use crate::image::layer::reading::{Archive, Entry, Kind, Map, Source, Stream, Writer, names, shown};
use crate::image::layer::{LayerError, Limits};
use crate::rootfs::attributes;

/// The limit for names of directories in memory, for the times that are set at the end.
const KEPT_LIMIT: usize = 64 << 20;
const NAME_COST: usize = 64;

/// The options beside the archive.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct UnpackOptions {
    /// Owners as in the archive; else everything is root's.
    pub keep_owners: bool,
    /// Never put a directory in the place of something else, nor the other way round.
    pub strict: bool,
}

/// Unpacks the archive of `source` into the directory at the end of `base`. Files unpacked before an error stay.
pub(crate) fn unpack(
    view: &View,
    base: Vec<Dir>,
    source: impl Read,
    options: UnpackOptions,
    stop: &dyn Fn() -> bool,
) -> Result<(), FilesError> {
    // The client owns the machine: its archive may be as large as it likes, but not by decompression alone.
    let limits = Limits { bytes: u64::MAX, entries: u64::MAX, ..Limits::default() };
    let mut archive = Archive::new(Stream::new(Source::new(source), &limits, stop)?, Writer::nowhere());
    let mut unpacking =
        Unpacking { view, base, options, stop, last: None, last_is_made: false, times: BTreeMap::new(), kept: 0 };
    while let Some(entry) = archive.next_entry()? {
        unpacking.add(&entry, &mut archive)?;
    }
    archive.finish()?;
    unpacking.finish()
}

struct Unpacking<'a> {
    view: &'a View,
    base: Vec<Dir>,
    options: UnpackOptions,
    stop: &'a dyn Fn() -> bool,
    /// The directory that was looked up last, under the name it was asked for.
    last: Option<(Vec<u8>, Vec<Dir>)>,
    /// The archive has made it.
    last_is_made: bool,
    /// Times of directories that were made.
    times: BTreeMap<Vec<u8>, (i64, u32)>,
    kept: usize,
}

impl Unpacking<'_> {
    fn add(&mut self, entry: &Entry, archive: &mut Archive<'_>) -> Result<(), FilesError> {
        if matches!(entry.kind, Kind::Label) {
            return Ok(());
        }
        let problem = |problem| FilesError::from(LayerError::entry(&entry.name, problem));
        let path = names::normalise(&entry.name).map_err(problem)?;
        if path.is_empty() {
            // The directory at the top of the target keeps its facts.
            return match entry.kind {
                Kind::Directory => Ok(()),
                _ => Err(unpackable(entry, "only a directory can take the place of the top")),
            };
        }
        let (parent, name) = names::split(&path);
        let above = self.directory(parent)?;
        let place = Place { dir: last(&above), name: OsStr::from_bytes(name) };
        may_write(place.dir, &place.path())?;
        match &entry.kind {
            Kind::Label => Ok(()),
            Kind::Directory => self.add_directory(&place, &path, entry),
            Kind::File => self.file(&place, entry, &mut |file| {
                let mut file = file;
                archive.content(&mut |bytes| {
                    file.write_all(bytes).map_err(|error| LayerError::write(&place.path(), error))
                })
            }),
            Kind::SparseFile(map) => self.file(&place, entry, &mut |file| sparse(archive, file, map, &place.path())),
            Kind::SparsePayload(size) => {
                let map = archive.leading_map(entry, *size)?;
                self.file(&place, entry, &mut |file| sparse(archive, file, &map, &place.path()))
            }
            Kind::HardLink(target) => self.hard_link(&place, entry, target),
            Kind::Symlink(target) if target.is_empty() || target.contains(&0) => {
                Err(unpackable(entry, "it is a symbolic link to nothing"))
            }
            Kind::Symlink(target) => {
                self.make(&place, entry, &|| rustix::fs::symlinkat(target.as_slice(), &*place.dir.fd, place.name))
            }
            Kind::CharDevice(0, 0) => Err(unpackable(entry, "a device 0:0 is what an overlay hides files with")),
            Kind::CharDevice(major, minor) => {
                self.node(&place, entry, FileType::CharacterDevice, rustix::fs::makedev(*major, *minor))
            }
            Kind::BlockDevice(major, minor) => {
                self.node(&place, entry, FileType::BlockDevice, rustix::fs::makedev(*major, *minor))
            }
            Kind::Fifo => self.node(&place, entry, FileType::Fifo, 0),
        }
    }

    /// Sets the times that were put off. A directory that is not there any more has none.
    fn finish(self) -> Result<(), FilesError> {
        for (path, time) in &self.times {
            if (self.stop)() {
                return Err(FilesError::Stopped);
            }
            let found = self.view.find_from(self.base.clone(), OsStr::from_bytes(path), false);
            if let Ok(Found::Directory { above }) = found {
                let dir = last(&above);
                let by_handle = format!("/proc/self/fd/{}", dir.fd.as_raw_fd());
                let set = rustix::fs::utimensat(CWD, by_handle, &timestamps(*time), AtFlags::empty());
                set.map_err(|errno| FilesError::io("set the times of", &dir.path, errno.into()))?;
            }
        }
        Ok(())
    }

    fn directory(&mut self, path: &[u8]) -> Result<Vec<Dir>, FilesError> {
        if let Some((name, above)) = &self.last
            && name == path
        {
            return Ok(above.clone());
        }
        let above = self.view.make_dirs(self.base.clone(), OsStr::from_bytes(path), &mut |_| {})?;
        self.last = Some((path.to_vec(), above.clone()));
        self.last_is_made = self.times.contains_key(path);
        Ok(above)
    }

    /// Makes a directory. An existing one is not changed, also if a link leads to it.
    fn add_directory(&mut self, place: &Place<'_>, path: &[u8], entry: &Entry) -> Result<(), FilesError> {
        if let Some(node) = self.view.child(place.dir, place.name)? {
            match node.kind() {
                FileType::Directory => return Ok(()),
                FileType::Symlink => {
                    // The file at the end of the path counts.
                    let parent = self.directory(names::split(path).0)?;
                    if let Ok(Found::Directory { .. }) = self.view.find_from(parent, place.name, true) {
                        return Ok(());
                    }
                }
                _ => {}
            }
            if self.options.strict {
                return Err(FilesError::NotADirectoryInTheWay { path: place.path() });
            }
            self.clear(place, &node)?;
        }
        rustix::fs::mkdirat(&*place.dir.fd, place.name, Mode::RWXU).map_err(place.failed("make the directory"))?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let made = rustix::fs::openat(&*place.dir.fd, place.name, flags, Mode::empty());
        let made = made.map_err(place.failed("open the directory"))?;
        self.describe(&made, entry, place)?;
        self.kept += path.len() + NAME_COST;
        if self.kept <= KEPT_LIMIT {
            self.times.insert(path.to_vec(), entry.mtime);
        }
        Ok(())
    }

    fn file(
        &mut self,
        place: &Place<'_>,
        entry: &Entry,
        fill: &mut dyn FnMut(&File) -> Result<(), LayerError>,
    ) -> Result<(), FilesError> {
        if self.is_made(place) && self.file_in_place(place, entry, fill)? {
            return Ok(());
        }
        let there = self.view.child(place.dir, place.name)?;
        if let Some(node) = &there {
            if node.kind() == FileType::RegularFile && (node.mounted || is_mount(&node.fd)) {
                return self.write_over(node, place, fill);
            }
            self.may_replace(place, node)?;
        }
        let draft = Draft::new(place)?;
        fill(&draft.file)?;
        failpoint::hit(failpoint::COPY_FILE_WRITTEN);
        self.describe(&draft.file, entry, place)?;
        rustix::fs::futimens(&draft.file, &timestamps(entry.mtime)).map_err(place.failed("set the times of"))?;
        // A directory cannot be replaced by renaming.
        if let Some(node) = there.filter(|node| node.kind() == FileType::Directory) {
            self.clear(place, &node)?;
        }
        draft.publish(place)
    }

    /// Whether the place's directory was made by this unpacking: then a file in the way comes from the archive, or from
    /// a process of the container.
    fn is_made(&self, place: &Place<'_>) -> bool {
        let last_is_it = self.last.as_ref().is_some_and(|(_, above)| Rc::ptr_eq(&last(above).fd, &place.dir.fd));
        last_is_it && self.last_is_made
    }

    /// `false` when something has its name already.
    fn file_in_place(
        &self,
        place: &Place<'_>,
        entry: &Entry,
        fill: &mut dyn FnMut(&File) -> Result<(), LayerError>,
    ) -> Result<bool, FilesError> {
        let new = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        // A file that will have another owner must not be readable by root's group before.
        let is_roots = !self.options.keep_owners || (entry.uid, entry.gid) == (0, 0);
        let mode = if is_roots { Mode::from_raw_mode(entry.mode & 0o777) } else { Mode::RUSR };
        let file = match rustix::fs::openat(&*place.dir.fd, place.name, new, mode) {
            Ok(fd) => File::from(fd),
            Err(Errno::EXIST) => return Ok(false),
            Err(errno) => return Err(place.failed("make")(errno)),
        };
        // Half of it does not stay.
        let mut draft = Draft { file, dir: place.dir, name: Some(place.name.to_owned()) };
        fill(&draft.file)?;
        self.describe(&draft.file, entry, place)?;
        rustix::fs::futimens(&draft.file, &timestamps(entry.mtime)).map_err(place.failed("set the times of"))?;
        draft.name = None;
        Ok(true)
    }

    /// A file that is a mount cannot be replaced, but written to.
    fn write_over(
        &self,
        node: &Node,
        place: &Place<'_>,
        fill: &mut dyn FnMut(&File) -> Result<(), LayerError>,
    ) -> Result<(), FilesError> {
        if node.read_only {
            return Err(FilesError::ReadOnly { path: place.path() });
        }
        let opened = node.reopen(OFlags::WRONLY | OFlags::TRUNC);
        let file = File::from(opened.map_err(|error| FilesError::io("open", &place.path(), error))?);
        Ok(fill(&file)?)
    }

    fn hard_link(&mut self, place: &Place<'_>, entry: &Entry, target: &[u8]) -> Result<(), FilesError> {
        let problem = |problem| FilesError::from(LayerError::entry(&entry.name, problem));
        let path = names::normalise(target).map_err(problem)?;
        let (parent, name) = names::split(&path);
        let missing = || unpackable(entry, &format!("`{}`, which it is a hard link to, is not there", shown(target)));
        if name.is_empty() {
            return Err(missing());
        }
        let from = match self.view.find_from(self.base.clone(), OsStr::from_bytes(parent), true) {
            Ok(Found::Directory { above }) => above,
            Ok(_) | Err(FilesError::NoSuchPath { .. } | FilesError::NotADirectory { .. }) => return Err(missing()),
            Err(error) => return Err(error),
        };
        let (from, name) = (last(&from), OsStr::from_bytes(name));
        let Some(node) = self.view.child(from, name)? else { return Err(missing()) };
        if node.kind() == FileType::Directory {
            return Err(unpackable(entry, "it is a hard link to a directory"));
        }
        let same = self
            .view
            .child(place.dir, place.name)?
            .is_some_and(|there| (there.facts.st_dev, there.facts.st_ino) == (node.facts.st_dev, node.facts.st_ino));
        if same {
            return Ok(());
        }
        self.make_bare(place, &|| rustix::fs::linkat(&*from.fd, name, &*place.dir.fd, place.name, AtFlags::empty()))
    }

    fn node(&mut self, place: &Place<'_>, entry: &Entry, kind: FileType, device: u64) -> Result<(), FilesError> {
        self.make(place, entry, &|| {
            rustix::fs::mknodat(&*place.dir.fd, place.name, kind, Mode::from_raw_mode(0o600), device)
        })
    }

    /// Makes a node or link by its name alone, in the place of a file that may be there.
    fn make(
        &mut self,
        place: &Place<'_>,
        entry: &Entry,
        make: &dyn Fn() -> rustix::io::Result<()>,
    ) -> Result<(), FilesError> {
        self.make_bare(place, make)?;
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let made = rustix::fs::openat(&*place.dir.fd, place.name, flags, Mode::empty());
        self.describe(&made.map_err(place.failed("open"))?, entry, place)?;
        let times = timestamps(entry.mtime);
        rustix::fs::utimensat(&*place.dir.fd, place.name, &times, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(place.failed("set the times of"))
    }

    fn make_bare(&mut self, place: &Place<'_>, make: &dyn Fn() -> rustix::io::Result<()>) -> Result<(), FilesError> {
        if let Some(node) = self.view.child(place.dir, place.name)? {
            self.may_replace(place, &node)?;
            self.clear(place, &node)?;
        }
        make().map_err(place.failed("make"))
    }

    fn may_replace(&self, place: &Place<'_>, node: &Node) -> Result<(), FilesError> {
        match node.kind() {
            _ if node.mounted => Err(FilesError::IsAMount { path: place.path() }),
            FileType::Directory if self.options.strict => Err(FilesError::DirectoryInTheWay { path: place.path() }),
            _ => Ok(()),
        }
    }

    /// Removes the file in a place; a directory only when it is empty.
    fn clear(&mut self, place: &Place<'_>, node: &Node) -> Result<(), FilesError> {
        if node.mounted {
            return Err(FilesError::IsAMount { path: place.path() });
        }
        self.last = None;
        let flags = if node.kind() == FileType::Directory { AtFlags::REMOVEDIR } else { AtFlags::empty() };
        match rustix::fs::unlinkat(&*place.dir.fd, place.name, flags) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(Errno::NOTEMPTY) => Err(FilesError::DirectoryInTheWay { path: place.path() }),
            Err(errno) => Err(place.failed("replace")(errno)),
        }
    }

    /// Owner, mode and attributes, in this order: a new owner takes set-user-id and capabilities away.
    fn describe(&self, made: &impl AsFd, entry: &Entry, place: &Place<'_>) -> Result<(), FilesError> {
        let (uid, gid) = if self.options.keep_owners { (entry.uid, entry.gid) } else { (0, 0) };
        let made = made.as_fd();
        // Every change of a file on an overlay costs about as much as its creation.
        let facts = rustix::fs::fstat(made).map_err(place.failed("look at"))?;
        let is_owned = (facts.st_uid, facts.st_gid) == (uid, gid);
        if !is_owned {
            rustix::fs::chownat(made, "", Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)), AtFlags::EMPTY_PATH)
                .map_err(place.failed("set the owner of"))?;
        }
        if matches!(entry.kind, Kind::Symlink(_)) {
            return Ok(());
        }
        let mode = Mode::from_raw_mode(entry.mode);
        // A change of the owner takes set-id bits away.
        if !is_owned || Mode::from_raw_mode(facts.st_mode) != mode {
            let set = match entry.kind {
                Kind::File | Kind::SparseFile(_) | Kind::SparsePayload(_) | Kind::Directory => {
                    rustix::fs::fchmod(made, mode)
                }
                // By a handle that only names it.
                _ => rustix::fs::chmod(format!("/proc/self/fd/{}", made.as_raw_fd()), mode),
            };
            set.map_err(place.failed("set the mode of"))?;
        }
        for (name, value) in &entry.xattrs {
            attributes::set(made, name, value)
                .map_err(|error| FilesError::io("set an attribute of", &place.path(), error))?;
        }
        Ok(())
    }
}

/// A name in a directory.
struct Place<'a> {
    dir: &'a Dir,
    name: &'a OsStr,
}

impl Place<'_> {
    fn path(&self) -> PathBuf {
        self.dir.path.join(self.name)
    }

    fn failed(&self, doing: &'static str) -> impl Fn(Errno) -> FilesError {
        let path = self.path();
        move |errno| FilesError::io(doing, &path, errno.into())
    }
}

/// A file that has no name yet, or one that goes with it.
struct Draft<'a> {
    file: File,
    dir: &'a Dir,
    name: Option<OsString>,
}

impl<'a> Draft<'a> {
    fn new(place: &Place<'a>) -> Result<Self, FilesError> {
        let dir = place.dir;
        let unnamed = OFlags::WRONLY | OFlags::TMPFILE | OFlags::CLOEXEC;
        match rustix::fs::openat(&*dir.fd, ".", unnamed, Mode::RUSR) {
            Ok(fd) => return Ok(Self { file: fd.into(), dir, name: None }),
            // Not every file system has files without a name.
            Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::NOENT | Errno::INVAL) => {}
            Err(errno) => return Err(place.failed("make")(errno)),
        }
        let name = free_name();
        let named = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(&*dir.fd, &name, named, Mode::RUSR).map_err(place.failed("make"))?;
        Ok(Self { file: fd.into(), dir, name: Some(name) })
    }

    /// Gives it its name, in the place of whatever has it.
    fn publish(mut self, place: &Place<'_>) -> Result<(), FilesError> {
        let dir = &*self.dir.fd;
        let name = match self.name.take() {
            Some(name) => name,
            None => {
                let by_handle = format!("/proc/self/fd/{}", self.file.as_raw_fd());
                match rustix::fs::linkat(CWD, &by_handle, dir, place.name, AtFlags::SYMLINK_FOLLOW) {
                    Ok(()) => return Ok(()),
                    Err(Errno::EXIST) => {}
                    Err(errno) => return Err(place.failed("make")(errno)),
                }
                let name = free_name();
                rustix::fs::linkat(CWD, &by_handle, dir, &name, AtFlags::SYMLINK_FOLLOW)
                    .map_err(place.failed("make"))?;
                name
            }
        };
        // From here on the drop removes the draft unless it is renamed.
        self.name = Some(name.clone());
        rustix::fs::renameat(dir, &name, dir, place.name).map_err(place.failed("replace"))?;
        self.name = None;
        Ok(())
    }
}

impl Drop for Draft<'_> {
    fn drop(&mut self) {
        if let Some(name) = self.name.take() {
            // The draft was not published: the error that kept it from that is returned already.
            let _ = rustix::fs::unlinkat(&*self.dir.fd, name, AtFlags::empty());
        }
    }
}

fn free_name() -> OsString {
    let mut bytes = [0; 8];
    // Without randomness a name that is taken is an error, not a danger: only a new file is opened.
    let _ = getrandom::fill(&mut bytes);
    format!(".isula-cp-{}", hex::encode(bytes)).into()
}

fn sparse(archive: &mut Archive<'_>, mut file: &File, map: &Map, path: &Path) -> Result<(), LayerError> {
    let failed = |error| LayerError::write(path, error);
    for (offset, length) in &map.pieces {
        file.seek(SeekFrom::Start(*offset)).map_err(failed)?;
        archive.pass(*length, &mut |bytes| file.write_all(bytes).map_err(failed))?;
    }
    file.set_len(map.size).map_err(failed)
}

fn unpackable(entry: &Entry, problem: &str) -> FilesError {
    FilesError::Archive { problem: format!("entry `{}`: {problem}", shown(&entry.name)) }
}

/// Whether the kernel has mounted something here.
fn is_mount(fd: &OwnedFd) -> bool {
    let facts = rustix::fs::statx(fd, "", AtFlags::EMPTY_PATH, StatxFlags::TYPE);
    facts.is_ok_and(|facts| facts.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
}

fn timestamps((seconds, nanoseconds): (i64, u32)) -> Timestamps {
    let time = Timespec { tv_sec: seconds as _, tv_nsec: nanoseconds as _ };
    Timestamps { last_access: time, last_modification: time }
}
