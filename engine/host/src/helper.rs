//! Runs a program for a moment and waits for its answer: a runtime, `ps`. It has a process group of its own and a
//! deadline. When its caller gives up, its whole process tree is ended, and it does not outlive the daemon: a later
//! start or the next daemon finds no helper at work.

use std::io;
use std::process::Output;
use std::time::Duration;

use isulad_shim::{ProcessRef, tree};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};

use crate::sys;

/// How long killed processes may take to be gone.
const KILL_PATIENCE: Duration = Duration::from_secs(10);

#[derive(Debug, thiserror::Error)]
pub enum HelperError {
    /// The deadline passed; the process tree was ended.
    #[error("it did not end in time")]
    Slow,
    /// The process tree was ended.
    #[error("its output is too long")]
    TooMuch,
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// The deadline, the allowed output, and the bytes kept of stderr.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub deadline: Duration,
    pub output: u64,
    pub errors: u64,
}

/// Runs the program to its end. Dropping the future ends its process tree. Fails when the deadline or the limit of
/// output is exceeded.
pub async fn run(mut command: Command, input: &[u8], limits: Limits) -> Result<Output, HelperError> {
    sys::die_with_parent(command.process_group(0).kill_on_drop(true));
    let mut helper = Helper::of(command.spawn()?);
    match tokio::time::timeout(limits.deadline, helper.talk(input, limits)).await {
        Ok(Ok(output)) => {
            helper.leave();
            Ok(output)
        }
        Ok(Err(error)) => {
            helper.end().await;
            Err(error)
        }
        Err(_) => {
            helper.end().await;
            Err(HelperError::Slow)
        }
    }
}

/// A running program. Dropping it ends the program's process tree.
struct Helper {
    child: Option<Child>,
    /// `None`: it has ended and was reaped already.
    root: Option<ProcessRef>,
}

impl Helper {
    fn of(child: Child) -> Self {
        // Not reaped before it is waited for, so its pid is not reused.
        let root = child.id().and_then(|pid| ProcessRef::of(pid.cast_signed()).ok());
        Self { child: Some(child), root }
    }

    async fn talk(&mut self, input: &[u8], limits: Limits) -> Result<Output, HelperError> {
        let child = self.child.as_mut().ok_or(io::Error::from(io::ErrorKind::NotFound))?;
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let writing = async {
            if let Some(mut stdin) = stdin {
                // A program that does not read its input reports why on stderr, which is the better error.
                let _ = stdin.write_all(input).await;
            }
            Ok(())
        };
        let ((), stdout, stderr) =
            tokio::try_join!(writing, read(stdout, limits.output), read_beginning(stderr, limits.errors))?;
        Ok(Output { status: child.wait().await?, stdout, stderr })
    }

    /// The program has ended by itself: processes that it leaves running are intended.
    fn leave(&mut self) {
        self.child = None;
    }

    async fn end(&mut self) {
        if let Some(work) = self.ending() {
            let _ = tokio::task::spawn_blocking(work).await;
        }
    }

    /// Ends the process tree. Blocks.
    fn ending(&mut self) -> Option<impl FnOnce() + Send + 'static> {
        let (child, root) = (self.child.take()?, self.root?);
        Some(move || {
            if !tree::kill(&[root], KILL_PATIENCE) {
                tracing::warn!(pid = root.pid, "a program of the daemon was killed and does not end");
            }
            drop(child);
        })
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        if let Some(work) = self.ending() {
            // Without a tokio runtime the child is killed with its handle.
            if let Ok(runtime) = tokio::runtime::Handle::try_current() {
                drop(runtime.spawn_blocking(work));
            }
        }
    }
}

async fn read(from: Option<impl AsyncRead + Unpin>, limit: u64) -> Result<Vec<u8>, HelperError> {
    let mut bytes = Vec::new();
    if let Some(from) = from {
        from.take(limit + 1).read_to_end(&mut bytes).await?;
    }
    if bytes.len() as u64 > limit { Err(HelperError::TooMuch) } else { Ok(bytes) }
}

/// Output beyond the limit is read and dropped, so that the program does not block on a full pipe.
async fn read_beginning(from: Option<impl AsyncRead + Unpin>, limit: u64) -> Result<Vec<u8>, HelperError> {
    let mut bytes = Vec::new();
    if let Some(mut from) = from {
        (&mut from).take(limit).read_to_end(&mut bytes).await?;
        tokio::io::copy(&mut from, &mut tokio::io::sink()).await?;
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;
    use std::process::Stdio;

    const LIMITS: Limits = Limits { deadline: Duration::from_secs(60), output: 64, errors: 16 };

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn pids(marks: &Path) -> Vec<ProcessRef> {
        let text = std::fs::read_to_string(marks).unwrap_or_default();
        text.lines().filter_map(|line| ProcessRef::of(line.parse().ok()?).ok()).collect()
    }

    /// The shell itself, a child, and an orphan in its group.
    fn hanging(marks: &Path) -> Command {
        let marks = marks.display();
        shell(&format!("(sleep 1000 & echo $! >>{marks}); sleep 1001 & echo $! >>{marks}; echo $$ >>{marks}; wait"))
    }

    async fn until(what: &str, holds: impl Fn() -> bool) {
        let end = tokio::time::Instant::now() + Duration::from_secs(120);
        while !holds() {
            assert!(tokio::time::Instant::now() < end, "{what}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    #[tokio::test]
    async fn output_and_status_are_returned() {
        let output = run(shell("cat; echo no >&2; exit 3"), b"hello", LIMITS).await.unwrap();
        assert_eq!(
            (output.status.code(), &output.stdout[..], &output.stderr[..]),
            (Some(3), &b"hello"[..], &b"no\n"[..])
        );
        let output = run(shell("yes no | head -c 100000 >&2; seq 9 >&1"), b"", LIMITS).await.unwrap();
        assert_eq!((output.stdout.len(), output.stderr.len()), (18, 16));
        assert!(matches!(run(shell("exec yes"), b"", LIMITS).await, Err(HelperError::TooMuch)));
    }

    #[tokio::test]
    async fn a_deadline_ends_the_process_tree() {
        let dir = tempfile::tempdir().unwrap();
        let marks = dir.path().join("marks");
        // Long enough for all three to exist even under load; if not, fewer are ended.
        let limits = Limits { deadline: Duration::from_secs(2), ..LIMITS };
        assert!(matches!(run(hanging(&marks), b"", limits).await, Err(HelperError::Slow)));
        let left: Vec<_> = pids(&marks).into_iter().filter(ProcessRef::alive).collect();
        assert!(left.is_empty(), "{left:?}");
    }

    #[tokio::test]
    async fn a_cancelled_call_ends_its_process_tree() {
        let dir = tempfile::tempdir().unwrap();
        let marks = dir.path().join("marks");
        let running = tokio::spawn(run(hanging(&marks), b"", LIMITS));
        until("all three are there", || pids(&marks).len() == 3).await;
        let members = pids(&marks);
        running.abort();
        until("all are gone", || members.iter().all(|process| !process.alive())).await;
    }

    #[test]
    fn a_helper_does_not_outlive_the_thread_that_started_it() {
        let dir = tempfile::tempdir().unwrap();
        let marks = dir.path().join("marks");
        let of = marks.clone();
        // As in a killed daemon: no destructor runs.
        std::thread::spawn(move || {
            let mut command = std::process::Command::new("sh");
            command.args(["-c", &format!("echo $$ >{0}.new; mv {0}.new {0}; exec sleep 1000", of.display())]);
            let mut command = Command::from(command);
            sys::die_with_parent(&mut command);
            std::mem::forget(command.as_std_mut().spawn().unwrap());
            while !of.exists() {
                std::thread::yield_now();
            }
        })
        .join()
        .unwrap();
        let process = pids(&marks);
        let end = std::time::Instant::now() + Duration::from_secs(60);
        while process.iter().any(ProcessRef::alive) {
            assert!(std::time::Instant::now() < end);
            std::thread::yield_now();
        }
    }
}
