//! Exec: a process with a client's streams, or a detached one.

use cri_api::isula::v1::exec_input::Input;
use cri_api::isula::v1::exec_output::Output;
use cri_api::isula::v1::{ExecInput, ExecOpen, ExecOutput, ExecStarted, WindowSize};
use isulad_shim::control::Streams;
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use super::program;
use crate::api::native::container::{exit_status, start_failure};
use crate::api::native::relay::{self, IN_FLIGHT, RelayEnd};
use crate::api::native::{ApiError, Native};
use crate::cause::chain;
use crate::containers;
use crate::exec::{Exec, ExecOptions, ended_at, release, status_of};
use crate::journal::record::Context;
use crate::session::{Exit, Size};

impl Native {
    pub(super) async fn exec_streams(
        &self,
        mut input: Streaming<ExecInput>,
        context: Context,
    ) -> Result<ReceiverStream<Result<ExecOutput, Status>>, ApiError> {
        let open = match input.next().await {
            Some(Ok(ExecInput { input: Some(Input::Open(open)) })) => open,
            _ => return Err(ApiError::invalid("the first message of an exec must be `open`")),
        };
        let ExecOpen { process, stdin, stdout, stderr, detach, size } = open;
        let (reference, program) = program(process)?;
        let target = self.target(&reference)?;
        let options = ExecOptions { stdin, size: window(size)?, detached: detach };
        let (sender, receiver) = mpsc::channel(IN_FLIGHT);
        let exec = match containers::exec(&self.engine, target, program, options, &context).await? {
            Ok(exec) => exec,
            Err(failure) => {
                let _ = sender.send(Ok(wrap(Output::Failed(start_failure(failure))))).await;
                return Ok(ReceiverStream::new(receiver));
            }
        };
        let started = ExecStarted { exec_id: exec.exec.to_string(), pid: exec.pid.unsigned_abs() };
        let _ = sender.send(Ok(wrap(Output::Started(started)))).await;
        if !detach {
            tokio::spawn(serve(exec, input, sender, Streams { stdin, stdout, stderr }));
        }
        Ok(ReceiverStream::new(receiver))
    }
}

/// The size of the client's window; 0 is sent by a terminal of unknown size.
fn window(size: Option<WindowSize>) -> Result<Option<Size>, ApiError> {
    match size {
        None | Some(WindowSize { width: 0, .. } | WindowSize { height: 0, .. }) => Ok(None),
        Some(WindowSize { width, height }) => Size::new(width, height)
            .map(Some)
            .ok_or_else(|| ApiError::invalid(format!("a window of {width} by {height} is no window"))),
    }
}

/// Relays the exec's streams. The process ends with this call, which closes the session; unless the client has
/// detached.
async fn serve(exec: Exec, mut input: Streaming<ExecInput>, sender: relay::Sender<ExecOutput>, wanted: Streams) {
    let mut streams = (exec.input, exec.output);
    let last = match relay::pump(&mut streams, &mut input, &sender, wanted).await {
        RelayEnd::Exited(exit) => Ok(exited(exit)),
        RelayEnd::Lost => {
            Err(Status::data_loss("the shim of the process was lost, and with it output that was on its way"))
        }
        RelayEnd::Refused(message) => Err(Status::failed_precondition(message)),
        // The stream's end is the answer.
        RelayEnd::Detached => match release(streams).await {
            Ok(None) => return,
            Ok(Some(exit)) => Ok(exited(exit)),
            Err(error) => Err(Status::deadline_exceeded(chain(&error))),
        },
        RelayEnd::ClientGone => return,
    };
    let _ = sender.send(last).await;
}

fn exited(exit: Exit) -> ExecOutput {
    wrap(Output::Exited(exit_status(status_of(exit.status), ended_at(exit))))
}

fn wrap(output: Output) -> ExecOutput {
    ExecOutput { output: Some(output) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exit_has_the_shims_time() {
        let exit = Exit { status: isulad_shim::ExitStatus::Code(3), at: Some(1_700_000_000_000_000_001) };
        let Some(Output::Exited(status)) = exited(exit).output else { panic!("no exit") };
        assert_eq!((status.code, status.finished_at), (Some(3), 1_700_000_000_000_000_001));
    }

    #[test]
    fn an_unknown_size_is_none_and_an_invalid_one_is_refused() {
        let of = |width, height| window(Some(WindowSize { width, height }));
        assert_eq!(window(None).unwrap(), None);
        assert_eq!(of(0, 0).unwrap(), None);
        assert_eq!(of(80, 24).unwrap(), Size::new(80, 24));
        assert_eq!(of(80, 70_000).unwrap_err().to_string(), "a window of 80 by 70000 is no window");
    }
}
