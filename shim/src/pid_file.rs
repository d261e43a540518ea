//! `pid` and `shim-pid`: one line, `<pid> <start time> <boot>`. The start time (field 22 of `/proc/<pid>/stat`, clock
//! ticks since boot) distinguishes a process from a later one with the same pid, the boot id from one of a later boot.
//! A file that was cut, zeroed or damaged is malformed; a file of another boot names no process. Neither leads to a
//! signal.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use crate::ProcessRef;

const BOOT_DIGITS: usize = 32;
/// Bytes of a damaged file that its error message shows.
const MOST_SHOWN: usize = 80;

/// Why a pid file could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum PidFileError {
    #[error("cannot write the pid file `{path}`")]
    Write { path: PathBuf, source: io::Error },
    #[error("cannot read the pid file `{path}`")]
    Read { path: PathBuf, source: io::Error },
    #[error("the pid file `{path}` holds `{found}` instead of a pid, a start time and a boot id; it is not believed")]
    Malformed { path: PathBuf, found: String },
    #[error("the pid file `{path}` names process {pid}, which is not the one it should; it is not believed")]
    Foreign { path: PathBuf, pid: i32 },
}

/// Writes by rename: a reader sees the old line, the new line or no file.
pub fn write(path: &Path, process: ProcessRef) -> Result<(), PidFileError> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".new");
    let boot = Some(boot()).filter(|boot| !boot.is_empty()).map(|boot| format!(" {boot}")).unwrap_or_default();
    fs::write(&temporary, format!("{} {}{boot}\n", process.pid, process.start_time))
        .and_then(|()| fs::rename(&temporary, path))
        .map_err(|source| PidFileError::Write { path: path.to_path_buf(), source })
}

/// Reads the line; `None` when there is no such file, or it is of another boot, whose processes are gone.
pub fn read(path: &Path) -> Result<Option<ProcessRef>, PidFileError> {
    Ok(read_any(path)?
        .filter(|(_, boot_id)| boot_id.as_deref().is_none_or(|id| id == boot()))
        .map(|(process, _)| process))
}

/// Whether the file names this boot. False for a file without a boot id, and for one that is missing or malformed.
pub fn is_of_this_boot(path: &Path) -> bool {
    read_any(path).is_ok_and(|read| read.is_some_and(|(_, boot_id)| boot_id.as_deref() == Some(boot())))
}

/// Reads the line with its boot id.
fn read_any(path: &Path) -> Result<Option<(ProcessRef, Option<String>)>, PidFileError> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(PidFileError::Read { path: path.to_path_buf(), source }),
    };
    match std::str::from_utf8(&bytes).ok().and_then(parse) {
        Some(found) => Ok(Some(found)),
        None => {
            let found = String::from_utf8_lossy(&bytes[..bytes.len().min(MOST_SHOWN)]);
            let found = found.trim_end().escape_debug().to_string();
            Err(PidFileError::Malformed { path: path.to_path_buf(), found })
        }
    }
}

fn parse(text: &str) -> Option<(ProcessRef, Option<String>)> {
    let mut words = text.strip_suffix('\n')?.split(' ');
    let pid = words.next().and_then(number).and_then(|pid| i32::try_from(pid).ok()).filter(|pid| *pid > 0)?;
    let start_time = words.next().and_then(number)?;
    // A file written by hand or by an older build has no boot id.
    let boot = match words.next() {
        None => None,
        Some(boot) if boot.len() == BOOT_DIGITS && boot.bytes().all(|byte| byte.is_ascii_hexdigit()) => Some(boot),
        Some(_) => return None,
    };
    words.next().is_none().then(|| (ProcessRef { pid, start_time }, boot.map(str::to_owned)))
}

/// Accepts digits alone: a sign means damage.
fn number(word: &str) -> Option<u64> {
    word.bytes().all(|byte| byte.is_ascii_digit()).then(|| word.parse().ok()).flatten()
}

/// The id of this boot of the host: 32 digits. A debug build takes `ISULAD_BOOT_ID` in its place, as the daemon does.
fn boot() -> &'static str {
    static BOOT: OnceLock<String> = OnceLock::new();
    BOOT.get_or_init(|| {
        let overridden = cfg!(debug_assertions).then(|| std::env::var("ISULAD_BOOT_ID").ok()).flatten();
        let text = overridden.map_or_else(|| fs::read_to_string("/proc/sys/kernel/random/boot_id"), Ok);
        // Every kernel has a boot id; without one, files are written without it.
        text.unwrap_or_default().trim().chars().filter(|digit| *digit != '-').collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_written_pid_file_is_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("shim-pid");
        assert_eq!(read(&path).unwrap(), None);
        let process = ProcessRef { pid: 77, start_time: 123_456_789 };
        write(&path, process).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), format!("77 123456789 {}\n", boot()));
        assert_eq!(read(&path).unwrap(), Some(process));
        assert!(is_of_this_boot(&path));
        fs::write(&path, "77 123456789\n").unwrap();
        assert_eq!(read(&path).unwrap(), Some(process), "one that names no boot");
        assert!(!is_of_this_boot(&path));
    }

    #[test]
    fn a_file_of_another_boot_names_no_process() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pid");
        let me = ProcessRef::current().unwrap();
        fs::write(&path, format!("{} {} {}\n", me.pid, me.start_time, "0".repeat(32))).unwrap();
        assert_eq!(read(&path).unwrap(), None);
        assert!(!is_of_this_boot(&path));
    }

    #[test]
    fn a_cut_or_zeroed_line_is_malformed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pid");
        write(&path, ProcessRef::current().unwrap()).unwrap();
        let whole = fs::read(&path).unwrap();
        for end in 0..whole.len() {
            fs::write(&path, &whole[..end]).unwrap();
            assert!(matches!(read(&path), Err(PidFileError::Malformed { .. })), "cut at {end}");
            let mut torn = whole.clone();
            torn[end..].fill(0);
            fs::write(&path, torn).unwrap();
            assert!(matches!(read(&path), Err(PidFileError::Malformed { .. })), "zeroed from {end}");
        }
        fs::write(&path, [0xff; 300]).unwrap();
        assert!(read(&path).unwrap_err().to_string().len() < 1000);
    }

    #[test]
    fn other_text_is_malformed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pid");
        for text in
            ["", "\n", "12\n", "12 34", "0 5\n", "-3 5\n", "+3 5\n", "12 x\n", "12 34 56\n", "12  34\n", "12 34 \n"]
        {
            fs::write(&path, text).unwrap();
            assert!(matches!(read(&path), Err(PidFileError::Malformed { .. })), "{text:?}");
        }
    }
}
