//! Covers: directories that layers imply. A layer may put a file into a directory without an entry for the directory:
//! then owner, mode and times are those that the layers below gave it. An overlay cannot know that, since the directory
//! of the layer above is there and has *some* owner and mode. So an image that needs it gets one more layer on
//! top, its *cover*, which has nothing but these directories as they should be.
//!
//! It is a layer like any other, named by its content; which image has which is noted in `covers/<image id>`. Archives
//! that the engine saves do not have it, and the image's config does not know it.

use std::collections::BTreeSet;
use std::io::{self, Cursor, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::Images;
use super::error::ImageError;
use super::find::stack;
use super::layer;
use super::making;
use super::store::{Hold, StoreError};
use crate::cancel;
use crate::domain::id::Digest;

const OPAQUE: &str = "trusted.overlay.opaque";

/// Makes the cover that these layers need, if any. They are all here, and held.
pub(super) async fn make(images: &Images, diff_ids: &[Digest]) -> Result<Option<(Digest, Hold)>, ImageError> {
    let (store, layers) = (images.store.clone(), stack(diff_ids));
    let looking = cancel::blocking(move |cancel| {
        let top_first = layers.iter().rev().map(|diff_id| LayerView::at(&store.dirs().layer(diff_id), *diff_id));
        let layers = top_first.collect::<Result<Vec<_>, StoreError>>()?;
        tar_of(&layers, &|| cancel.is_cancelled()).map_err(|source| StoreError::Io {
            action: "examine the layers in",
            path: store.dirs().layers(),
            source,
        })
    });
    let tar = looking.await.map_err(|source| ImageError::Task { source })??;
    let Some(tar) = tar else { return Ok(None) };
    let (ingest, unpacked) = making::unpack(images, None, Cursor::new(tar)).await?;
    let diff_id = unpacked.facts.diff_id;
    let hold = images.store.hold(&[diff_id]);
    let maker = images.store.maker(&diff_id).await;
    if images.store.layer(&diff_id).is_none() {
        images.store.commit(ingest, (diff_id, maker), unpacked.facts).await?;
    } else {
        tokio::task::spawn_blocking(move || drop(ingest));
    }
    Ok(Some((diff_id, hold)))
}

/// A layer to look at.
struct LayerView {
    root: OwnedFd,
    implied: BTreeSet<Vec<u8>>,
}

/// The file that a layer has under a name.
enum Found {
    Nothing,
    /// Another file, which ends the directories of layers below too.
    Other,
    Directory(OwnedFd),
}

impl LayerView {
    fn at(dir: &Path, diff_id: Digest) -> Result<Self, StoreError> {
        let implied =
            layer::read_implied(dir).map_err(|source| StoreError::Layer { diff_id, source: source.into() })?;
        let path = dir.join("fs");
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let root = rustix::fs::open(&path, flags, Mode::empty());
        let root = root.map_err(|errno| StoreError::Io { action: "open", path, source: errno.into() })?;
        Ok(Self { root, implied: implied.into_iter().collect() })
    }

    /// The file under this name, and whether it hides the layers below.
    fn find(&self, path: &[u8]) -> io::Result<(Found, bool)> {
        let mut dir = self.root.try_clone()?;
        let mut hides = rustix::fs::getxattr(proc_path(&dir), OPAQUE, &mut [0; 8][..]).is_ok();
        for component in path.split(|byte| *byte == b'/').filter(|component| !component.is_empty()) {
            let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            dir = match rustix::fs::openat(&dir, component, flags, Mode::empty()) {
                Ok(found) => found,
                Err(Errno::NOENT) => return Ok((Found::Nothing, hides)),
                Err(error) => return Err(error.into()),
            };
            if FileType::from_raw_mode(rustix::fs::fstat(&dir)?.st_mode) != FileType::Directory {
                return Ok((Found::Other, true));
            }
            hides |= rustix::fs::getxattr(proc_path(&dir), OPAQUE, &mut [0; 8][..]).is_ok();
        }
        Ok((Found::Directory(dir), hides))
    }
}

/// Mode, owner, time and attributes of a directory.
#[derive(Debug, PartialEq, Eq)]
struct Facts {
    mode: u32,
    owner: (u32, u32),
    time: (i64, u64),
    attributes: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Facts {
    fn of(dir: &OwnedFd) -> io::Result<Self> {
        let stat: Stat = rustix::fs::statat(dir, "", AtFlags::EMPTY_PATH)?;
        let path = proc_path(dir);
        let mut names = vec![0; 64 << 10];
        let length = match rustix::fs::listxattr(&path, &mut names[..]) {
            Err(Errno::OPNOTSUPP) => 0,
            other => other?,
        };
        let mut attributes = Vec::new();
        for name in names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
            let mut value = vec![0; 64 << 10];
            if name.starts_with(b"trusted.overlay.") {
                continue;
            }
            let length = rustix::fs::getxattr(&path, name, &mut value[..])?;
            value.truncate(length);
            attributes.push((name.to_vec(), value));
        }
        attributes.sort();
        let (mode, owner) = (stat.st_mode & 0o7777, (stat.st_uid, stat.st_gid));
        Ok(Self { mode, owner, time: (stat.st_mtime, stat.st_mtime_nsec), attributes })
    }
}

/// How the directory looks on top, and how it should; none if it is no directory on top, or no layer has an entry for
/// it.
fn resolve(layers: &[LayerView], path: &[u8]) -> io::Result<Option<(Facts, Facts)>> {
    let mut on_top = None;
    for layer in layers {
        let (found, hides) = layer.find(path)?;
        match found {
            Found::Nothing => {}
            Found::Other => break,
            Found::Directory(dir) => {
                let top = match on_top {
                    Some(top) => top,
                    None => Facts::of(&dir)?,
                };
                if !layer.implied.contains(path) {
                    return Ok(Some((top, Facts::of(&dir)?)));
                }
                on_top = Some(top);
            }
        }
        if hides {
            break;
        }
    }
    // No layer has an entry for it.
    Ok(None)
}

/// The cover's tar; none when all is as it should be.
fn tar_of(layers: &[LayerView], stop: &dyn Fn() -> bool) -> io::Result<Option<Vec<u8>>> {
    let implied: BTreeSet<&Vec<u8>> = layers.iter().flat_map(|layer| &layer.implied).collect();
    let mut wanted = BTreeSet::new();
    for path in implied {
        if stop() {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let Some((top, right)) = resolve(layers, path)? else { continue };
        // Nearly no layer has an entry for the root, and its time does not matter.
        let differs = if path.is_empty() { Facts { time: top.time, ..right } != top } else { right != top };
        if differs {
            // A directory of the cover must not itself imply directories above it.
            let ends = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(end, _)| end);
            wanted.extend(ends.chain([0, path.len()]).map(|end| path[..end].to_vec()));
        }
    }
    if wanted.is_empty() {
        return Ok(None);
    }
    let mut tar = tar::Builder::new(Vec::new());
    for path in wanted {
        let facts = match resolve(layers, &path)? {
            Some((_, right)) => right,
            None => Facts { mode: 0o755, owner: (0, 0), time: (0, 0), attributes: vec![] },
        };
        append(&mut tar, &path, &facts)?;
    }
    tar.into_inner().map(Some)
}

fn append(tar: &mut tar::Builder<Vec<u8>>, path: &[u8], facts: &Facts) -> io::Result<()> {
    let mut records = Vec::new();
    let mut record = |key: &[u8], value: &[u8]| {
        let body = [b" ", key, b"=", value, b"\n"].concat();
        // The length counts its own digits.
        let mut length = body.len() + 1;
        while length != body.len() + length.to_string().len() {
            length = body.len() + length.to_string().len();
        }
        let _ = write!(records, "{length}");
        records.extend_from_slice(&body);
    };
    let name = if path.is_empty() { b"./".to_vec() } else { [path, b"/"].concat() };
    record(b"path", &name);
    record(b"uid", facts.owner.0.to_string().as_bytes());
    record(b"gid", facts.owner.1.to_string().as_bytes());
    record(b"mtime", time(facts.time).as_bytes());
    for (key, value) in &facts.attributes {
        record(&[b"SCHILY.xattr.", key.as_slice()].concat(), value);
    }
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(tar::EntryType::XHeader);
    header.set_size(records.len() as u64);
    header.set_cksum();
    tar.append(&header, records.as_slice())?;
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(tar::EntryType::Directory);
    header.set_mode(facts.mode);
    header.set_size(0);
    header.set_mtime(0);
    header.set_cksum();
    tar.append(&header, io::empty())
}

/// Seconds as a decimal number. The nanoseconds count forward, also before 1970.
fn time((seconds, nanoseconds): (i64, u64)) -> String {
    match (seconds, nanoseconds) {
        (..0, 1..) => format!("-{}.{:09}", -(seconds + 1), 1_000_000_000 - nanoseconds),
        _ => format!("{seconds}.{nanoseconds:09}"),
    }
}

fn proc_path(fd: &OwnedFd) -> PathBuf {
    Path::new(std::ffi::OsStr::from_bytes(b"/proc/self/fd")).join(fd.as_raw_fd().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::layer::Limits;
    use std::os::unix::fs::MetadataExt;

    struct Stack(tempfile::TempDir, Vec<PathBuf>);

    impl Stack {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap(), vec![])
        }

        /// One more layer on top: directories with mode and owner, and files.
        fn layer(&mut self, entries: &[(&str, u32, u64)]) {
            let mut tar = tar::Builder::new(Vec::new());
            for (path, mode, owner) in entries {
                let mut header = tar::Header::new_gnu();
                let directory = path.ends_with('/');
                header.set_entry_type(if directory { tar::EntryType::Directory } else { tar::EntryType::Regular });
                header.set_mode(*mode);
                header.set_uid(*owner);
                header.set_gid(*owner);
                header.set_mtime(77);
                header.set_size(0);
                tar.append_data(&mut header, path, io::empty()).unwrap();
            }
            let dir = self.0.path().join(self.1.len().to_string());
            std::fs::create_dir(&dir).unwrap();
            layer::unpack(Cursor::new(tar.into_inner().unwrap()), &dir, &Limits::default(), &|| false).unwrap();
            self.1.push(dir);
        }

        fn cover(&self) -> Option<PathBuf> {
            let layers: Vec<LayerView> =
                self.1.iter().rev().map(|dir| LayerView::at(dir, Digest([0; 32])).unwrap()).collect();
            let tar = tar_of(&layers, &|| false).unwrap()?;
            let dir = self.0.path().join("cover");
            std::fs::create_dir(&dir).unwrap();
            layer::unpack(Cursor::new(tar), &dir, &Limits::default(), &|| false).unwrap();
            assert!(layer::read_implied(&dir).unwrap().is_empty(), "a cover leaves nothing open");
            Some(dir.join("fs"))
        }
    }

    fn look(path: &Path) -> (u32, u32, i64) {
        let facts = path.metadata().unwrap();
        (facts.mode() & 0o7777, facts.uid(), facts.mtime())
    }

    #[test]
    fn a_directory_is_as_the_last_layer_with_an_entry_has_it() {
        let mut stack = Stack::new();
        stack.layer(&[("./", 0o755, 0), ("tmp/", 0o1777, 5), ("tmp/sub/", 0o700, 6), ("opt/", 0o755, 0)]);
        stack.layer(&[("tmp/sub/", 0o711, 7), ("tmp/sub/x", 0o644, 0)]);
        stack.layer(&[("tmp/sub/file", 0o644, 0), ("new/file", 0o644, 0)]);
        let cover = stack.cover().unwrap();
        assert_eq!(look(&cover.join("tmp")), (0o1777, 5, 77));
        assert_eq!(look(&cover.join("tmp/sub")), (0o711, 7, 77));
        assert!(!cover.join("new").exists() && !cover.join("opt").exists() && !cover.join("tmp/sub/file").exists());
    }

    #[test]
    fn described_removed_or_hidden_directories_need_no_cover() {
        let mut stack = Stack::new();
        stack.layer(&[("a/", 0o700, 5), ("b/", 0o700, 5), ("c/", 0o700, 5)]);
        // `a` is described again, `b` is replaced, `c` is another directory of that name.
        stack.layer(&[("a/x", 0o644, 0), ("b/x", 0o644, 0), ("c/.wh..wh..opq", 0o644, 0), ("c/x", 0o644, 0)]);
        stack.layer(&[("a/", 0o755, 0), ("b", 0o644, 0)]);
        assert!(stack.cover().is_none());
    }
}
