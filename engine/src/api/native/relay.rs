//! Between a [`Session`](crate::session::Session) and the gRPC stream of a client: of `Attach` and of `Exec`, whose
//! messages differ only in name. Bytes are passed on in both directions as fast as the slower side takes them; what is
//! on the way is bounded by [`IN_FLIGHT`].

use cri_api::isula::v1::{AttachInput, AttachOutput, ExecInput, ExecOutput, WindowSize};
use cri_api::isula::v1::{attach_input, attach_output, exec_input, exec_output};
use isulad_shim::control::{Streams, kind};
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tonic::{Status, Streaming};

use crate::session::{Exit, Input, Output, SessionEvent, Size};

/// Messages on their way to a client: the shim's own buffer comes on top.
pub(super) const IN_FLIGHT: usize = 16;

/// To a client.
pub(super) type Sender<M> = mpsc::Sender<Result<M, Status>>;

/// What a client says after its first message.
pub(super) enum Said {
    Stdin(Vec<u8>),
    StdinClosed,
    Resize(WindowSize),
    /// It leaves, and what it said before counts.
    Detach,
    /// Something that means nothing here.
    Nothing,
}

/// The messages of a call that relays.
pub(super) trait Message: Send + 'static {
    type Output: Send + 'static;

    fn said(self) -> Said;
    fn stdout(bytes: Vec<u8>) -> Self::Output;
    fn stderr(bytes: Vec<u8>) -> Self::Output;
}

/// Why a relay has ended.
pub(super) enum Ended {
    /// All output was passed on before.
    Exited(Exit),
    /// The shim is gone, or has cut this client off.
    Lost,
    /// The shim has no such streams to give, and says why.
    Refused(String),
    /// The client has said that it leaves.
    Detached,
    /// The client is gone; nobody is left to tell.
    ClientGone,
}

/// Relays the streams that are wanted until the process or one of the sides has ended.
pub(super) async fn pump<M: Message>(
    streams: &mut (Input, Output),
    client: &mut Streaming<M>,
    sender: &Sender<M::Output>,
    wanted: Streams,
) -> Ended {
    // Polled beside the output, not in a task of its own: it ends with this call, and a process that does not read
    // holds up only itself.
    let (input, output) = streams;
    let feeding = feed(input, client, wanted.stdin);
    tokio::pin!(feeding);
    loop {
        let told = tokio::select! {
            told = output.next() => told,
            () = sender.closed() => return Ended::ClientGone,
            () = &mut feeding => return Ended::Detached,
        };
        let message = match told {
            SessionEvent::Stdout(bytes) if wanted.stdout => M::stdout(bytes),
            SessionEvent::Stderr(bytes) if wanted.stderr => M::stderr(bytes),
            SessionEvent::Exited(exit) => return Ended::Exited(exit),
            // Whether it was started was known before.
            SessionEvent::Failed(_) | SessionEvent::Lost => return Ended::Lost,
            SessionEvent::Refused(kind::HELLO, message) => return Ended::Refused(message),
            // A window that cannot be resized, and the end of an input that has none, are no trouble of the client's.
            SessionEvent::Stdout(_)
            | SessionEvent::Stderr(_)
            | SessionEvent::Ready(_)
            | SessionEvent::Done(_)
            | SessionEvent::Refused(..) => continue,
        };
        let sent = tokio::select! {
            sent = sender.send(Ok(message)) => sent,
            () = &mut feeding => return Ended::Detached,
        };
        if sent.is_err() {
            return Ended::ClientGone;
        }
    }
}

/// The client's input. A half-close is passed on. Returns when the client says that it leaves; one that says nothing more
/// closes nothing.
async fn feed<M: Message>(input: &mut Input, client: &mut Streaming<M>, stdin: bool) {
    let relaying = async {
        while let Some(Ok(message)) = client.next().await {
            match message.said() {
                Said::Stdin(bytes) if stdin => input.write(&bytes).await?,
                Said::StdinClosed if stdin => input.close().await?,
                Said::Resize(WindowSize { width, height }) => {
                    if let Some(size) = Size::new(width, height) {
                        input.resize(size).await?;
                    }
                }
                Said::Detach => return Ok(()),
                Said::Stdin(_) | Said::StdinClosed | Said::Nothing => {}
            }
        }
        std::future::pending::<std::io::Result<()>>().await
    };
    if relaying.await.is_err() {
        // The shim's end, which the output tells.
        std::future::pending::<()>().await;
    }
}

impl Message for AttachInput {
    type Output = AttachOutput;

    fn said(self) -> Said {
        match self.input {
            Some(attach_input::Input::Stdin(bytes)) => Said::Stdin(bytes),
            Some(attach_input::Input::StdinClosed(_)) => Said::StdinClosed,
            Some(attach_input::Input::Resize(size)) => Said::Resize(size),
            Some(attach_input::Input::Detach(_)) => Said::Detach,
            Some(attach_input::Input::Open(_) | attach_input::Input::Run(_)) | None => Said::Nothing,
        }
    }

    fn stdout(bytes: Vec<u8>) -> AttachOutput {
        AttachOutput { output: Some(attach_output::Output::Stdout(bytes)) }
    }

    fn stderr(bytes: Vec<u8>) -> AttachOutput {
        AttachOutput { output: Some(attach_output::Output::Stderr(bytes)) }
    }
}

impl Message for ExecInput {
    type Output = ExecOutput;

    fn said(self) -> Said {
        match self.input {
            Some(exec_input::Input::Stdin(bytes)) => Said::Stdin(bytes),
            Some(exec_input::Input::StdinClosed(_)) => Said::StdinClosed,
            Some(exec_input::Input::Resize(size)) => Said::Resize(size),
            Some(exec_input::Input::Detach(_)) => Said::Detach,
            Some(exec_input::Input::Open(_)) | None => Said::Nothing,
        }
    }

    fn stdout(bytes: Vec<u8>) -> ExecOutput {
        ExecOutput { output: Some(exec_output::Output::Stdout(bytes)) }
    }

    fn stderr(bytes: Vec<u8>) -> ExecOutput {
        ExecOutput { output: Some(exec_output::Output::Stderr(bytes)) }
    }
}
