//! Named places where a debug build of the shim kills itself, so that tests can examine the state after a crash there.
//! Release builds contain none of them.

/// The environment variable that picks one failpoint.
pub const VARIABLE: &str = "ISULAD_SHIM_FAILPOINT";

pub const BEFORE_SHIM_PID: &str = "before-shim-pid";
pub const AFTER_SHIM_PID: &str = "after-shim-pid";
pub const BEFORE_RUNTIME: &str = "before-runtime";
pub const AFTER_LAUNCH: &str = "after-launch";
pub const AFTER_PID_FILE: &str = "after-pid-file";
pub const AFTER_READY: &str = "after-ready";
pub const BEFORE_EXIT_RECORD: &str = "before-exit-record";
pub const EXIT_RECORD_WRITTEN: &str = "exit-record-written";
pub const AFTER_EXIT_RECORD: &str = "after-exit-record";
pub const AFTER_EXIT_FIFO: &str = "after-exit-fifo";
pub const AFTER_DELETE: &str = "after-delete";

pub const EXEC_SHIM_PID: &str = "exec-shim-pid";
pub const EXEC_BEFORE_RUNTIME: &str = "exec-before-runtime";
pub const EXEC_SPEC_WRITTEN: &str = "exec-spec-written";
pub const EXEC_LAUNCHED: &str = "exec-launched";
pub const EXEC_READY: &str = "exec-ready";
pub const EXEC_BEFORE_RECORD: &str = "exec-before-record";
pub const EXEC_RECORDED: &str = "exec-recorded";

/// Every failpoint of an exec's shim, in the order an exec reaches them.
pub const ALL_EXEC: [&str; 7] = [
    EXEC_SHIM_PID,
    EXEC_BEFORE_RUNTIME,
    EXEC_SPEC_WRITTEN,
    EXEC_LAUNCHED,
    EXEC_READY,
    EXEC_BEFORE_RECORD,
    EXEC_RECORDED,
];

/// Every failpoint of a container's shim, in the order a start and an exit reach them.
pub const ALL: [&str; 11] = [
    BEFORE_SHIM_PID,
    AFTER_SHIM_PID,
    BEFORE_RUNTIME,
    AFTER_LAUNCH,
    AFTER_PID_FILE,
    AFTER_READY,
    BEFORE_EXIT_RECORD,
    EXIT_RECORD_WRITTEN,
    AFTER_EXIT_RECORD,
    AFTER_EXIT_FIFO,
    AFTER_DELETE,
];

/// Ends this process with SIGKILL if this failpoint was picked.
#[inline]
pub fn hit(_name: &str) {
    #[cfg(debug_assertions)]
    if std::env::var(VARIABLE).is_ok_and(|picked| picked == _name) {
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    }
}
