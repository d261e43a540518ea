//! The directory where content is put together: nothing there is visible, and nothing there outlives its maker.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::{Dirs, ImageStore, StoreError, failed, remove_tree};

/// A directory for a layer in the making. Gone when dropped, unless it became one; dropping blocks.
#[derive(Debug)]
pub struct Ingest {
    path: PathBuf,
}

impl Ingest {
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The directory has its final name now: the drop leaves it alone.
    pub(super) fn leave(mut self) {
        self.path = PathBuf::new();
    }
}

impl Drop for Ingest {
    fn drop(&mut self) {
        if !self.path.as_os_str().is_empty()
            && let Err(error) = remove_tree(&self.path)
        {
            tracing::warn!("{}; the next start of the daemon removes it", engine_host::cause::chain(&error));
        }
    }
}

/// A file without a name: an archive while it is read at random.
#[derive(Debug)]
pub struct Spool {
    pub file: File,
    /// Where it lies, for messages.
    pub dir: PathBuf,
}

impl ImageStore {
    /// An empty directory. Blocks.
    pub fn ingest(&self) -> Result<Ingest, StoreError> {
        let path = self.dirs().ingest().join(random_name(&self.dirs().ingest())?);
        fs::DirBuilder::new().mode(0o700).create(&path).map_err(failed("make", &path))?;
        Ok(Ingest { path })
    }

    /// An empty file. Blocks.
    pub fn spool(&self) -> Result<Spool, StoreError> {
        let dir = self.dirs().ingest();
        let mut options = File::options();
        options.read(true).write(true).mode(0o600);
        let unnamed = options.clone().custom_flags(libc::O_TMPFILE).open(&dir);
        let file = match unnamed {
            // Some file systems know no files without a name: then it loses its own at once.
            Err(error) if matches!(error.raw_os_error(), Some(libc::EOPNOTSUPP | libc::EISDIR)) => {
                let path = dir.join(random_name(&dir)?);
                let file = options.create_new(true).open(&path).map_err(failed("make", &path))?;
                fs::remove_file(&path).map_err(failed("remove", &path))?;
                file
            }
            other => other.map_err(failed("make a file in", &dir))?,
        };
        Ok(Spool { file, dir })
    }
}

fn random_name(dir: &Path) -> Result<String, StoreError> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).map_err(|error| failed("name something in", dir)(io::Error::other(error)))?;
    Ok(hex::encode(bytes))
}

/// Removes the remains of interrupted work. Returns warnings about those that could not be removed.
pub(super) fn clear(dirs: &Dirs) -> Vec<String> {
    let entries = match fs::read_dir(dirs.ingest()).and_then(|entries| entries.collect::<Result<Vec<_>, _>>()) {
        Ok(entries) => entries,
        Err(error) => return vec![engine_host::cause::chain(&failed("list", &dirs.ingest())(error))],
    };
    let removed = entries.into_iter().map(|entry| match entry.file_type() {
        Ok(kind) if !kind.is_dir() => fs::remove_file(entry.path()).map_err(failed("remove", &entry.path())),
        _ => remove_tree(&entry.path()),
    });
    removed.filter_map(Result::err).map(|error| engine_host::cause::chain(&error)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Seek, Write};

    #[test]
    fn an_ingest_is_gone_with_its_maker_and_a_crashed_ones_at_the_next_start() {
        let dir = tempfile::tempdir().unwrap();
        let store = ImageStore::new(dir.path().join("images"));
        store.open().unwrap();
        let ingest = store.ingest().unwrap();
        fs::create_dir_all(ingest.path().join("fs/a")).unwrap();
        let path = ingest.path().to_owned();
        drop(ingest);
        assert!(!path.exists());
        let crashed = store.ingest().unwrap();
        let path = crashed.path().to_owned();
        std::mem::forget(crashed);
        assert_eq!(store.open().unwrap(), Vec::<String>::new());
        assert!(!path.exists());
    }

    #[test]
    fn a_spool_has_no_name() {
        let dir = tempfile::tempdir().unwrap();
        let store = ImageStore::new(dir.path().join("images"));
        store.open().unwrap();
        let mut spool = store.spool().unwrap();
        spool.file.write_all(b"abc").unwrap();
        spool.file.rewind().unwrap();
        let mut text = String::new();
        spool.file.read_to_string(&mut text).unwrap();
        assert_eq!((text.as_str(), fs::read_dir(store.dirs().ingest()).unwrap().count()), ("abc", 0));
    }
}
