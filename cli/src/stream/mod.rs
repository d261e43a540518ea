//! Standing for a container's process in the foreground: its output is ours, our input is its, its exit code is ours.
//!
//! Two threads do the blocking work, one reading our stdin and one writing our output. Setting the descriptors
//! non-blocking instead would change them for the shell that shares them.

mod input;
mod output;
mod signals;
mod terminal;

use cri_api::isula::v1::attach_input::Input;
use cri_api::isula::v1::attach_output::Output;
use cri_api::isula::v1::{AttachInput, AttachOpen, AttachOutput, ExitStatus, StartFailure};
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use self::output::Writer;
use self::signals::Signals;
use self::terminal::RawMode;
use crate::client::Client;
use crate::failure::Failure;

/// Input messages on their way to the daemon; the container's pace is the reader's.
const INPUT_QUEUE: usize = 8;

/// What to attach to, and how.
pub(crate) struct Session {
    pub(crate) open: AttachOpen,
    /// Whether the container has a terminal; ours is then only a relay.
    pub(crate) tty: bool,
    /// Start it, attached from its first byte.
    pub(crate) start: bool,
}

/// How a session came to its end.
enum End {
    Exited(ExitStatus),
    NotStarted(StartFailure),
    /// A signal told us to go, and there was no process to pass it to.
    Signalled(i32),
}

/// Runs the session to its end; returns the exit code to leave with. The terminal is as before on every way out.
pub(crate) async fn run(client: &Client, session: Session) -> Result<u8, Failure> {
    let Session { mut open, tty, start } = session;
    let raw = if tty && open.stdin { RawMode::enter()? } else { None };
    open.size = if tty { terminal::size() } else { None };
    let signals = Signals::listen(tty)?;
    let end = relay(client, open, start, signals).await;
    drop(raw);
    match end {
        Ok(End::Exited(status)) => Ok(exit_code(&status)),
        Ok(End::NotStarted(failure)) => Ok(start_failed(&failure)),
        Ok(End::Signalled(signal)) => Ok(u8::try_from(128 + signal).unwrap_or(u8::MAX)),
        Err(Failure::Lost(reason)) => {
            Err(Failure::Lost(format!("{reason}\nThe container is left as it is: see 'isula ps -a'.")))
        }
        Err(failure) => Err(failure),
    }
}

async fn relay(client: &Client, open: AttachOpen, start: bool, signals: Signals) -> Result<End, Failure> {
    let (container, stdin) = (open.container.clone(), open.stdin);
    let (to_daemon, from_us) = mpsc::channel(INPUT_QUEUE);
    let (started, is_started) = watch::channel(false);
    // The channel was made with room for it.
    let _ = to_daemon.try_send(AttachInput { input: Some(Input::Open(open)) });
    if stdin {
        input::spawn(to_daemon.clone())?;
    }
    let copy = async {
        let mut containers = client.containers();
        let input = ReceiverStream::new(from_us);
        let answer = if start { containers.start_attached(input).await } else { containers.attach(input).await };
        copy_output(answer?.into_inner(), &started).await
    };
    let watch_signals = signals.forward(client, &container, to_daemon, is_started);
    tokio::select! {
        end = copy => end,
        signal = watch_signals => Ok(End::Signalled(signal)),
    }
}

/// Copies what the container writes until it has exited. All that came is written when this returns.
async fn copy_output(mut stream: Streaming<AttachOutput>, started: &watch::Sender<bool>) -> Result<End, Failure> {
    let writer = Writer::spawn()?;
    let end = copy_until_end(&mut stream, &writer, started).await;
    writer.finish().await?;
    end
}

async fn copy_until_end(
    stream: &mut Streaming<AttachOutput>,
    writer: &Writer,
    started: &watch::Sender<bool>,
) -> Result<End, Failure> {
    while let Some(message) = stream.message().await? {
        let accepted = match message.output {
            Some(Output::Stdout(bytes)) => writer.stdout(bytes).await,
            Some(Output::Stderr(bytes)) => writer.stderr(bytes).await,
            Some(Output::Started(_)) => true,
            Some(Output::Exited(status)) => return Ok(End::Exited(status)),
            Some(Output::Failed(failure)) => return Ok(End::NotStarted(failure)),
            // A kind of message that came after this program.
            None => true,
        };
        if !accepted {
            return Err(Failure::ClosedPipe);
        }
        // What came was no failure and no end: the container runs.
        started.send_replace(true);
    }
    Err(Failure::Lost("it ended before the container's exit was told".into()))
}

/// The container's exit code; 125, with a word on why, when nobody knows it.
fn exit_code(status: &ExitStatus) -> u8 {
    match status.code {
        Some(code) => u8::try_from(code & 0xff).unwrap_or(u8::MAX),
        None => {
            let cause = if status.unknown_cause.is_empty() { "no cause given" } else { &status.unknown_cause };
            crate::output::complain(&format!("The container's exit status is unknown: {cause}"));
            crate::failure::USAGE
        }
    }
}

/// Says why a container did not start; returns the exit code for it.
pub(crate) fn start_failed(failure: &StartFailure) -> u8 {
    Failure::Daemon(failure.message.clone()).report();
    match u8::try_from(failure.exit_code) {
        Ok(code) if code != 0 => code,
        _ => crate::failure::USAGE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes() {
        let with = |code| exit_code(&ExitStatus { code, ..ExitStatus::default() });
        assert_eq!((with(Some(0)), with(Some(7)), with(Some(137)), with(Some(256)), with(None)), (0, 7, 137, 0, 125));
    }

    #[test]
    fn a_failed_start_is_never_a_success() {
        for (code, wanted) in [(127, 127), (126, 126), (0, 125), (-1, 125), (1000, 125)] {
            assert_eq!(start_failed(&StartFailure { message: "m".into(), exit_code: code }), wanted);
        }
    }
}
