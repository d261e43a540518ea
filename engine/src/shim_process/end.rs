//! The end of shims, with all that they have started.

use std::io;
use std::time::Duration;

use isulad_shim::{ProcessRef, StateDir, shims, tree};

use crate::cancel;
use crate::cause::chain;

/// How long killed processes may take to end.
pub(crate) const KILL_PATIENCE: Duration = Duration::from_secs(10);

/// Kills the shims of this directory, with all that they have started, and waits for their end: a runtime that a shim
/// has begun would go on, and reach a later start.
pub(crate) async fn end_shim(state: &StateDir) -> io::Result<()> {
    end_shims_but(state, &[]).await
}

/// The same, except for shims that were there before.
pub(crate) async fn end_shims_but(state: &StateDir, spared: &[ProcessRef]) -> io::Result<()> {
    let (state, spared) = (state.clone(), spared.to_vec());
    let ending = cancel::blocking(move |_| end_shims_now(&state, &spared));
    ending.await.map_err(io::Error::other)?
}

/// The same. Blocks for as long as processes need to end.
pub(crate) fn end_shims_now(state: &StateDir, spared: &[ProcessRef]) -> io::Result<()> {
    let living: Vec<_> = living_shims(state)?.into_iter().filter(|shim| !spared.contains(shim)).collect();
    if living.is_empty() || tree::kill(&living, KILL_PATIENCE) { Ok(()) } else { Err(io::ErrorKind::TimedOut.into()) }
}

/// The living shims of this directory, by their arguments; a `shim-pid` that names another process is a warning.
/// Blocks.
pub(crate) fn living_shims(state: &StateDir) -> io::Result<Vec<ProcessRef>> {
    let found = shims::living(state)?;
    if let Some(problem) = found.problem {
        tracing::warn!(error = chain(&problem), "the shim is looked for by its arguments");
    }
    Ok(found.living)
}

#[cfg(test)]
mod tests {
    use isulad_shim::pid_file;

    use super::*;
    use std::io::{BufRead, BufReader};
    use std::os::unix::process::CommandExt;
    use std::process::{Command, Stdio};

    #[tokio::test]
    async fn a_shim_ends_with_all_that_it_has_started() {
        let dir = tempfile::tempdir().unwrap();
        let state = isulad_shim::StateDir::new(dir.path());
        end_shim(&state).await.unwrap();
        let script = dir.path().join("script");
        std::fs::write(&script, "(sleep 1000 & echo $!); setsid sleep 1001 & echo $!; echo done; wait").unwrap();
        let mut command = Command::new("sh");
        command.arg0(shims::PROGRAM).arg(script).arg(dir.path()).process_group(0).stdout(Stdio::piped());
        let mut shim = command.spawn().unwrap();
        let lines = BufReader::new(shim.stdout.take().unwrap()).lines().map(Result::unwrap);
        let started: Vec<_> =
            lines.take_while(|line| line != "done").map(|pid| ProcessRef::of(pid.parse().unwrap()).unwrap()).collect();
        assert_eq!(started.len(), 2);
        pid_file::write(&state.shim_pid(), ProcessRef::of(shim.id() as i32).unwrap()).unwrap();
        end_shim(&state).await.unwrap();
        shim.wait().unwrap();
        assert!(started.iter().all(|process| !process.alive()));
        // The shim is gone, and a stale pid is no error.
        end_shim(&state).await.unwrap();
    }
}
