//! A process that is run to its end, with what it writes: probes, and whoever needs no stream.

use std::sync::Arc;
use std::time::Duration;

use super::begin::{Begun, Exec, Wish, go, prepare};
use super::keep::{ended_at, status_of};
use super::{ExecError, Program};
use crate::domain::container::ExitStatus;
use crate::domain::id::{ContainerId, Timestamp};
use crate::engine::Engine;
use crate::session::{Output, Told};

/// How long the end of a killed tree is waited for.
const KILL_PATIENCE: Duration = Duration::from_secs(15);

/// What a process has left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Captured {
    pub status: ExitStatus,
    pub at: Timestamp,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
}

impl Engine {
    /// Most of each stream that anybody gets.
    pub const OUTPUT_LIMIT: usize = 16 << 20;

    /// Runs a process without input to its end. Of each stream at most `limit` bytes are kept; what is beyond is read and
    /// dropped, so that it holds nobody up. After `timeout` (`None` is no limit) the process and everything that it has
    /// started are killed, and it is [`ExecError::Timeout`]; the call then takes up to a few seconds longer where the
    /// kernel lets go slowly. Dropping the future kills likewise. Nothing of it is recorded in the journal. Many may
    /// run at once.
    pub async fn exec_sync(
        self: &Arc<Self>,
        id: ContainerId,
        program: &Program,
        timeout: Option<Duration>,
        limit: usize,
    ) -> Result<Captured, ExecError> {
        let begun = prepare(self, id, program, Wish::default(), None);
        let Some(timeout) = timeout else {
            let Begun { of, exec, session, .. } = begun.await?;
            return capture(go(of, exec, session).await?, limit).await;
        };
        let deadline = tokio::time::Instant::now() + timeout;
        let late = || ExecError::Timeout { limit: timeout };
        let Begun { of, exec, session, finished } =
            tokio::time::timeout_at(deadline, begun).await.map_err(|_| late())??;
        let running = async { capture(go(of, exec, session).await?, limit).await };
        match tokio::time::timeout_at(deadline, running).await {
            Ok(outcome) => outcome,
            // The session went with the future above, and the shim kills because of that.
            Err(_) => {
                if tokio::time::timeout(KILL_PATIENCE, finished).await.is_err() {
                    self.warn(format!("container {}: the processes of a probe are not gone yet", id.short()));
                }
                Err(late())
            }
        }
    }
}

async fn capture(exec: Exec, limit: usize) -> Result<Captured, ExecError> {
    // Kept until the end: dropping both halves would end the process.
    let Exec { input: _input, mut output, .. } = exec;
    collect(&mut output, limit).await
}

async fn collect(output: &mut Output, limit: usize) -> Result<Captured, ExecError> {
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    loop {
        match output.next().await {
            Told::Stdout(bytes) => append(&mut stdout, &bytes, limit),
            Told::Stderr(bytes) => append(&mut stderr, &bytes, limit),
            Told::Exited(exit) => {
                return Ok(Captured { status: status_of(exit.status), at: ended_at(exit), stdout, stderr });
            }
            Told::Failed(failed) => return Err(ExecError::failed(&failed)),
            Told::Lost => return Err(ExecError::ShimDied),
            Told::Ready(_) | Told::Done(_) | Told::Refused(..) => {}
        }
    }
}

fn append(kept: &mut Vec<u8>, bytes: &[u8], limit: usize) {
    let room = limit.saturating_sub(kept.len());
    kept.extend_from_slice(&bytes[..bytes.len().min(room)]);
}
