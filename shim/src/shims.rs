//! Finds the shims of a directory. A `shim-pid` may be damaged, stale or foreign: before the process it names is
//! signalled or waited for as the shim, the process's own arguments have to prove it.

use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use crate::pid_file::{self, PidFileError};
use crate::state_dir::{ATTACH_SOCKET, EXIT_FIFO, PID, PROCESS};
use crate::{ProcessRef, StateDir};

/// The program name under which [`crate::sys::spawn`] starts every shim, independent of the binary's name.
pub const PROGRAM: &str = "isulad-shim";
/// A process that exits has no arguments for a moment before it is gone, so they are read repeatedly.
const ATTEMPTS: u32 = 50;
const PAUSE: Duration = Duration::from_millis(2);

/// The living shims, and the reason why `shim-pid` was rejected, if it was.
#[derive(Debug, Default)]
pub struct Shims {
    pub living: Vec<ProcessRef>,
    pub problem: Option<PidFileError>,
}

/// The living shim that `shim-pid` names; `None` when there is none. A living process that is not the shim of this
/// directory is an error. Blocks.
pub fn named(state: &StateDir) -> Result<Option<ProcessRef>, PidFileError> {
    let path = state.shim_pid();
    let Some(process) = pid_file::read(&path)? else { return Ok(None) };
    for _ in 0..ATTEMPTS {
        let arguments =
            arguments_of(process.pid).map_err(|source| PidFileError::Read { path: path.clone(), source })?;
        // Order: `alive` comes after the arguments are read, since those of a later process with this pid prove
        // nothing.
        if !process.alive() {
            return Ok(None);
        }
        if is_shim_of(state, &arguments) {
            return Ok(Some(process));
        }
        if !arguments.is_empty() {
            break;
        }
        std::thread::sleep(PAUSE);
    }
    Err(PidFileError::Foreign { path, pid: process.pid })
}

/// The shim that `shim-pid` names. Where that file is missing, damaged, foreign or stale while the directory shows
/// traces of a shim: all shims started for this directory, since a running and an adopting one may both be there.
/// Blocks.
pub fn living(state: &StateDir) -> io::Result<Shims> {
    let has = |name: &str| state.file(name).symlink_metadata().is_ok();
    let problem = match named(state) {
        Ok(Some(shim)) => return Ok(Shims { living: vec![shim], problem: None }),
        // A shim removes its socket before it leaves.
        Ok(None) if state.shim_pid().symlink_metadata().is_ok() && !has(ATTACH_SOCKET) => return Ok(Shims::default()),
        Ok(None) if ![PROCESS, ATTACH_SOCKET, EXIT_FIFO, PID].into_iter().any(has) => return Ok(Shims::default()),
        Ok(None) => None,
        Err(error) => Some(error),
    };
    Ok(Shims { living: started_for(state)?, problem })
}

/// Whether the process was started with this path among its arguments. A runtime has the path of its pid file there.
/// Blocks.
pub fn has_argument(process: ProcessRef, path: &Path) -> bool {
    let arguments = arguments_of(process.pid).unwrap_or_default();
    process.alive() && arguments.iter().any(|word| word == path.as_os_str().as_bytes())
}

/// All processes with the arguments of a shim of this directory.
fn started_for(state: &StateDir) -> io::Result<Vec<ProcessRef>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc")? {
        let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
        // Order: the reference is taken before the arguments are read, so that a later process with this pid is not
        // signalled.
        let process = match ProcessRef::of(pid) {
            Ok(process) => process,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        if is_shim_of(state, &arguments_of(pid)?) && process.alive() {
            found.push(process);
        }
    }
    Ok(found)
}

/// `isulad-shim <mode> <directory>`.
fn is_shim_of(state: &StateDir, arguments: &[Vec<u8>]) -> bool {
    let [program, _, directory, ..] = arguments else { return false };
    // A wrapper may have started it by its path.
    let program = Path::new(std::ffi::OsStr::from_bytes(program)).file_name();
    program.is_some_and(|name| name == PROGRAM)
        && is_same(Path::new(std::ffi::OsStr::from_bytes(directory)), state.path())
}

/// Compares by name, or by device and inode where the daemon was started with another path of the directory.
fn is_same(one: &Path, other: &Path) -> bool {
    let identity = |path: &Path| path.metadata().ok().map(|facts| (facts.dev(), facts.ino()));
    let same = || one.is_absolute() && one.file_name() == other.file_name() && identity(one) == identity(other);
    one == other || (same() && identity(one).is_some())
}

/// Empty for a process that is gone.
fn arguments_of(pid: i32) -> io::Result<Vec<Vec<u8>>> {
    match std::fs::read(format!("/proc/{pid}/cmdline")) {
        Ok(line) if line.is_empty() => Ok(Vec::new()),
        Ok(line) => Ok(line.split(|byte| *byte == 0).map(<[u8]>::to_vec).collect()),
        Err(error) if error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(libc::ESRCH) => {
            Ok(Vec::new())
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::CommandExt;
    use std::process::{Child, Command, Stdio};

    /// A process with the arguments of a shim; ended with the test.
    struct Shim(Child);

    impl Shim {
        fn of(mode: &str, directory: &Path) -> Self {
            let mut command = Command::new("sh");
            let script = directory.join(mode);
            std::fs::write(&script, "read line\n").unwrap();
            command.arg0(PROGRAM).arg(script).arg(directory).stdin(Stdio::piped());
            Self(command.spawn().unwrap())
        }

        fn process(&self) -> ProcessRef {
            ProcessRef::of(self.0.id().cast_signed()).unwrap()
        }
    }

    impl Drop for Shim {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    #[test]
    fn a_foreign_shim_is_rejected_and_all_own_shims_are_found() {
        let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (state, others) = (StateDir::new(dir.path()), StateDir::new(other.path()));
        let [run, adopt] = ["run", "adopt"].map(|mode| Shim::of(mode, dir.path()));
        let foreign = Shim::of("run", other.path());
        let both = || {
            let found = living(&state).unwrap();
            let wanted = [run.process(), adopt.process()];
            assert!(found.living.len() == 2 && wanted.iter().all(|shim| found.living.contains(shim)), "{found:?}");
            found.problem.map(|problem| problem.to_string()).unwrap_or_default()
        };
        // The shim of another container, and a process that is no shim.
        for process in [foreign.process(), ProcessRef::current().unwrap()] {
            pid_file::write(&state.shim_pid(), process).unwrap();
            assert!(matches!(named(&state), Err(PidFileError::Foreign { pid, .. }) if pid == process.pid));
            assert!(both().contains("/shim-pid`"));
        }
        std::fs::write(state.shim_pid(), "").unwrap();
        assert!(both().contains("/shim-pid`"));
        // A missing file counts as damaged where there are traces of a shim; otherwise there was no shim.
        std::fs::remove_file(state.shim_pid()).unwrap();
        assert!(living(&state).unwrap().living.is_empty());
        std::fs::write(state.process(), "{}").unwrap();
        assert_eq!(both(), "");
        pid_file::write(&state.shim_pid(), adopt.process()).unwrap();
        assert_eq!(living(&state).unwrap().living, [adopt.process()]);
        assert_eq!(named(&others).unwrap(), None);
        pid_file::write(&others.shim_pid(), foreign.process()).unwrap();
        assert_eq!(named(&others).unwrap(), Some(foreign.process()));
    }

    #[test]
    fn a_directory_may_have_another_path() {
        let dir = tempfile::tempdir().unwrap();
        let (real, alias) = (dir.path().join("real"), dir.path().join("alias"));
        std::fs::create_dir_all(real.join("x")).unwrap();
        std::os::unix::fs::symlink(&real, &alias).unwrap();
        let shim = Shim::of("run", &real.join("x"));
        let state = StateDir::new(alias.join("x"));
        pid_file::write(&state.shim_pid(), shim.process()).unwrap();
        assert_eq!(named(&state).unwrap(), Some(shim.process()));
    }
}
