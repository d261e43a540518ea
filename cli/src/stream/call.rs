//! The calls that carry a process's streams: they differ in their messages and in nothing else.

use cri_api::isula::v1::{
    AttachInput, AttachOpen, AttachOutput, Empty, ExitStatus, StartFailure, WindowSize, attach_input, attach_output,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use super::Ready;
use crate::client::Client;

/// A message of the daemon about a process.
pub(crate) enum SessionEvent {
    /// The process runs; with the differences between the request and the started process.
    Started(Vec<String>),
    Stdout(Vec<u8>),
    Stderr(Vec<u8>),
    Exited(ExitStatus),
    NotStarted(StartFailure),
    /// A kind of message that came after this program.
    Unknown,
}

/// A call that was begun already.
pub(crate) struct OpenCall<C: Call> {
    pub(crate) ready: Ready,
    pub(crate) to_daemon: mpsc::Sender<C::Input>,
    pub(crate) stream: Streaming<C::Output>,
}

/// A call of one kind.
pub(crate) trait Call {
    type Input: Send + 'static;
    type Output: Send + 'static;

    /// Whether the process ends with this client, unless the daemon confirms that it goes on.
    const ENDS_WITH_US: bool;

    /// The first message.
    fn open(&self, size: Option<WindowSize>) -> Self::Input;
    fn stdin(bytes: Vec<u8>) -> Self::Input;
    fn stdin_closed() -> Self::Input;
    fn resize(size: WindowSize) -> Self::Input;
    /// The last message of a client that leaves.
    fn detach() -> Self::Input;
    /// Begins the call; the first message waits in `input`.
    async fn begin(
        &self,
        client: &Client,
        input: ReceiverStream<Self::Input>,
    ) -> Result<Streaming<Self::Output>, Status>;
    fn event(output: Self::Output) -> SessionEvent;
}

/// The first process of a container.
pub(crate) struct Attach {
    pub(crate) open: AttachOpen,
    /// Start it, attached from its first byte.
    pub(crate) start: bool,
}

impl Call for Attach {
    type Input = AttachInput;
    type Output = AttachOutput;

    const ENDS_WITH_US: bool = false;

    fn open(&self, size: Option<WindowSize>) -> AttachInput {
        let open = AttachOpen { size, ..self.open.clone() };
        AttachInput { input: Some(attach_input::Input::Open(open)) }
    }

    fn stdin(bytes: Vec<u8>) -> AttachInput {
        AttachInput { input: Some(attach_input::Input::Stdin(bytes)) }
    }

    fn stdin_closed() -> AttachInput {
        AttachInput { input: Some(attach_input::Input::StdinClosed(Empty {})) }
    }

    fn resize(size: WindowSize) -> AttachInput {
        AttachInput { input: Some(attach_input::Input::Resize(size)) }
    }

    fn detach() -> AttachInput {
        AttachInput { input: Some(attach_input::Input::Detach(Empty {})) }
    }

    async fn begin(
        &self,
        client: &Client,
        input: ReceiverStream<AttachInput>,
    ) -> Result<Streaming<AttachOutput>, Status> {
        let mut containers = client.containers();
        let answer = if self.start { containers.start_attached(input).await } else { containers.attach(input).await };
        Ok(answer?.into_inner())
    }

    fn event(output: AttachOutput) -> SessionEvent {
        match output.output {
            Some(attach_output::Output::Started(started)) => SessionEvent::Started(started.warnings),
            Some(attach_output::Output::Stdout(bytes)) => SessionEvent::Stdout(bytes),
            Some(attach_output::Output::Stderr(bytes)) => SessionEvent::Stderr(bytes),
            Some(attach_output::Output::Exited(status)) => SessionEvent::Exited(status),
            Some(attach_output::Output::Failed(failure)) => SessionEvent::NotStarted(failure),
            // `Created` answers a request that is complete before the session.
            Some(attach_output::Output::Created(_)) | None => SessionEvent::Unknown,
        }
    }
}
