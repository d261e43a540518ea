//! Makes this process one that stands alone: own session, child of process 1, no inherited descriptors, known by
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

/// The score that makes the kernel's OOM killer look elsewhere: losing the shim costs more than it frees.
const OOM_SCORE: &str = "-998";

/// Owns what the daemon passed, closes everything else.
pub(crate) fn take_descriptors() -> anyhow::Result<(Answer, Option<OwnedFd>)> {
    inherited::close_from(CLIENT_FD + 1).context("cannot close inherited descriptors")?;
    let client = inherited::take(CLIENT_FD);
    let ready = inherited::take(READY_FD).context("descriptor 3, the readiness pipe, is not open")?;
    Ok((Answer::new(ready), client))
}

/// The same for the shim of an exec.
pub(crate) fn take_client() -> anyhow::Result<OwnedFd> {
    inherited::close_from(CLIENT_FD + 1).context("cannot close inherited descriptors")?;
    // Where a container's shim has its readiness pipe.
    drop(inherited::take(READY_FD));
    inherited::take(CLIENT_FD).context("descriptor 4, the client's socket, is not open")
}

/// Stays the process that was started, out of reach of the daemon's terminal, with `shim-pid` written.
pub(crate) fn stay(state: &StateDir) -> anyhow::Result<ProcessRef> {
    let itself = nix::unistd::Pid::from_raw(0);
    nix::unistd::setpgid(itself, itself).context("cannot start a process group")?;
    let me = ProcessRef::current().context("cannot read the shim's start time")?;
    pid_file::write(&state.shim_pid(), me)?;
    Ok(me)
}

/// Goes on in a process of its own, after `shim-pid` names it; the one that was started leaves with 0.
pub(crate) fn detach(mode: Mode, state: &StateDir) -> anyhow::Result<ProcessRef> {
    if mode == Mode::Adopt
        // One that is damaged or another's keeps nobody from taking its place: the daemon has seen that the shim is gone.
        && let Ok(Some(other)) = shims::named(state)
    {
        bail!("the shim with pid {} is still alive", other.pid);
    }
    // A group of its own, out of reach of the daemon's terminal. A session would come with a scheduling group of its own
    // (autogroup), in which the runtime takes longer: that follows after the launch.
    let itself = nix::unistd::Pid::from_raw(0);
    nix::unistd::setpgid(itself, itself).context("cannot start a process group")?;
    let (mut told, mut tell) = std::io::pipe().context("cannot make a pipe")?;
    if inherited::fork().context("cannot fork")?.is_some() {
        drop(tell);
        // The other half answers for itself; without its word it is dead.
        let written = told.read_exact(&mut [0]).is_ok();
        std::process::exit(if written { 0 } else { 1 });
    }
    drop(told);
    let me = ProcessRef::current().context("cannot read the shim's start time")?;
    failpoint::hit(failpoint::BEFORE_SHIM_PID);
    pid_file::write(&state.shim_pid(), me)?;
    failpoint::hit(failpoint::AFTER_SHIM_PID);
    // Waiting for the first half to go would cost a change of processes and prove nothing.
    tell.write_all(&[1]).context("cannot release the process that was started")?;
    Ok(me)
}

/// What must hold before the runtime is run: its orphans come to us, our words go to `shim.log`, names in the state
/// directory need no long path.
pub(crate) fn settle(state: &StateDir) -> anyhow::Result<()> {
    nix::sys::prctl::set_child_subreaper(true).context("cannot become a subreaper")?;
    // The runtime makes mount points with what it inherits.
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

/// Starts a session, and does what [`shelter`] does. Only after the launch: a runtime would inherit it.
pub(crate) fn protect(cgroup_procs: &[PathBuf]) {
    if let Err(errno) = nix::unistd::setsid() {
        eprintln!("isulad-shim: cannot start a session: {errno}");
    }
    shelter(cgroup_procs);
}

/// Moves this process where it outlives a service manager's stop, protects it from the OOM killer, and makes it small. Only
/// after the launch: a runtime would inherit the first two, and moving waits for the kernel. Each is best effort.
pub(crate) fn shelter(cgroup_procs: &[PathBuf]) {
    for path in cgroup_procs {
        if let Err(error) = fs::write(path, "0") {
            eprintln!("isulad-shim: cannot join the cgroup of `{}`: {error}", path.display());
        }
    }
    // Refused without CAP_SYS_RESOURCE, which is a choice of whoever runs the daemon.
    let _ = fs::write("/proc/self/oom_score_adj", OOM_SCORE);
    // What follows is mostly waiting.
    isulad_shim::sys::resident::leave_code();
}

fn open(path: impl AsRef<Path>, flags: OFlags) -> anyhow::Result<OwnedFd> {
    let path = path.as_ref();
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::open(path, flags | OFlags::CLOEXEC, mode).with_context(|| format!("cannot open `{}`", path.display()))
}
