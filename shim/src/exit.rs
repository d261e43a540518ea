//! The end of a container's first process: the durable exit record, and the four bytes on `exit_fifo`.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// The status of a process that is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExitStatus {
    /// It exited by itself.
    Code(u8),
    /// A signal ended it.
    Signal(u8),
    /// The status was lost.
    Unknown,
}

/// How the status was obtained.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// Reaped by the shim that started it.
    Exited,
    /// Reported by the kernel to a shim that had adopted the container.
    Adopted,
    /// The shim that started it is gone and the kernel does not have the status: it is unknown.
    ShimLost,
}

/// The exit record: written once per start, before the exit is reported to the daemon or a client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExitRecord {
    /// The start that this exit ends, see [`crate::Process::start`].
    pub start: u64,
    pub status: ExitStatus,
    /// Nanoseconds since 1970, when the end was seen.
    pub at: u64,
    /// Whether the OOM killer ended a process of this container during this start.
    pub oom: bool,
    pub pid: i32,
    pub cause: Cause,
}

/// Why an exit record could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    #[error("cannot write the exit record `{path}`")]
    Write { path: PathBuf, source: io::Error },
    #[error("cannot read the exit record `{path}`")]
    Read { path: PathBuf, source: io::Error },
    #[error("the exit record `{path}` is not valid")]
    Parse { path: PathBuf, source: serde_json::Error },
}

impl ExitStatus {
    /// From the wait status that `wait` and the kernel's pidfd information use.
    pub fn from_wait(raw: i32) -> Self {
        let signal = (raw & 0x7f) as u8;
        if signal == 0 { Self::Code(((raw >> 8) & 0xff) as u8) } else { Self::Signal(signal) }
    }

    /// The number shells use: the code itself, 128 and the signal; `None` when unknown.
    pub fn code(self) -> Option<i32> {
        match self {
            Self::Code(code) => Some(code.into()),
            Self::Signal(signal) => Some(128 + i32::from(signal)),
            Self::Unknown => None,
        }
    }

    /// Four bytes, little endian: the wait status, or all ones for unknown. One write, so never torn in a pipe.
    pub fn to_wire(self) -> [u8; 4] {
        match self {
            Self::Code(code) => u32::from(code) << 8,
            Self::Signal(signal) => signal.into(),
            Self::Unknown => u32::MAX,
        }
        .to_le_bytes()
    }

    pub fn from_wire(bytes: [u8; 4]) -> Self {
        match u32::from_le_bytes(bytes) {
            u32::MAX => Self::Unknown,
            raw => Self::from_wait(raw as i32),
        }
    }
}

impl ExitRecord {
    /// Writes the record so that it survives a power cut: temporary file, sync, rename, sync of the directory. A record
    /// that cannot be written leaves no temporary file behind.
    pub fn write(&self, path: &Path) -> Result<(), RecordError> {
        let failed = |source| RecordError::Write { path: path.to_path_buf(), source };
        let mut bytes = serde_json::to_vec(self).map_err(|error| failed(error.into()))?;
        bytes.push(b'\n');
        let temporary = path.with_extension("new");
        write_synced(&temporary, &bytes)
            .and_then(|()| {
                crate::failpoint::hit(crate::failpoint::EXIT_RECORD_WRITTEN);
                fs::rename(&temporary, path)
            })
            .map_err(|source| {
                let _ = fs::remove_file(&temporary);
                failed(source)
            })?;
        let directory = path.parent().unwrap_or(Path::new("/"));
        File::open(directory).and_then(|directory| directory.sync_all()).map_err(failed)
    }

    /// Reads the record; `None` when there is none. The record may be of an earlier start: callers compare `start`.
    pub fn read(path: &Path) -> Result<Option<Self>, RecordError> {
        let bytes = match fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(RecordError::Read { path: path.to_path_buf(), source }),
        };
        serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|source| RecordError::Parse { path: path.to_path_buf(), source })
    }
}

fn write_synced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_survive_the_wire() {
        for status in [ExitStatus::Code(0), ExitStatus::Code(255), ExitStatus::Signal(9), ExitStatus::Unknown] {
            assert_eq!(ExitStatus::from_wire(status.to_wire()), status);
        }
        assert_eq!(ExitStatus::from_wait(0x86), ExitStatus::Signal(6), "the core dump flag is not part of the signal");
        assert_eq!(ExitStatus::Signal(15).code(), Some(143));
        assert_eq!(ExitStatus::Unknown.code(), None);
    }

    #[test]
    fn a_written_record_is_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("exit");
        assert_eq!(ExitRecord::read(&path).unwrap(), None);
        let record = ExitRecord {
            start: 3,
            status: ExitStatus::Code(7),
            at: 1_700_000_000_000_000_001,
            oom: true,
            pid: 99,
            cause: Cause::ShimLost,
        };
        record.write(&path).unwrap();
        assert_eq!(ExitRecord::read(&path).unwrap(), Some(record));
        assert_eq!(
            fs::read_to_string(&path).unwrap(),
            "{\"start\":3,\"status\":{\"code\":7},\"at\":1700000000000000001,\"oom\":true,\"pid\":99,\
             \"cause\":\"shim-lost\"}\n"
        );
        fs::write(&path, "{").unwrap();
        assert!(matches!(ExitRecord::read(&path), Err(RecordError::Parse { .. })));
    }
}
