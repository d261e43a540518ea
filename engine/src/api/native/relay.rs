//! Relays between a [`Session`](crate::session::Session) and the gRPC stream of a client: of `Attach` and of `Exec`,
//! which differ only in the names of their messages. Bytes are passed on in both directions at the speed of the slower
//! side; bytes in flight are bounded by [`IN_FLIGHT`].

use cri_api::isula::v1::{AttachInput, AttachOutput, ExecInput, ExecOutput, WindowSize};
use cri_api::isula::v1::{attach_input, attach_output, exec_input, exec_output};
use isulad_shim::control::{Streams, kind};
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tonic::{Status, Streaming};

use crate::session::{Exit, Input, Output, SessionEvent, Size};

/// Messages in flight to a client, beside the shim's own buffer.
pub(super) const IN_FLIGHT: usize = 16;

/// The messages to a client.
pub(super) type Sender<M> = mpsc::Sender<Result<M, Status>>;

/// A message of a client after its first one.
pub(super) enum ClientMessage {
    Stdin(Vec<u8>),
    StdinClosed,
    Resize(WindowSize),
    /// The client leaves; its earlier messages count.
    Detach,
    /// A message without a meaning here.
    Nothing,
}

/// The messages of a relayed call.
pub(super) trait Relayed: Send + 'static {
    type Output: Send + 'static;

    fn into_client_message(self) -> ClientMessage;
    fn stdout(bytes: Vec<u8>) -> Self::Output;
    fn stderr(bytes: Vec<u8>) -> Self::Output;
}

/// The end of a relay.
pub(super) enum RelayEnd {
    /// The process has exited, and all output was passed on before.
    Exited(Exit),
    /// The shim is gone, or has cut this client off.
    Lost,
    /// The shim does not have these streams, with its reason.
    Refused(String),
    /// The client has detached.
    Detached,
    /// The client is gone and gets no answer.
    ClientGone,
}

/// Relays the wanted streams until the process or one of the sides has ended.
pub(super) async fn pump<M: Relayed>(
    streams: &mut (Input, Output),
    client: &mut Streaming<M>,
    sender: &Sender<M::Output>,
    wanted: Streams,
) -> RelayEnd {
    // Polled beside the output, not in a task of its own: it ends with this call, and a process that does not read its
    // input delays only the input.
    let (input, output) = streams;
    let feeding = feed(input, client, wanted.stdin);
    tokio::pin!(feeding);
    loop {
        let event = tokio::select! {
            event = output.next() => event,
            () = sender.closed() => return RelayEnd::ClientGone,
            () = &mut feeding => return RelayEnd::Detached,
        };
        let message = match event {
            SessionEvent::Stdout(bytes) if wanted.stdout => M::stdout(bytes),
            SessionEvent::Stderr(bytes) if wanted.stderr => M::stderr(bytes),
            SessionEvent::Exited(exit) => return RelayEnd::Exited(exit),
            // The answer to the start was received before.
            SessionEvent::Failed(_) | SessionEvent::Lost => return RelayEnd::Lost,
            SessionEvent::Refused(kind::HELLO, message) => return RelayEnd::Refused(message),
            // A window that cannot be resized, and the end of an input that has none, are no errors of the client.
            SessionEvent::Stdout(_)
            | SessionEvent::Stderr(_)
            | SessionEvent::Ready(_)
            | SessionEvent::Done(_)
            | SessionEvent::Refused(..) => continue,
        };
        let sent = tokio::select! {
            sent = sender.send(Ok(message)) => sent,
            () = &mut feeding => return RelayEnd::Detached,
        };
        if sent.is_err() {
            return RelayEnd::ClientGone;
        }
    }
}

/// Passes the client's input on, and its end. Returns when the client detaches; the end of its stream alone closes
/// nothing.
async fn feed<M: Relayed>(input: &mut Input, client: &mut Streaming<M>, stdin: bool) {
    let relaying = async {
        while let Some(Ok(message)) = client.next().await {
            match message.into_client_message() {
                ClientMessage::Stdin(bytes) if stdin => input.write(&bytes).await?,
                ClientMessage::StdinClosed if stdin => input.close().await?,
                ClientMessage::Resize(WindowSize { width, height }) => {
                    if let Some(size) = Size::new(width, height) {
                        input.resize(size).await?;
                    }
                }
                ClientMessage::Detach => return Ok(()),
                ClientMessage::Stdin(_) | ClientMessage::StdinClosed | ClientMessage::Nothing => {}
            }
        }
        std::future::pending::<std::io::Result<()>>().await
    };
    if relaying.await.is_err() {
        // The shim is gone, which ends the output, too.
        std::future::pending::<()>().await;
    }
}

impl Relayed for AttachInput {
    type Output = AttachOutput;

    fn into_client_message(self) -> ClientMessage {
        match self.input {
            Some(attach_input::Input::Stdin(bytes)) => ClientMessage::Stdin(bytes),
            Some(attach_input::Input::StdinClosed(_)) => ClientMessage::StdinClosed,
            Some(attach_input::Input::Resize(size)) => ClientMessage::Resize(size),
            Some(attach_input::Input::Detach(_)) => ClientMessage::Detach,
            Some(attach_input::Input::Open(_) | attach_input::Input::Run(_)) | None => ClientMessage::Nothing,
        }
    }

    fn stdout(bytes: Vec<u8>) -> AttachOutput {
        AttachOutput { output: Some(attach_output::Output::Stdout(bytes)) }
    }

    fn stderr(bytes: Vec<u8>) -> AttachOutput {
        AttachOutput { output: Some(attach_output::Output::Stderr(bytes)) }
    }
}

impl Relayed for ExecInput {
    type Output = ExecOutput;

    fn into_client_message(self) -> ClientMessage {
        match self.input {
            Some(exec_input::Input::Stdin(bytes)) => ClientMessage::Stdin(bytes),
            Some(exec_input::Input::StdinClosed(_)) => ClientMessage::StdinClosed,
            Some(exec_input::Input::Resize(size)) => ClientMessage::Resize(size),
            Some(exec_input::Input::Detach(_)) => ClientMessage::Detach,
            Some(exec_input::Input::Open(_)) | None => ClientMessage::Nothing,
        }
    }

    fn stdout(bytes: Vec<u8>) -> ExecOutput {
        ExecOutput { output: Some(exec_output::Output::Stdout(bytes)) }
    }

    fn stderr(bytes: Vec<u8>) -> ExecOutput {
        ExecOutput { output: Some(exec_output::Output::Stderr(bytes)) }
    }
}
