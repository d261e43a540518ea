//! Between a [`Session`](crate::session::Session) and the gRPC stream of a client: of `Attach` and of `Exec`, whose
//! messages differ only in name. Bytes are passed on in both directions as fast as the slower side takes them; what is
//! on the way is bounded by [`IN_FLIGHT`].

use cri_api::isula::v1::{AttachInput, AttachOutput, ExecInput, ExecOutput, WindowSize};
use cri_api::isula::v1::{attach_input, attach_output, exec_input, exec_output};
use isulad_shim::ExitStatus;
use isulad_shim::control::Streams;
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tonic::{Status, Streaming};

use crate::session::{Input, Output, Size, Told};

/// Messages on their way to a client: the shim's own buffer comes on top.
pub(super) const IN_FLIGHT: usize = 16;

/// To a client.
pub(super) type Sender<M> = mpsc::Sender<Result<M, Status>>;

/// What a client says after its first message.
pub(super) enum Said {
    Stdin(Vec<u8>),
    StdinClosed,
    Resize(WindowSize),
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
    Exited(ExitStatus),
    /// The shim is gone, or has cut this client off.
    Lost,
    /// The client is gone; nobody is left to tell.
    ClientGone,
}

/// Relays the streams that are wanted until the process or one of the sides has ended. The session is closed then.
pub(super) async fn pump<M: Message>(
    (input, mut output): (Input, Output),
    client: Streaming<M>,
    sender: &Sender<M::Output>,
    wanted: Streams,
) -> Ended {
    // Polled beside the output, not in a task of its own: it ends with this call, and a process that does not read
    // holds up only itself.
    let feeding = feed(input, client, wanted.stdin);
    tokio::pin!(feeding);
    loop {
        let told = tokio::select! {
            told = output.next() => told,
            () = sender.closed() => return Ended::ClientGone,
            never = &mut feeding => match never {},
        };
        let message = match told {
            Told::Stdout(bytes) if wanted.stdout => M::stdout(bytes),
            Told::Stderr(bytes) if wanted.stderr => M::stderr(bytes),
            Told::Exited(status) => return Ended::Exited(status),
            // Whether it was started was known before.
            Told::Failed(_) | Told::Lost => return Ended::Lost,
            // A window that cannot be resized, and the end of an input that has none, are no trouble of the client's.
            Told::Stdout(_) | Told::Stderr(_) | Told::Ready(_) | Told::Done(_) | Told::Refused(..) => continue,
        };
        let sent = tokio::select! {
            sent = sender.send(Ok(message)) => sent,
            never = &mut feeding => match never {},
        };
        if sent.is_err() {
            return Ended::ClientGone;
        }
    }
}

/// The client's input, until it ends; then waits to be dropped. A half-close is passed on. A client that goes away says
/// nothing more, which closes nothing.
async fn feed<M: Message>(mut input: Input, mut client: Streaming<M>, stdin: bool) -> std::convert::Infallible {
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
                Said::Stdin(_) | Said::StdinClosed | Said::Nothing => {}
            }
        }
        std::io::Result::Ok(())
    };
    // A failure is the shim's end, which the output tells.
    let _ = relaying.await;
    std::future::pending().await
}

impl Message for AttachInput {
    type Output = AttachOutput;

    fn said(self) -> Said {
        match self.input {
            Some(attach_input::Input::Stdin(bytes)) => Said::Stdin(bytes),
            Some(attach_input::Input::StdinClosed(_)) => Said::StdinClosed,
            Some(attach_input::Input::Resize(size)) => Said::Resize(size),
            Some(attach_input::Input::Open(_)) | None => Said::Nothing,
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
