//! Namespaces of their own: kills, mounts and routes inside cannot reach the machine, and end with process 1.
//!
//! Three processes of this program: the outer one, which makes the scratch directory and clears it; process 1 inside,
//! which reaps the orphans (every shim is one); and the worker.

use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, ensure};
use integration::{binaries, cgroup};
use nix::sys::wait::{WaitStatus, wait};
use nix::unistd::Pid;
use tokio::signal::unix::{SignalKind, signal};

use super::options::Options;

/// First argument of process 1.
pub(crate) const INIT: &str = "as-init";
/// First argument of the worker.
pub(crate) const INSIDE: &str = "inside";

/// Is made in the scratch directory with the first violation.
pub(crate) const BROKEN: &str = "broken";

/// crun takes a machine with both versions of cgroups for one of version 2: the second is hidden. `/run` has locks and
/// sockets of the machine.
const SETUP: &str =
    "umount /sys/fs/cgroup/unified 2>/dev/null; mount -t tmpfs tmpfs /run && ip link set lo up && exec \"$@\"";

/// Runs all of it; `true` when every reply held.
pub(crate) fn run(options: &Options) -> anyhow::Result<bool> {
    ensure!(rustix::process::geteuid().is_root(), "root is needed");
    for program in ["unshare", "busybox", "runc", "crun", "ip", "iptables"] {
        binaries::required(program);
    }
    let scratch = tempfile::Builder::new().prefix("isula-chaos-").tempdir_in("/tmp")?;
    let options = Options { scratch: scratch.path().to_owned(), ..options.clone() };
    println!(
        "chaos: seed {}, {:.1} minutes, {} clients",
        options.seed,
        options.length.as_secs_f64() / 60.0,
        options.clients
    );
    let mut command = tokio::process::Command::new(binaries::required("unshare"));
    command.args(["--pid", "--fork", "--kill-child", "--mount", "--mount-proc", "--net", "--uts", "--ipc"]);
    command.args(["--propagation", "private", "sh", "-c", SETUP, "sh"]);
    command.arg(std::env::current_exe()?).arg(INIT).args(options.words()).stdin(Stdio::null());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let status = runtime.block_on(async {
        let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        let mut child = command.spawn().context("cannot run unshare")?;
        tokio::select! {
            status = child.wait() => return anyhow::Ok(Some(status?)),
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        // Its child goes with it, and everything in the namespace with that.
        child.kill().await?;
        anyhow::Ok(None)
    })?;
    cgroup::clear(&cgroup_parent(&options));
    let held = status.is_some_and(|status| status.success());
    // Interrupted runs may have found something before.
    if options.keep || (status.is_some() && !held) || options.scratch.join(BROKEN).exists() {
        println!("chaos: kept {}", scratch.keep().display());
    }
    match status.and_then(|status| status.code()) {
        Some(0 | 1) => Ok(held),
        Some(code) => anyhow::bail!("what ran inside ended with {code}"),
        None => anyhow::bail!("interrupted"),
    }
}

/// The containers' cgroups are below this one; a pid would not do, since inside it is always the same.
pub(crate) fn cgroup_parent(options: &Options) -> String {
    let name = options.scratch.file_name().unwrap_or_default().to_string_lossy().into_owned();
    format!("/{name}")
}

/// Process 1: starts the worker and reaps until it ends.
pub(crate) fn init(words: &[String]) -> ExitCode {
    let child = std::env::current_exe().and_then(|own| Command::new(own).arg(INSIDE).args(words).spawn());
    let child = match child {
        Ok(child) => Pid::from_raw(child.id().cast_signed()),
        Err(error) => {
            eprintln!("chaos: cannot run itself: {error}");
            return ExitCode::from(2);
        }
    };
    loop {
        match wait() {
            Ok(WaitStatus::Exited(pid, code)) if pid == child => {
                return ExitCode::from(u8::try_from(code).unwrap_or(2));
            }
            Ok(WaitStatus::Signaled(pid, signal, _)) if pid == child => {
                eprintln!("chaos: {signal} ended what ran inside");
                return ExitCode::from(2);
            }
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(errno) => {
                eprintln!("chaos: cannot wait: {errno}");
                return ExitCode::from(2);
            }
        }
    }
}
