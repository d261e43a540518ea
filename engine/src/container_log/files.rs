//! The files of a log: the one that is written, and older ones, which have its name and an ending.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use isulad_shim::regular_file;

/// The form of a log's records, and of the names of its older files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LogFormat {
    /// Older files are `.1`, `.2`, …
    JsonFile,
    /// Records of Kubernetes' container runtime interface. Kubelet names the older files by the time, and later
    /// compresses them: `.20260102-030405`, `.20260102-030405.gz`. Compressed ones are not read.
    Cri,
}

/// A log, by the file that is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LogFile {
    pub path: PathBuf,
    pub format: LogFormat,
}

impl LogFile {
    /// The file that is written, whether it is there or not, and then the older ones that are there, the newest first.
    pub(super) fn files(&self) -> io::Result<Vec<PathBuf>> {
        let (Some(directory), Some(name)) = (self.path.parent(), self.path.file_name()) else {
            return Ok(vec![self.path.clone()]);
        };
        let entries = match fs::read_dir(directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(vec![self.path.clone()]),
            entries => entries?,
        };
        let mut older = Vec::new();
        for entry in entries {
            let other = entry?.file_name();
            let ending = other.as_bytes().strip_prefix(name.as_bytes()).and_then(|rest| rest.strip_prefix(b"."));
            if let Some(age) = ending.and_then(|ending| self.format.age(ending)) {
                older.push((age, directory.join(other)));
            }
        }
        older.sort_unstable();
        Ok(std::iter::once(self.path.clone()).chain(older.into_iter().map(|(_, path)| path)).collect())
    }

    /// `None` when there is none.
    pub(super) fn open(&self, path: &Path) -> io::Result<Option<File>> {
        let opened = match self.format {
            LogFormat::JsonFile => File::open(path),
            LogFormat::Cri => regular_file::open(path, OpenOptions::new().read(true)),
        };
        match opened {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(io::Error::new(error.kind(), format!("`{}`: {error}", path.display()))),
        }
    }

    pub(super) fn metadata(&self, path: &Path) -> io::Result<Metadata> {
        match self.format {
            LogFormat::JsonFile => fs::metadata(path),
            LogFormat::Cri => fs::symlink_metadata(path),
        }
    }
}

impl LogFormat {
    /// Greater for an older file; `None` for the ending of another file.
    fn age(self, ending: &[u8]) -> Option<i64> {
        let text = std::str::from_utf8(ending).ok()?;
        match self {
            Self::JsonFile => {
                let number: u32 = text.parse().ok()?;
                (number > 0 && number.to_string() == text).then_some(number.into())
            }
            Self::Cri => {
                let (date, time) = text.split_once('-')?;
                let digits = |text: &str, count| text.len() == count && text.bytes().all(|byte| byte.is_ascii_digit());
                let time = (digits(date, 8) && digits(time, 6)).then(|| format!("{date}{time}"))?;
                time.parse::<i64>().ok().map(|time| -time)
            }
        }
    }
}
