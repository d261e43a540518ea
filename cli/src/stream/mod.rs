//! Standing for a process of a container in the foreground: its output is ours, our input is its, its exit code is
//! ours.
//!
//! Two threads do the blocking work, one reading our stdin and one writing our output. Setting the descriptors
//! non-blocking instead would change them for the shell that shares them.

mod call;
mod exec;
mod input;
pub(crate) mod keys;
mod output;
mod signals;
mod terminal;

use std::pin::pin;
use std::time::Duration;

use clap::{ArgMatches, Command};
use cri_api::isula::v1::{ExitStatus, StartFailure, WindowSize};
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming};

pub(crate) use self::call::{Attach, Call, OpenCall, SessionEvent};
pub(crate) use self::exec::Exec;
use self::keys::DetachKeys;
use self::output::Writer;
use self::signals::Signals;
use self::terminal::RawMode;
use crate::client::Client;
use crate::failure::Failure;
use crate::flag;

/// Input messages on their way to the daemon; the container's pace is the reader's.
pub(crate) const INPUT_QUEUE: usize = 8;
/// Deadline for the daemon to pass on bytes typed before the detach keys, for a process that goes on anyway.
const LEAVE_PATIENCE: Duration = Duration::from_secs(2);
/// Deadline for the daemon to confirm that a process goes on that would otherwise end with us. The daemon has a limit
/// of its own, which is shorter.
const RELEASE_PATIENCE: Duration = Duration::from_secs(10);

/// A process to be in the foreground of, and the session's options.
pub(crate) struct Session<C: Call> {
    pub(crate) call: C,
    /// The call, if it is open already because it has made the container.
    pub(crate) open_call: Option<OpenCall<C>>,
    /// The container whose first process gets signals.
    pub(crate) container: String,
    /// Whether the process has a terminal; ours is then only a relay.
    pub(crate) tty: bool,
    pub(crate) stdin: bool,
    /// The keys that leave a terminal.
    pub(crate) keys: DetachKeys,
    /// Without a terminal, signals are passed on instead of ending us.
    pub(crate) sig_proxy: bool,
    /// The process has drawn its screen already, for an earlier client: it is made to do so again.
    pub(crate) redraw: bool,
    /// The container's state in words, for the message when the daemon is lost.
    pub(crate) if_lost: String,
}

/// Adds the flags of every command that may be in the foreground.
pub(crate) fn flags(command: Command) -> Command {
    command
        .arg(keys::arg())
        .arg(flag::switch("sig-proxy", "Without a terminal, pass signals on to the container (default true)"))
}

/// Whether signals are the container's.
pub(crate) fn sig_proxy(matches: &ArgMatches) -> bool {
    matches.get_one::<bool>("sig-proxy").copied().unwrap_or(true)
}

/// The container's state in words when the daemon is lost during its session.
pub(crate) fn may_run_still(container: &str) -> String {
    format!("container {container} may be running still")
}

const ENDED_EARLY: &str = "it ended before the exit was reported";

/// How a session came to its end.
enum End {
    Exited(ExitStatus),
    NotStarted(StartFailure),
    /// The detach keys were typed.
    Detached,
    /// The daemon has closed the stream without an exit: its answer to a client that leaves.
    Closed,
    /// A signal ended the program, and there was no process to pass it to.
    Signalled(i32),
}

/// Our signals and our terminal while we stand for a process. The terminal is as before when this is dropped.
pub(crate) struct Ready {
    signals: Signals,
    raw: Option<RawMode>,
}

impl Ready {
    /// Called before anything is made: no process could get a signal that comes between the two.
    pub(crate) fn enter(tty: bool, stdin: bool, sig_proxy: bool) -> Result<Self, Failure> {
        // First: a signal between the two would leave the terminal raw.
        let signals = Signals::listen(sig_proxy && !tty)?;
        let raw = if tty && stdin { RawMode::enter()? } else { None };
        Ok(Self { signals, raw })
    }

    /// Does `work`, unless a signal comes that means us.
    pub(crate) async fn unless_ended<T>(&mut self, work: impl Future<Output = T>) -> Result<T, Failure> {
        tokio::select! {
            done = work => Ok(done),
            signal = self.signals.hold() => Err(Failure::Interrupted(signal)),
        }
    }
}

/// Runs the session to its end; returns the exit code to leave with. The terminal is as before on every way out.
pub(crate) async fn run<C: Call>(client: &Client, mut session: Session<C>) -> Result<u8, Failure> {
    let if_lost = session.if_lost.clone();
    let (Ready { signals, raw }, open_call) = match session.open_call.take() {
        Some(OpenCall { ready, to_daemon, stream }) => (ready, Some((to_daemon, stream))),
        None => (Ready::enter(session.tty, session.stdin, session.sig_proxy)?, None),
    };
    let end = relay(client, session, open_call, signals, raw.as_ref()).await;
    let was_raw = raw.is_some();
    drop(raw);
    match end {
        Ok(End::Exited(status)) => Ok(exit_code(&status)),
        Ok(End::NotStarted(failure)) => Ok(start_failed(&failure)),
        Ok(End::Detached) => {
            if was_raw {
                // The shell's prompt goes on a line of its own.
                let _ = crate::output::line("");
            }
            Ok(0)
        }
        Ok(End::Closed) => Err(Failure::Severed { reason: ENDED_EARLY.into(), if_lost }),
        Ok(End::Signalled(signal)) => Ok(u8::try_from(128 + signal).unwrap_or(u8::MAX)),
        Err(Failure::Lost(reason)) => Err(Failure::Severed { reason, if_lost }),
        Err(Failure::Incomplete { reason, .. }) => Err(Failure::Incomplete { reason, if_lost }),
        Err(failure) => Err(failure),
    }
}

/// The two ends of a call that was open_call.
type Open<C> = (mpsc::Sender<<C as Call>::Input>, Streaming<<C as Call>::Output>);

async fn relay<C: Call>(
    client: &Client,
    session: Session<C>,
    open_call: Option<Open<C>>,
    signals: Signals,
    raw: Option<&RawMode>,
) -> Result<End, Failure> {
    let Session { call, container, tty, stdin, keys, redraw, .. } = session;
    let (started, is_started) = watch::channel(false);
    let (to_daemon, stream, from_us) = match open_call {
        Some((to_daemon, stream)) => (to_daemon, Some(stream), None),
        None => {
            let (to_daemon, from_us) = opening(&call, tty, redraw);
            (to_daemon, None, Some(from_us))
        }
    };
    let keys = Some(keys).filter(|_| tty);
    let detached = if stdin { Some(input::spawn::<C>(to_daemon.clone(), keys)?) } else { None };
    let copy = async {
        let stream = match (stream, from_us) {
            (Some(stream), _) => stream,
            (None, Some(from_us)) => call.begin(client, ReceiverStream::new(from_us)).await?,
            (None, None) => return Ok(End::Closed),
        };
        copy_output::<C>(stream, &started).await
    };
    let mut copy = pin!(copy);
    let leave = async {
        match detached {
            Some(detached) => detached.await.is_ok(),
            None => false,
        }
    };
    let mut forward = pin!(signals.forward::<C>(client, &container, raw, to_daemon, is_started));
    tokio::select! {
        end = &mut copy => return end,
        true = leave => {}
        signal = &mut forward => return Ok(End::Signalled(signal)),
    }
    tokio::select! {
        end = after_detach::<C>(copy) => end,
        signal = forward => Ok(End::Signalled(signal)),
    }
}

/// Opens the call's channel with the first messages in it.
fn opening<C: Call>(call: &C, tty: bool, redraw: bool) -> (mpsc::Sender<C::Input>, mpsc::Receiver<C::Input>) {
    let (to_daemon, from_us) = mpsc::channel(INPUT_QUEUE);
    // The channel was made with room for these.
    let size = size(tty);
    match size.filter(|_| redraw) {
        Some(size) => {
            // Only a change is noticed.
            let _ = to_daemon.try_send(call.open(Some(terminal::taller(size))));
            let _ = to_daemon.try_send(C::resize(size));
        }
        None => drop(to_daemon.try_send(call.open(size))),
    }
    (to_daemon, from_us)
}

/// The size of our terminal, where the process has one.
pub(crate) fn size(tty: bool) -> Option<WindowSize> {
    if tty { terminal::size() } else { None }
}

/// Waits for the daemon's answer after the detach keys were typed.
async fn after_detach<C: Call>(copy: impl Future<Output = Result<End, Failure>>) -> Result<End, Failure> {
    let patience = if C::ENDS_WITH_US { RELEASE_PATIENCE } else { LEAVE_PATIENCE };
    match tokio::time::timeout(patience, copy).await {
        // The process has ended in the same moment.
        Ok(Ok(end @ (End::Exited(_) | End::NotStarted(_)))) => Ok(end),
        Ok(Ok(End::Closed)) => Ok(End::Detached),
        Ok(Ok(end @ (End::Detached | End::Signalled(_)))) => Ok(end),
        Ok(Err(_)) | Err(_) if !C::ENDS_WITH_US => Ok(End::Detached),
        Ok(Err(failure)) => Err(failure),
        Err(_) => Err(Failure::Client(format!(
            "The daemon did not say within {} seconds that the process goes on; it may have ended",
            patience.as_secs()
        ))),
    }
}

/// Copies the process's output until it has exited. All of it is written when this returns.
async fn copy_output<C: Call>(mut stream: Streaming<C::Output>, started: &watch::Sender<bool>) -> Result<End, Failure> {
    let mut writer = Writer::default();
    let end = copy_until_end::<C>(&mut stream, &mut writer, started).await;
    writer.finish().await?;
    end
}

async fn copy_until_end<C: Call>(
    stream: &mut Streaming<C::Output>,
    writer: &mut Writer,
    started: &watch::Sender<bool>,
) -> Result<End, Failure> {
    while let Some(message) = stream.message().await.map_err(failed)? {
        let accepted = match C::event(message) {
            SessionEvent::Stdout(bytes) => writer.stdout(bytes).await?,
            SessionEvent::Stderr(bytes) => writer.stderr(bytes).await?,
            SessionEvent::Started(warnings) => {
                crate::command::warn(&warnings);
                true
            }
            SessionEvent::Unknown => true,
            SessionEvent::Exited(status) => return Ok(End::Exited(status)),
            SessionEvent::NotStarted(failure) => return Ok(End::NotStarted(failure)),
        };
        if !accepted {
            return Err(Failure::ClosedPipe);
        }
        // The message was neither a failure nor an end: the process runs.
        started.send_replace(true);
    }
    Ok(End::Closed)
}

/// The daemon reports a loss of output as `DataLoss`.
fn failed(status: Status) -> Failure {
    match status.code() {
        Code::DataLoss => Failure::Incomplete { reason: status.message().to_owned(), if_lost: String::new() },
        _ => status.into(),
    }
}

/// The container's exit code; 125, with the cause on stderr, when it is unknown.
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

/// Prints the reason for which a container did not start; returns the exit code for it.
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
