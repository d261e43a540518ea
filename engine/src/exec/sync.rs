//! Runs a process to its end and captures its output: for probes, and for callers that need no stream.

use std::sync::Arc;
use std::time::Duration;

use super::begin::{Exec, ExecOptions, PreparedExec, go, prepare};
use super::keep::{ended_at, status_of};
use super::{ExecError, Execs, Program};
use crate::domain::container::ExitStatus;
use crate::domain::id::{ContainerId, Timestamp};
use crate::session::{Output, SessionEvent};

/// How long the call waits for the end of a killed tree.
const KILL_PATIENCE: Duration = Duration::from_secs(15);

/// The exit and the output of a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Captured {
    pub status: ExitStatus,
    pub at: Timestamp,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
}

impl Execs {
    /// The largest part of each stream that a caller gets.
    pub(crate) const OUTPUT_LIMIT: usize = 16 << 20;

    /// Runs a process without input to its end. Of each stream at most `limit` bytes are kept; further bytes are read
    /// and dropped, so that the process does not block on its output. After `timeout` (`None` is no limit) the process
    /// and everything that it has started are killed, and it is [`ExecError::Timeout`]; the call then takes up to a few
    /// seconds longer where the kernel ends processes slowly. Dropping the future kills likewise. Nothing of it is
    /// recorded in the journal. Many may run at once.
    pub(crate) async fn exec_sync(
        self: &Arc<Self>,
        id: ContainerId,
        program: &Program,
        timeout: Option<Duration>,
        limit: usize,
    ) -> Result<Captured, ExecError> {
        let begun = prepare(self, id, program, ExecOptions::default(), None);
        let Some(timeout) = timeout else {
            let PreparedExec { first, exec, session, .. } = begun.await?;
            return capture(go(first, exec, session).await?, limit).await;
        };
        let deadline = tokio::time::Instant::now() + timeout;
        let late = || ExecError::Timeout { limit: timeout };
        let PreparedExec { first, exec, session, finished } =
            tokio::time::timeout_at(deadline, begun).await.map_err(|_| late())??;
        let running = async { capture(go(first, exec, session).await?, limit).await };
        match tokio::time::timeout_at(deadline, running).await {
            Ok(outcome) => outcome,
            // The session was dropped with the future above, upon which the shim kills.
            Err(_) => {
                if tokio::time::timeout(KILL_PATIENCE, finished).await.is_err() {
                    self.node.warn(format!("container {}: the processes of a probe are not gone yet", id.short()));
                }
                Err(late())
            }
        }
    }
}

async fn capture(exec: Exec, limit: usize) -> Result<Captured, ExecError> {
    // The input lives until the end: dropping both halves would end the process.
    let Exec { input: _input, mut output, .. } = exec;
    collect(&mut output, limit).await
}

async fn collect(output: &mut Output, limit: usize) -> Result<Captured, ExecError> {
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    loop {
        match output.next().await {
            SessionEvent::Stdout(bytes) => append(&mut stdout, &bytes, limit),
            SessionEvent::Stderr(bytes) => append(&mut stderr, &bytes, limit),
            SessionEvent::Exited(exit) => {
                return Ok(Captured { status: status_of(exit.status), at: ended_at(exit), stdout, stderr });
            }
            SessionEvent::Failed(failed) => return Err(ExecError::failed(&failed)),
            SessionEvent::Lost => return Err(ExecError::ShimDied),
            SessionEvent::Ready(_) | SessionEvent::Done(_) | SessionEvent::Refused(..) => {}
        }
    }
}

fn append(kept: &mut Vec<u8>, bytes: &[u8], limit: usize) {
    let room = limit.saturating_sub(kept.len());
    kept.extend_from_slice(&bytes[..bytes.len().min(room)]);
}
