//! Detaches this process from its starter: own process group, child of process 1, no inherited descriptors, known by
//! `shim-pid`.

use std::fs;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use isulad_shim::sys::inherited;
use isulad_shim::sys::spawn::{CLIENT_FD, Mode, READY_FD};
use isulad_shim::{ProcessRef, StateDir, failpoint, pid_file, shims};
use nix::sys::stat::Mode as FileMode;
use rustix::fs::OFlags;

use super::answer::Answer;

/// The score that makes the kernel's OOM killer prefer other processes: losing the shim costs more than it frees.
const OOM_SCORE: &str = "-998";

/// Takes over the descriptors the daemon passed, and closes all others.
pub(crate) fn take_descriptors() -> anyhow::Result<(Answer, Option<OwnedFd>)> {
    inherited::close_from(CLIENT_FD + 1).context("cannot close inherited descriptors")?;
    let client = inherited::take(CLIENT_FD);
    let ready = inherited::take(READY_FD).context("descriptor 3, the readiness pipe, is not open")?;
    Ok((Answer::new(ready), client))
}

/// The same for the shim of an exec.
pub(crate) fn take_client() -> anyhow::Result<OwnedFd> {
    inherited::close_from(CLIENT_FD + 1).context("cannot close inherited descriptors")?;
    // This number is the readiness pipe of a container's shim; an exec has none.
    drop(inherited::take(READY_FD));
    inherited::take(CLIENT_FD).context("descriptor 4, the client's socket, is not open")
}

/// Keeps the process that was started, in a group of its own out of reach of the daemon's terminal, and writes
/// `shim-pid`.
pub(crate) fn stay(state: &StateDir) -> anyhow::Result<ProcessRef> {
    let itself = nix::unistd::Pid::from_raw(0);
    nix::unistd::setpgid(itself, itself).context("cannot start a process group")?;
    let me = ProcessRef::current().context("cannot read the shim's start time")?;
    pid_file::write(&state.shim_pid(), me)?;
    Ok(me)
}

/// Continues in a forked process, once `shim-pid` names it; the process that was started exits with 0.
pub(crate) fn detach(mode: Mode, state: &StateDir) -> anyhow::Result<ProcessRef> {
    if mode == Mode::Adopt
        // A damaged or foreign `shim-pid` does not prevent an adoption: the daemon has seen that the shim is gone.
        && let Ok(Some(other)) = shims::named(state)
    {
        bail!("the shim with pid {} is still alive", other.pid);
    }
    // A process group of its own, out of reach of the daemon's terminal. A session would come with a scheduling group
    // of its own (autogroup), in which the runtime takes longer: it is started after the launch.
    let itself = nix::unistd::Pid::from_raw(0);
    nix::unistd::setpgid(itself, itself).context("cannot start a process group")?;
    let (mut release_read, mut release_write) = std::io::pipe().context("cannot make a pipe")?;
    if inherited::fork().context("cannot fork")?.is_some() {
        drop(release_write);
        // The forked half reports the outcome itself; without the byte it is dead.
        let written = release_read.read_exact(&mut [0]).is_ok();
        std::process::exit(if written { 0 } else { 1 });
    }
    drop(release_read);
    let me = ProcessRef::current().context("cannot read the shim's start time")?;
    failpoint::hit(failpoint::BEFORE_SHIM_PID);
    pid_file::write(&state.shim_pid(), me)?;
    failpoint::hit(failpoint::AFTER_SHIM_PID);
    // Waiting for the first half to exit would cost a context switch and prove nothing.
    release_write.write_all(&[1]).context("cannot release the process that was started")?;
    Ok(me)
}

/// Prepares the process for running the runtime: orphaned processes are reparented to the shim, its messages go to
/// `shim.log`, names in the state directory need no long path.
pub(crate) fn settle(state: &StateDir) -> anyhow::Result<()> {
    nix::sys::prctl::set_child_subreaper(true).context("cannot become a subreaper")?;
    // The runtime makes mount points with the inherited umask.
    nix::sys::stat::umask(FileMode::S_IWGRP | FileMode::S_IWOTH);
    std::env::set_current_dir(state.path())
        .with_context(|| format!("cannot enter the state directory `{}`", state.path().display()))?;
    let null = open("/dev/null", OFlags::RDWR)?;
    nix::unistd::dup2_stdin(&null)?;
    nix::unistd::dup2_stdout(&null)?;
    let log = open(isulad_shim::state_dir::SHIM_LOG, OFlags::WRONLY | OFlags::CREATE | OFlags::APPEND)?;
    nix::unistd::dup2_stderr(&log)?;
    Ok(())
}

/// Starts a session, then does the same as [`shelter`]. Call it after the launch only: a runtime would inherit the
/// session.
pub(crate) fn protect(cgroup_procs: &[PathBuf]) {
    if let Err(errno) = nix::unistd::setsid() {
        eprintln!("isulad-shim: cannot start a session: {errno}");
    }
    shelter(cgroup_procs);
}

/// Moves this process to cgroups where it outlives a service manager's stop, protects it from the OOM killer, and
/// frees its memory. Call it after the launch only: a runtime would inherit the first two, and moving waits for the
/// kernel. Each step is best effort.
pub(crate) fn shelter(cgroup_procs: &[PathBuf]) {
    for path in cgroup_procs {
        if let Err(error) = fs::write(path, "0") {
            eprintln!("isulad-shim: cannot join the cgroup of `{}`: {error}", path.display());
        }
    }
    // Refused without CAP_SYS_RESOURCE; the operator may run the daemon without it.
    let _ = fs::write("/proc/self/oom_score_adj", OOM_SCORE);
    // From here on the shim mostly waits.
    isulad_shim::sys::resident::leave_code();
}

fn open(path: impl AsRef<Path>, flags: OFlags) -> anyhow::Result<OwnedFd> {
    let path = path.as_ref();
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::open(path, flags | OFlags::CLOEXEC, mode).with_context(|| format!("cannot open `{}`", path.display()))
}
