//! The calls that carry a process's streams: they differ in their messages and in nothing else.

use cri_api::isula::v1::{
    AttachInput, AttachOpen, AttachOutput, Empty, ExitStatus, StartFailure, WindowSize, attach_input, attach_output,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use super::Ready;
use crate::client::Client;

/// What the daemon tells of a process.
pub(crate) enum Told {
    /// With what was done differently from what was asked.
    Started(Vec<String>),
    Stdout(Vec<u8>),
    Stderr(Vec<u8>),
    Exited(ExitStatus),
    NotStarted(StartFailure),
    /// A kind of message that came after this program.
    Unknown,
}

/// A call that was begun already.
pub(crate) struct Begun<C: Call> {
    pub(crate) ready: Ready,
    pub(crate) to_daemon: mpsc::Sender<C::Input>,
    pub(crate) stream: Streaming<C::Output>,
}

/// A call of one kind.
pub(crate) trait Call {
    type Input: Send + 'static;
    type Output: Send + 'static;

    /// Whether the process is gone when we are, unless the daemon says that it goes on.
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
    fn told(output: Self::Output) -> Told;
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

    fn told(output: AttachOutput) -> Told {
        match output.output {
            Some(attach_output::Output::Started(started)) => Told::Started(started.warnings),
            Some(attach_output::Output::Stdout(bytes)) => Told::Stdout(bytes),
            Some(attach_output::Output::Stderr(bytes)) => Told::Stderr(bytes),
            Some(attach_output::Output::Exited(status)) => Told::Exited(status),
            Some(attach_output::Output::Failed(failure)) => Told::NotStarted(failure),
            // The answer to a request that was told before the session.
            Some(attach_output::Output::Created(_)) | None => Told::Unknown,
        }
    }
}
