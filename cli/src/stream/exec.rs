//! The call of a process that is run in a running container.

use cri_api::isula::v1::{Empty, ExecInput, ExecOpen, ExecOutput, WindowSize, exec_input, exec_output};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use super::call::{Call, SessionEvent};
use crate::client::Client;

/// A further process of a container.
pub(crate) struct Exec {
    pub(crate) open: ExecOpen,
}

impl Call for Exec {
    type Input = ExecInput;
    type Output = ExecOutput;

    const ENDS_WITH_US: bool = true;

    fn open(&self, size: Option<WindowSize>) -> ExecInput {
        let open = ExecOpen { size, ..self.open.clone() };
        ExecInput { input: Some(exec_input::Input::Open(open)) }
    }

    fn stdin(bytes: Vec<u8>) -> ExecInput {
        ExecInput { input: Some(exec_input::Input::Stdin(bytes)) }
    }

    fn stdin_closed() -> ExecInput {
        ExecInput { input: Some(exec_input::Input::StdinClosed(Empty {})) }
    }

    fn resize(size: WindowSize) -> ExecInput {
        ExecInput { input: Some(exec_input::Input::Resize(size)) }
    }

    fn detach() -> ExecInput {
        ExecInput { input: Some(exec_input::Input::Detach(Empty {})) }
    }

    async fn begin(&self, client: &Client, input: ReceiverStream<ExecInput>) -> Result<Streaming<ExecOutput>, Status> {
        Ok(client.execs().exec(input).await?.into_inner())
    }

    fn event(output: ExecOutput) -> SessionEvent {
        match output.output {
            Some(exec_output::Output::Started(_)) => SessionEvent::Started(vec![]),
            Some(exec_output::Output::Stdout(bytes)) => SessionEvent::Stdout(bytes),
            Some(exec_output::Output::Stderr(bytes)) => SessionEvent::Stderr(bytes),
            Some(exec_output::Output::Exited(status)) => SessionEvent::Exited(status),
            Some(exec_output::Output::Failed(failure)) => SessionEvent::NotStarted(failure),
            None => SessionEvent::Unknown,
        }
    }
}
