//! Paths that a layer has twice: the last entry wins, but the tar needs the contents of all.

use rustix::fs::{AtFlags, Dir, FileType, OFlags, ResolveFlags, Stat, renameat, statat, unlinkat};
use rustix::io::Errno;

use super::LayerError;
use super::names;
use super::recipe::Writer;
use super::tree::{Place, Tree, open_directory};

/// The error that keeps a place from being cleared.
pub(super) enum ReplaceError {
    Io(Errno),
    Layer(LayerError),
}

impl From<Errno> for ReplaceError {
    fn from(error: Errno) -> Self {
        Self::Io(error)
    }
}

impl From<LayerError> for ReplaceError {
    fn from(error: LayerError) -> Self {
        Self::Layer(error)
    }
}

impl ReplaceError {
    pub(super) fn of(self, tree: &Tree<'_>, name: &[u8]) -> LayerError {
        match self {
            Self::Io(error) => tree.failed(name, "remove what it replaces", error),
            Self::Layer(error) => error,
        }
    }
}

impl Tree<'_> {
    /// Clears a place. Contents of files go into the shadow.
    pub(super) fn replace(&mut self, place: &Place<'_>, recipe: &mut Writer) -> Result<(), ReplaceError> {
        // The path may have led to the directory that was looked up last.
        self.last = None;
        let stat = statat(&place.dir.fd, place.name, AtFlags::SYMLINK_NOFOLLOW)?;
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            self.remove_tree(place.path(), recipe)
        } else {
            self.remove(place, &stat, recipe)
        }
    }

    /// Removes a directory with all that is in it. One handle is open at a time, however deep it is.
    fn remove_tree(&mut self, top: Vec<u8>, recipe: &mut Writer) -> Result<(), ReplaceError> {
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        let mut path = top.clone();
        loop {
            if (self.stop)() {
                return Err(LayerError::Stopped.into());
            }
            let fd = open_directory(&self.root.fd, &path, OFlags::RDONLY, resolve)?;
            match self.remove_files(fd, &path, recipe)? {
                Some(child) => path = names::join(&path, &child),
                None => {
                    let (parent, name) = names::split(&path);
                    let parent_name = if parent.is_empty() { &b"."[..] } else { parent };
                    let dir = open_directory(&self.root.fd, parent_name, OFlags::PATH, resolve)?;
                    unlinkat(&dir, name, AtFlags::REMOVEDIR)?;
                    self.times.remove(&path);
                    if path == top {
                        return Ok(());
                    }
                    path.truncate(parent.len());
                }
            }
        }
    }

    /// Removes anything but directories, up to the first directory, whose name is returned.
    fn remove_files(
        &mut self,
        fd: std::os::fd::OwnedFd,
        path: &[u8],
        recipe: &mut Writer,
    ) -> Result<Option<Vec<u8>>, ReplaceError> {
        let entries = Dir::read_from(&fd)?;
        let dir = std::rc::Rc::new(super::tree::Directory { fd, path: path.to_vec() });
        for entry in entries {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if matches!(name, b"." | b"..") {
                continue;
            }
            let stat = statat(&dir.fd, name, AtFlags::SYMLINK_NOFOLLOW)?;
            if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
                return Ok(Some(name.to_vec()));
            }
            self.remove(&Place { dir: dir.clone(), name }, &stat, recipe)?;
        }
        Ok(None)
    }

    fn remove(&mut self, place: &Place<'_>, stat: &Stat, recipe: &mut Writer) -> Result<(), ReplaceError> {
        let has_content = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile && stat.st_size > 0;
        if !has_content {
            return Ok(unlinkat(&place.dir.fd, place.name, AtFlags::empty())?);
        }
        let number = self.shadowed;
        renameat(&place.dir.fd, place.name, &self.shadow, number.to_string())?;
        self.shadowed += 1;
        Ok(recipe.moved(&place.path(), number)?)
    }
}
