//! `pid` and `shim-pid`: one line, `<pid> <start time>`. The start time (field 22 of `/proc/<pid>/stat`, clock ticks
//! since boot) tells a process from a later one that was given the same number.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::ProcessRef;

/// Why a pid file could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum PidFileError {
    #[error("cannot write the pid file `{path}`")]
    Write { path: PathBuf, source: io::Error },
    #[error("cannot read the pid file `{path}`")]
    Read { path: PathBuf, source: io::Error },
    #[error("the pid file `{path}` holds `{found}` instead of a pid and a start time")]
    Malformed { path: PathBuf, found: String },
}

/// Writes by rename: a reader sees the old line, the new line or no file.
pub fn write(path: &Path, process: ProcessRef) -> Result<(), PidFileError> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".new");
    fs::write(&temporary, format!("{} {}\n", process.pid, process.start_time))
        .and_then(|()| fs::rename(&temporary, path))
        .map_err(|source| PidFileError::Write { path: path.to_path_buf(), source })
}

/// Reads the line; `None` when there is no such file.
pub fn read(path: &Path) -> Result<Option<ProcessRef>, PidFileError> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(PidFileError::Read { path: path.to_path_buf(), source }),
    };
    match parse(&text) {
        Some(process) => Ok(Some(process)),
        None => Err(PidFileError::Malformed { path: path.to_path_buf(), found: text.trim_end().to_owned() }),
    }
}

fn parse(text: &str) -> Option<ProcessRef> {
    let (pid, start_time) = text.strip_suffix('\n')?.split_once(' ')?;
    let pid = pid.parse().ok().filter(|pid| *pid > 0)?;
    Some(ProcessRef { pid, start_time: start_time.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("shim-pid");
        assert_eq!(read(&path).unwrap(), None);
        let process = ProcessRef { pid: 77, start_time: 123_456_789 };
        write(&path, process).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "77 123456789\n");
        assert_eq!(read(&path).unwrap(), Some(process));
    }

    #[test]
    fn anything_else_is_malformed_not_a_pid() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pid");
        for text in ["", "\n", "12\n", "12 34", "0 5\n", "-3 5\n", "12 x\n", "12 34 56\n"] {
            fs::write(&path, text).unwrap();
            assert!(matches!(read(&path), Err(PidFileError::Malformed { .. })), "{text:?}");
        }
    }
}
