//! Volumes of a container, filled from its root at the first start.
//!
//! A volume is filled in place: another container may have it mounted already, and would not see a directory that
//! replaced it. So that a crash leaves no partial contents, the copy is made beside it:
//!
//! ```text
//! <volume>/_data       empty                                          seen by containers
//! <volume>/_data.new   being copied; begun anew after a crash
//! <volume>/_data.full  whole and on disk; its entries are being moved to `_data`, and after a crash the rest of them
//! ```

use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use rustix::fs::FileType;

use crate::definition::{Definition, MountKind};
use crate::domain::container::Container;
use crate::failpoint;
use crate::node::Node;
use crate::rootfs::{self, BeneathError, CopyError, Mounts, PlannedRoot, copy_tree};
use crate::spec::{self, SpecError};

/// The errors of filling a volume. It is unchanged, or will be completed at the next start.
#[derive(Debug, thiserror::Error)]
pub enum FillError {
    #[error("cannot {action} `{path}`")]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    #[error("cannot fill volume {name} with what is at `{target}`")]
    Copy { name: String, target: String, source: CopyError },
    #[error(transparent)]
    Root(#[from] SpecError),
}

/// Whether the container has volumes that no start before has filled.
pub(crate) fn are_to_be_filled(node: &Node, container: &Container, definition: &Definition) -> bool {
    definition.mounts.iter().any(|mount| mount.copy) && !node.bundle(container).filled_note().exists()
}

/// Fills the container's empty volumes with the files that the container would see at their place without them: the
/// root's, or those of another mount. Blocks for as long as the copying takes.
pub(crate) fn fill(
    node: &Node,
    container: &Container,
    definition: &Definition,
    rootfs: &Path,
    stop: &dyn Fn() -> bool,
) -> Result<(), FillError> {
    let root = spec::planned_root(definition, rootfs)?;
    for mount in definition.mounts.iter().filter(|mount| mount.copy && mount.kind == MountKind::Volume) {
        let of_copy = |source| FillError::Copy { name: mount.name.clone(), target: mount.target.clone(), source };
        match fill_one(&root, Path::new(&mount.target), Path::new(&mount.source), stop) {
            Ok(()) => {}
            Err(FillOneError::Copy(source)) => return Err(of_copy(source)),
            Err(FillOneError::Fill(error)) => return Err(error),
        }
        failpoint::hit(failpoint::VOLUME_FILLED);
    }
    // The note only spares later starts the check, so it need not survive a crash.
    let note = node.bundle(container).filled_note();
    fs::write(&note, "").map_err(failed("write", &note))
}

enum FillOneError {
    Copy(CopyError),
    Fill(FillError),
}

impl From<FillError> for FillOneError {
    fn from(error: FillError) -> Self {
        Self::Fill(error)
    }
}

fn fill_one(root: &PlannedRoot, target: &Path, data: &Path, stop: &dyn Fn() -> bool) -> Result<(), FillOneError> {
    let place = fill_lock(data);
    // Of several containers that start with the same volume, one fills it.
    let _one = place.lock().unwrap_or_else(PoisonError::into_inner);
    let (new, full) = (data.with_extension("new"), data.with_extension("full"));
    if full.exists() {
        return Ok(settle(&full, data)?);
    }
    if stop() {
        return Err(FillOneError::Copy(CopyError::Stopped));
    }
    if !is_empty(data)? {
        return Ok(());
    }
    let Some(source) = directory(root, target)? else { return Ok(()) };
    remove_tree(&new)?;
    fs::DirBuilder::new().mode(0o700).create(&new).map_err(failed("make", &new))?;
    let into: OwnedFd = File::open(&new).map_err(failed("open", &new))?.into();
    let copied = copy_tree(source, target, &into, stop);
    if let Err(error) = copied.and_then(|_| if stop() { Err(CopyError::Stopped) } else { Ok(()) }) {
        let _ = remove_tree(&new);
        return Err(FillOneError::Copy(error));
    }
    rustix::fs::syncfs(&into).map_err(|errno| failed("sync", &new)(errno.into()))?;
    fs::rename(&new, &full).map_err(failed("rename", &new))?;
    sync_dir(data.parent().unwrap_or(data))?;
    failpoint::hit(failpoint::VOLUME_COPIED);
    Ok(settle(&full, data)?)
}

/// The directory that the volume at `target` covers, if it is one.
fn directory(root: &PlannedRoot, target: &Path) -> Result<Option<OwnedFd>, FillOneError> {
    let located = match root.locate_covered(target) {
        Err(BeneathError::NotADirectory { .. }) => return Ok(None),
        located => located.map_err(|error| FillOneError::Copy(error.into()))?,
    };
    let found = located.found.filter(|found| found.kind == FileType::Directory);
    Ok(found.map(|found| found.reopen()).transpose().map_err(failed("open", target))?)
}

/// Moves a whole copy to its place. May be repeated; files that a container has written there meanwhile stay.
fn settle(full: &Path, data: &Path) -> Result<(), FillError> {
    // Read first: moving entries out of the directory changes it.
    let modified = full.metadata().and_then(|facts| facts.modified()).map_err(failed("examine", full))?;
    // All entries are listed first: a listing of a directory that changes meanwhile may miss some.
    let entries = fs::read_dir(full).and_then(|entries| entries.collect::<Result<Vec<_>, _>>());
    for entry in entries.map_err(failed("read", full))? {
        let from = entry.path();
        let to = data.join(from.file_name().unwrap_or_default());
        let flags = rustix::fs::RenameFlags::NOREPLACE;
        match rustix::fs::renameat_with(rustix::fs::CWD, &from, rustix::fs::CWD, &to, flags) {
            Err(rustix::io::Errno::EXIST) => {}
            moved => moved.map_err(|errno| failed("move", &from)(errno.into()))?,
        }
    }
    rootfs::copy_facts(full, data).map_err(failed("set owner and mode of", data))?;
    let opened = File::open(data).map_err(failed("open", data))?;
    let times = fs::FileTimes::new().set_modified(modified);
    opened.set_times(times).map_err(failed("set the time of", data))?;
    sync_dir(data)?;
    remove_tree(full)
}

/// The lock that is held while the volume with this data directory is filled.
fn fill_lock(data: &Path) -> Arc<Mutex<()>> {
    static PLACES: Mutex<Option<HashMap<PathBuf, Weak<Mutex<()>>>>> = Mutex::new(None);
    let mut places = PLACES.lock().unwrap_or_else(PoisonError::into_inner);
    let places = places.get_or_insert_default();
    places.retain(|_, place| place.strong_count() > 0);
    let place = places.get(data).and_then(Weak::upgrade).unwrap_or_default();
    places.insert(data.to_owned(), Arc::downgrade(&place));
    place
}

pub(super) fn is_empty(dir: &Path) -> Result<bool, FillError> {
    Ok(fs::read_dir(dir).map_err(failed("read", dir))?.next().is_none())
}

fn remove_tree(path: &Path) -> Result<(), FillError> {
    rootfs::remove_tree(path, Mounts::Refuse).map_err(failed("remove", path))
}

fn sync_dir(dir: &Path) -> Result<(), FillError> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(failed("sync", dir))
}

fn failed<'a>(action: &'static str, path: &'a Path) -> impl Fn(io::Error) -> FillError + use<'a> {
    move |source| FillError::Io { action, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    use super::*;
    use crate::cause::chain;

    struct Place(tempfile::TempDir);

    impl Place {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            for name in ["root/srv", "volume/_data"] {
                fs::create_dir_all(dir.path().join(name)).unwrap();
            }
            fs::write(dir.path().join("root/srv/page"), "image").unwrap();
            fs::create_dir(dir.path().join("root/srv/sub")).unwrap();
            fs::write(dir.path().join("root/srv/sub/deep"), "image").unwrap();
            std::os::unix::fs::chown(dir.path().join("root/srv"), Some(33), Some(34)).unwrap();
            fs::set_permissions(dir.path().join("root/srv"), fs::Permissions::from_mode(0o2750)).unwrap();
            Self(dir)
        }

        fn at(&self, path: &str) -> PathBuf {
            self.0.path().join(path)
        }

        fn fill(&self, target: &str) -> Result<(), String> {
            self.fill_until(target, &|| false)
        }

        fn fill_until(&self, target: &str, stop: &dyn Fn() -> bool) -> Result<(), String> {
            self.fill_in(&PlannedRoot::open(&self.at("root")).unwrap(), target, stop)
        }

        fn fill_in(&self, root: &PlannedRoot, target: &str, stop: &dyn Fn() -> bool) -> Result<(), String> {
            fill_one(root, Path::new(target), &self.at("volume/_data"), stop).map_err(|error| match error {
                FillOneError::Copy(error) => chain(&error),
                FillOneError::Fill(error) => chain(&error),
            })
        }

        fn read(&self, path: &str) -> Option<String> {
            fs::read_to_string(self.at("volume/_data").join(path)).ok()
        }

        fn assert_settled(&self) {
            assert_eq!(fs::read_dir(self.at("volume")).unwrap().count(), 1, "nothing is left beside the data");
        }
    }

    #[test]
    fn an_empty_volume_is_filled_from_the_image() {
        let place = Place::new();
        // Another container has the volume mounted already: it must see the same directory filled.
        let before = fs::metadata(place.at("volume/_data")).unwrap().ino();
        place.fill("/srv").unwrap();
        assert_eq!((place.read("page").as_deref(), place.read("sub/deep").as_deref()), (Some("image"), Some("image")));
        let facts = fs::metadata(place.at("volume/_data")).unwrap();
        assert_eq!((facts.uid(), facts.gid(), facts.mode() & 0o7777, facts.ino()), (33, 34, 0o2750, before));
        place.assert_settled();
    }

    #[test]
    fn a_volume_with_anything_in_it_is_left_alone() {
        let place = Place::new();
        fs::write(place.at("volume/_data/mine"), "mine").unwrap();
        place.fill("/srv").unwrap();
        assert_eq!((place.read("mine").as_deref(), place.read("page")), (Some("mine"), None));
        place.assert_settled();
    }

    #[test]
    fn a_path_missing_in_the_image_fills_nothing() {
        let place = Place::new();
        symlink(place.at("volume"), place.at("root/out")).unwrap();
        for target in ["/none", "/srv/page", "/out"] {
            place.fill(target).unwrap();
            assert!(is_empty(&place.at("volume/_data")).unwrap(), "{target}");
            place.assert_settled();
        }
    }

    #[test]
    fn a_covered_mount_fills_the_volume() {
        let place = Place::new();
        fs::create_dir_all(place.at("host/sub")).unwrap();
        fs::write(place.at("host/sub/seed"), "host").unwrap();
        symlink("srv", place.at("root/www")).unwrap();
        let mut definition = crate::spec::tests::definition();
        definition.mounts = vec![
            crate::spec::tests::bind(place.at("host").to_str().unwrap(), "/srv"),
            crate::spec::tests::bind(place.at("volume/_data").to_str().unwrap(), "/www/sub"),
        ];
        let root = spec::planned_root(&definition, &place.at("root")).unwrap();
        place.fill_in(&root, "/www/sub", &|| false).unwrap();
        assert_eq!((place.read("seed").as_deref(), place.read("deep")), (Some("host"), None));
        place.assert_settled();
    }

    #[test]
    fn a_partial_copy_is_made_anew() {
        let place = Place::new();
        fs::create_dir(place.at("volume/_data.new")).unwrap();
        fs::write(place.at("volume/_data.new/half"), "half").unwrap();
        place.fill("/srv").unwrap();
        assert_eq!((place.read("half"), place.read("page").as_deref()), (None, Some("image")));
        place.assert_settled();
    }

    #[test]
    fn an_interrupted_move_is_finished() {
        let place = Place::new();
        fs::create_dir(place.at("volume/_data.full")).unwrap();
        fs::write(place.at("volume/_data.full/second"), "image").unwrap();
        fs::write(place.at("volume/_data.full/both"), "image").unwrap();
        fs::write(place.at("volume/_data/first"), "image").unwrap();
        fs::write(place.at("volume/_data/both"), "written since").unwrap();
        place.fill("/srv").unwrap();
        assert_eq!((place.read("first").as_deref(), place.read("second").as_deref()), (Some("image"), Some("image")));
        assert_eq!((place.read("both").as_deref(), place.read("page")), (Some("written since"), None));
        place.assert_settled();
    }

    #[test]
    fn a_cancelled_filling_leaves_the_volume_empty() {
        let place = Place::new();
        for rounds in 0..4 {
            let asked = std::cell::Cell::new(0);
            let stop = || {
                asked.set(asked.get() + 1);
                asked.get() > rounds
            };
            assert_eq!(place.fill_until("/srv", &stop).unwrap_err(), "the copying was given up");
            assert!(is_empty(&place.at("volume/_data")).unwrap());
            place.assert_settled();
        }
    }

    #[test]
    fn one_of_many_containers_fills_a_shared_volume() {
        let place = Place::new();
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| place.fill("/srv").unwrap());
            }
        });
        assert_eq!(place.read("page").as_deref(), Some("image"));
        place.assert_settled();
    }
}
