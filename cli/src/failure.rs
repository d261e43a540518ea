//! Failures that end a command early, and the exit code of each.

use std::io;
use std::time::Duration;

/// Bad flags and arguments; also anything that goes wrong in `run` and `create` before the container's own process.
pub(crate) const USAGE: u8 = 125;
/// A refusal by the daemon or trouble on the client's side, in every other command.
pub(crate) const GENERAL: u8 = 1;
/// A session that ended before its process did, or without all of its output. None of the process's own exit codes can
/// state this.
const LOST_SESSION: u8 = 122;
/// Exit code that a shell shows for a process that wrote to a closed pipe: 128 + SIGPIPE.
const CLOSED_PIPE: u8 = 141;

/// The reason for which a command was not carried out. The messages are shown as they are.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("{0}")]
    Usage(String),
    #[error("isula: '{name}' is not an isula command.\nSee '{help} --help'.")]
    UnknownCommand { name: String, help: String },
    #[error("Can not connect with server.Is the iSulad daemon running on the host?\n{path}: {reason}")]
    NoServer { path: String, reason: String },
    #[error("Permission denied to connect with server at {path}: are you root or in the socket's group?")]
    Forbidden { path: String },
    #[error("Error response from daemon: {0}")]
    Daemon(String),
    #[error("Connection to the daemon was lost: {0}")]
    Lost(String),
    /// In the midst of a session.
    #[error("The connection to the daemon was lost ({reason}); {if_lost}")]
    Severed { reason: String, if_lost: String },
    /// Like `Severed`, with the daemon's reason: a part of the session's output is gone.
    #[error("The session was lost: {reason}; {if_lost}")]
    Incomplete { reason: String, if_lost: String },
    #[error("The daemon did not answer within {} seconds", .0.as_secs())]
    Silent(Duration),
    #[error("{0}")]
    Client(String),
    #[error("cannot {doing}: {source}")]
    Io { doing: String, source: io::Error },
    /// A signal ended the command. No message: its sender knows the reason.
    #[error("ended by signal {0}")]
    Interrupted(i32),
    /// The reader of our output has left, so that no message would be read.
    #[error("output closed")]
    ClosedPipe,
}

impl Failure {
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::Usage(message.into())
    }

    pub(crate) fn io(doing: impl Into<String>, source: io::Error) -> Self {
        Self::Io { doing: doing.into(), source }
    }

    /// For writing to our own standard output and error.
    pub(crate) fn output(source: io::Error) -> Self {
        if source.kind() == io::ErrorKind::BrokenPipe { Self::ClosedPipe } else { Self::io("write the output", source) }
    }

    /// The exit code. `refusal` is the command's own code for all failures but usage errors.
    pub(crate) fn code(&self, refusal: u8) -> u8 {
        match self {
            Self::Usage(_) => USAGE,
            Self::UnknownCommand { .. } => GENERAL,
            Self::Severed { .. } | Self::Incomplete { .. } => LOST_SESSION,
            Self::Interrupted(signal) => u8::try_from(128 + signal).unwrap_or(u8::MAX),
            Self::ClosedPipe => CLOSED_PIPE,
            Self::NoServer { .. }
            | Self::Forbidden { .. }
            | Self::Daemon(_)
            | Self::Lost(_)
            | Self::Silent(_)
            | Self::Client(_)
            | Self::Io { .. } => refusal,
        }
    }

    /// Prints the message on stderr. A failure to write it is ignored.
    pub(crate) fn report(&self) {
        if !matches!(self, Self::ClosedPipe | Self::Interrupted(_)) {
            crate::output::complain(&self.to_string());
        }
    }
}

impl From<tonic::Status> for Failure {
    /// A status that the daemon sent has no source; one that the transport made up names it.
    fn from(status: tonic::Status) -> Self {
        match std::error::Error::source(&status) {
            None if status.message().is_empty() => Self::Daemon(status.code().description().to_owned()),
            None => Self::Daemon(status.message().to_owned()),
            Some(source) => Self::Lost(crate::client::innermost(source)),
        }
    }
}

/// The end of the program: a failure with the exit code of the command it happened in.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) failure: Failure,
    pub(crate) code: u8,
}

impl Ended {
    pub(crate) fn new(failure: Failure, refusal: u8) -> Self {
        let code = failure.code(refusal);
        Self { failure, code }
    }

    pub(crate) fn report(&self) {
        self.failure.report();
    }
}
