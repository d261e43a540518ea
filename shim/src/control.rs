//! The attach socket: frames of one kind byte, a little-endian u32 length and the payload.
//!
//! A client sends [`Request`]s, the shim [`Frame`]s. A new client gets nothing until it sends `Hello`; the first
//! client (descriptor 4) is treated as if it had asked for all streams. Order: all output, then `Exit`, then the end
//! of the stream. `Resize`, `CloseStdin`, `ReopenLog` and `Release` are answered by `Ack` or `Error`; `CloseStdin` is
//! acknowledged once all input is where the container finds it also without a shim. `Hello` is answered only by
//! `Error`, where there are no streams to give. `Status` is answered by `Ready` or `Failed` as soon as the outcome is
//! known, so that waiting for a start in flight needs no polling. A kind that one side does not know is an error and
//! is not skipped: both sides come from one release.
//!
//! A client that sends `Follow` instead of `Hello` also gets [`Position`]s: the place in the log at which the output
//! sent to it so far ends. When the shim dies, the client reads the rest from that place of the log and follows the
//! next shim.

use std::io::{self, Read, Write};

use crate::{ExitStatus, Failed, Outcome, Ready};

/// Largest payload either side may send.
pub const MAX_PAYLOAD: usize = 64 * 1024;
/// Bytes before the payload.
pub const HEADER: usize = 5;

/// The streams a client wants: the payload of `Hello`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Streams {
    pub stdin: bool,
    pub stdout: bool,
    pub stderr: bool,
}

/// Whether a client that follows is new.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Follower {
    /// A new client: it gets output from now on.
    New,
    /// It had a connection before. It is sent the beginnings of lines that are not in the log, at a position before
    /// them.
    Returning {
        /// It has started the container, which may wait for it.
        first: bool,
    },
}

/// How much of one output has been sent to a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// [`kind::STDOUT`] or [`kind::STDERR`].
    pub stream: u8,
    /// All output sent so far is in the log before this place, except the last `unlogged` bytes. `None`: it is not in
    /// the log.
    pub place: Option<LogPlace>,
    pub unlogged: u32,
}

/// A place in a log that may be rotated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogPlace {
    /// Inode number of the file.
    pub ino: u64,
    /// When the file was created, in nanoseconds since 1970; distinguishes it from a later file with the same inode
    /// number. 0 where the file system does not record it.
    pub created: u64,
    pub offset: u64,
}

/// From a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// Chooses the streams; may be repeated.
    Hello(Streams),
    /// The same, with positions. A shim without support for positions reads it as `Hello`.
    Follow(Streams, Follower),
    /// Bytes for the container's input.
    Stdin(Vec<u8>),
    /// No more input: the container reads an end of file.
    CloseStdin,
    /// New size of the terminal.
    Resize { width: u16, height: u16 },
    /// Asks for the outcome of the start.
    Status,
    /// The log was moved away: the shim continues in a new file of the old name.
    ReopenLog,
    /// To the shim of an exec: starts the process. Answered like `Status`.
    Go,
    /// To the shim of an exec: the process outlives this client.
    Release,
}

/// From the shim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    Stdout(Vec<u8>),
    Stderr(Vec<u8>),
    Ready(Ready),
    Failed(Failed),
    /// The process has ended; nothing follows. The shim of an exec adds the time, in nanoseconds since 1970; a
    /// container's shim does not, since clients of an older release cannot read it.
    Exit(ExitStatus, Option<u64>),
    /// Only to a client that follows.
    Position(Position),
    /// The request succeeded; holds its kind.
    Ack(u8),
    /// The request failed; holds its kind and the reason.
    Error(u8, String),
}

/// Bytes that violate the protocol of the attach socket.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    #[error("cannot exchange frames on the attach socket")]
    Io(#[source] io::Error),
    #[error("a frame of kind {kind:#04x} is unknown")]
    Kind { kind: u8 },
    #[error("a frame of kind {kind:#04x} has a payload of {length} bytes, which it cannot have")]
    Length { kind: u8, length: usize },
    #[error("a frame of kind {kind:#04x} has a payload that cannot be read")]
    Payload { kind: u8 },
}

/// The numbers on the wire.
pub mod kind {
    pub const HELLO: u8 = 0x01;
    pub const STDIN: u8 = 0x02;
    pub const CLOSE_STDIN: u8 = 0x03;
    pub const RESIZE: u8 = 0x04;
    pub const STATUS: u8 = 0x05;
    pub const REOPEN_LOG: u8 = 0x06;
    pub const GO: u8 = 0x07;
    pub const RELEASE: u8 = 0x08;
    pub const STDOUT: u8 = 0x81;
    pub const STDERR: u8 = 0x82;
    pub const READY: u8 = 0x83;
    pub const FAILED: u8 = 0x84;
    pub const EXIT: u8 = 0x85;
    pub const ACK: u8 = 0x86;
    pub const ERROR: u8 = 0x87;
    pub const POSITION: u8 = 0x88;
}

/// The five bytes before a payload of `length` bytes.
pub fn header(kind: u8, length: usize) -> [u8; HEADER] {
    let length = (length as u32).to_le_bytes();
    [kind, length[0], length[1], length[2], length[3]]
}

/// Takes a header apart. Fails when the payload would be larger than [`MAX_PAYLOAD`].
pub fn parse_header(bytes: [u8; HEADER]) -> Result<(u8, usize), FrameError> {
    let [kind, length @ ..] = bytes;
    let length = u32::from_le_bytes(length) as usize;
    if length > MAX_PAYLOAD { Err(FrameError::Length { kind, length }) } else { Ok((kind, length)) }
}

impl Streams {
    pub const ALL: Self = Self { stdin: true, stdout: true, stderr: true };

    fn bits(self) -> u8 {
        u8::from(self.stdin) | u8::from(self.stdout) << 1 | u8::from(self.stderr) << 2
    }

    fn from_bits(bits: u8) -> Self {
        Self { stdin: bits & 1 != 0, stdout: bits & 2 != 0, stderr: bits & 4 != 0 }
    }
}

impl Follower {
    const FOLLOWS: u8 = 8;
    const RETURNING: u8 = 16;
    const FIRST: u8 = 32;

    fn bits(self) -> u8 {
        match self {
            Self::New => Self::FOLLOWS,
            Self::Returning { first: false } => Self::FOLLOWS | Self::RETURNING,
            Self::Returning { first: true } => Self::FOLLOWS | Self::RETURNING | Self::FIRST,
        }
    }

    fn from_bits(bits: u8) -> Option<Self> {
        match (bits & Self::FOLLOWS != 0, bits & Self::RETURNING != 0) {
            (false, _) => None,
            (true, false) => Some(Self::New),
            (true, true) => Some(Self::Returning { first: bits & Self::FIRST != 0 }),
        }
    }
}

impl LogPlace {
    /// The end of an open file.
    pub fn file(file: &std::fs::File) -> io::Result<Self> {
        use std::os::unix::fs::MetadataExt;
        let metadata = file.metadata()?;
        let created = metadata.created().ok().and_then(|created| created.duration_since(std::time::UNIX_EPOCH).ok());
        Ok(Self {
            ino: metadata.ino(),
            created: created.map_or(0, |created| created.as_nanos() as u64),
            offset: metadata.len(),
        })
    }

    /// Whether both places are in the same file.
    pub fn same_file(&self, other: &Self) -> bool {
        (self.ino, self.created) == (other.ino, other.created)
    }
}

impl Position {
    const LENGTH: usize = 30;

    fn to_wire(self) -> [u8; Self::LENGTH] {
        let mut bytes = [0; Self::LENGTH];
        bytes[0] = self.stream;
        if let Some(LogPlace { ino, created, offset }) = self.place {
            bytes[1] = 1;
            bytes[2..10].copy_from_slice(&ino.to_le_bytes());
            bytes[10..18].copy_from_slice(&created.to_le_bytes());
            bytes[18..26].copy_from_slice(&offset.to_le_bytes());
        }
        bytes[26..].copy_from_slice(&self.unlogged.to_le_bytes());
        bytes
    }

    fn from_wire(bytes: [u8; Self::LENGTH]) -> Self {
        let number = |at: usize, length: usize| {
            bytes[at..at + length].iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
        };
        let place =
            (bytes[1] == 1).then(|| LogPlace { ino: number(2, 8), created: number(10, 8), offset: number(18, 8) });
        Self { stream: bytes[0], place, unlogged: number(26, 4) as u32 }
    }
}

impl Request {
    /// Adds the whole frame to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Hello(streams) => put(out, kind::HELLO, &[streams.bits()]),
            Self::Follow(streams, follower) => put(out, kind::HELLO, &[streams.bits() | follower.bits()]),
            Self::Stdin(bytes) => put_chunks(out, kind::STDIN, bytes),
            Self::CloseStdin => put(out, kind::CLOSE_STDIN, &[]),
            Self::Resize { width, height } => {
                let [a, b] = width.to_le_bytes();
                let [c, d] = height.to_le_bytes();
                put(out, kind::RESIZE, &[a, b, c, d]);
            }
            Self::Status => put(out, kind::STATUS, &[]),
            Self::ReopenLog => put(out, kind::REOPEN_LOG, &[]),
            Self::Go => put(out, kind::GO, &[]),
            Self::Release => put(out, kind::RELEASE, &[]),
        }
    }

    /// From a kind and its payload.
    pub fn decode(kind: u8, payload: Vec<u8>) -> Result<Self, FrameError> {
        let length = FrameError::Length { kind, length: payload.len() };
        match (kind, &payload[..]) {
            (kind::HELLO, &[bits]) => Ok(match Follower::from_bits(bits) {
                None => Self::Hello(Streams::from_bits(bits)),
                Some(follower) => Self::Follow(Streams::from_bits(bits), follower),
            }),
            (kind::STDIN, _) => Ok(Self::Stdin(payload)),
            (kind::CLOSE_STDIN, []) => Ok(Self::CloseStdin),
            (kind::RESIZE, &[a, b, c, d]) => {
                Ok(Self::Resize { width: u16::from_le_bytes([a, b]), height: u16::from_le_bytes([c, d]) })
            }
            (kind::STATUS, []) => Ok(Self::Status),
            (kind::REOPEN_LOG, []) => Ok(Self::ReopenLog),
            (kind::GO, []) => Ok(Self::Go),
            (kind::RELEASE, []) => Ok(Self::Release),
            (
                kind::HELLO
                | kind::CLOSE_STDIN
                | kind::RESIZE
                | kind::STATUS
                | kind::REOPEN_LOG
                | kind::GO
                | kind::RELEASE,
                _,
            ) => Err(length),
            _ => Err(FrameError::Kind { kind }),
        }
    }

    /// Writes the frame. Blocks.
    pub fn write_to(&self, mut stream: impl Write) -> Result<(), FrameError> {
        let mut bytes = Vec::new();
        self.encode(&mut bytes);
        stream.write_all(&bytes).map_err(FrameError::Io)
    }
}

impl Frame {
    /// Adds the whole frame to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Stdout(bytes) => put_chunks(out, kind::STDOUT, bytes),
            Self::Stderr(bytes) => put_chunks(out, kind::STDERR, bytes),
            Self::Ready(ready) => put_json(out, kind::READY, ready),
            Self::Failed(failed) => put_failed(out, failed),
            Self::Exit(status, None) => put(out, kind::EXIT, &status.to_wire()),
            Self::Exit(status, Some(at)) => {
                put(out, kind::EXIT, &[&status.to_wire()[..], &at.to_le_bytes()].concat());
            }
            Self::Position(position) => put(out, kind::POSITION, &position.to_wire()),
            Self::Ack(request) => put(out, kind::ACK, &[*request]),
            Self::Error(request, message) => {
                let mut payload = vec![*request];
                payload.extend_from_slice(&message.as_bytes()[..message.len().min(MAX_PAYLOAD - 1)]);
                put(out, kind::ERROR, &payload);
            }
        }
    }

    /// From a kind and its payload.
    pub fn decode(kind: u8, payload: Vec<u8>) -> Result<Self, FrameError> {
        let unreadable = |_| FrameError::Payload { kind };
        match kind {
            kind::STDOUT => Ok(Self::Stdout(payload)),
            kind::STDERR => Ok(Self::Stderr(payload)),
            kind::READY => serde_json::from_slice(&payload).map(Self::Ready).map_err(unreadable),
            kind::FAILED => serde_json::from_slice(&payload).map(Self::Failed).map_err(unreadable),
            kind::EXIT => match payload[..] {
                [a, b, c, d] => Ok(Self::Exit(ExitStatus::from_wire([a, b, c, d]), None)),
                [a, b, c, d, ref at @ ..] if at.len() == 8 => {
                    let at = at.iter().rev().fold(0, |at, byte| at << 8 | u64::from(*byte));
                    Ok(Self::Exit(ExitStatus::from_wire([a, b, c, d]), Some(at)))
                }
                _ => Err(FrameError::Length { kind, length: payload.len() }),
            },
            kind::POSITION => match payload[..].try_into() {
                Ok(bytes) => Ok(Self::Position(Position::from_wire(bytes))),
                Err(_) => Err(FrameError::Length { kind, length: payload.len() }),
            },
            kind::ACK => match payload[..] {
                [request] => Ok(Self::Ack(request)),
                _ => Err(FrameError::Length { kind, length: payload.len() }),
            },
            kind::ERROR => match payload.split_first() {
                Some((request, message)) => Ok(Self::Error(*request, String::from_utf8_lossy(message).into_owned())),
                None => Err(FrameError::Length { kind, length: 0 }),
            },
            _ => Err(FrameError::Kind { kind }),
        }
    }

    /// Reads the next frame; `None` at the end of the stream between two frames. Blocks.
    pub fn read_from(mut stream: impl Read) -> Result<Option<Self>, FrameError> {
        let mut head = [0; HEADER];
        loop {
            match stream.read(&mut head[..1]) {
                Ok(0) => return Ok(None),
                Ok(_) => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(FrameError::Io(error)),
            }
        }
        stream.read_exact(&mut head[1..]).map_err(FrameError::Io)?;
        let (kind, length) = parse_header(head)?;
        let mut payload = vec![0; length];
        stream.read_exact(&mut payload).map_err(FrameError::Io)?;
        Self::decode(kind, payload).map(Some)
    }
}

impl From<Outcome> for Frame {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Ready(ready) => Self::Ready(ready),
            Outcome::Failed(failed) => Self::Failed(failed),
        }
    }
}

fn put(out: &mut Vec<u8>, kind: u8, payload: &[u8]) {
    out.reserve(HEADER + payload.len());
    out.extend_from_slice(&header(kind, payload.len()));
    out.extend_from_slice(payload);
}

/// A stream may be cut into frames at any byte.
fn put_chunks(out: &mut Vec<u8>, kind: u8, bytes: &[u8]) {
    for chunk in bytes.chunks(MAX_PAYLOAD) {
        put(out, kind, chunk);
    }
}

fn put_json(out: &mut Vec<u8>, kind: u8, value: &impl serde::Serialize) {
    put(out, kind, &serde_json::to_vec(value).expect("strings and numbers always serialize"));
}

/// Cuts the message to the size of a frame; the readiness pipe carries the whole text.
fn put_failed(out: &mut Vec<u8>, failed: &Failed) {
    let mut failed = failed.clone();
    // The longest escape of one byte in JSON takes six bytes.
    let mut end = failed.message.len().min((MAX_PAYLOAD - 256) / 6);
    while !failed.message.is_char_boundary(end) {
        end -= 1;
    }
    failed.message.truncate(end);
    put_json(out, kind::FAILED, &failed);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Step;

    fn cut(bytes: &[u8]) -> (u8, Vec<u8>) {
        let (kind, length) = parse_header(bytes[..HEADER].try_into().unwrap()).unwrap();
        assert_eq!(bytes.len(), HEADER + length);
        (kind, bytes[HEADER..].to_vec())
    }

    #[test]
    fn requests_survive_the_wire() {
        for request in [
            Request::Hello(Streams { stdin: true, stdout: false, stderr: true }),
            Request::Follow(Streams { stdin: false, stdout: true, stderr: false }, Follower::New),
            Request::Follow(Streams::ALL, Follower::Returning { first: false }),
            Request::Follow(Streams::ALL, Follower::Returning { first: true }),
            Request::Stdin(b"a\0b".to_vec()),
            Request::CloseStdin,
            Request::Resize { width: 300, height: 7 },
            Request::Status,
            Request::ReopenLog,
            Request::Go,
            Request::Release,
        ] {
            let mut bytes = Vec::new();
            request.encode(&mut bytes);
            let (kind, payload) = cut(&bytes);
            assert_eq!(Request::decode(kind, payload).unwrap(), request);
        }
    }

    #[test]
    fn frames_survive_the_wire() {
        let frames = [
            Frame::Stdout(vec![1; 10]),
            Frame::Stderr(vec![0xff; MAX_PAYLOAD]),
            Frame::Ready(Ready { pid: 1, pid_start: 2, shim_pid: 3, shim_start: 4, at: 5 }),
            Frame::Failed(Failed { step: Step::Exec, message: "no".into(), runtime_status: None }),
            Frame::Exit(ExitStatus::Signal(9), None),
            Frame::Exit(ExitStatus::Code(7), Some(1_700_000_000_000_000_001)),
            Frame::Position(Position { stream: kind::STDERR, place: None, unlogged: 70_000 }),
            Frame::Position(Position {
                stream: kind::STDOUT,
                place: Some(LogPlace { ino: 1 << 40, created: 1_700_000_000_000_000_001, offset: 1 << 33 }),
                unlogged: 3,
            }),
            Frame::Ack(kind::RESIZE),
            Frame::Error(kind::REOPEN_LOG, "no log".into()),
        ];
        let mut bytes = Vec::new();
        frames.iter().for_each(|frame| frame.encode(&mut bytes));
        let mut stream = &bytes[..];
        for frame in frames {
            assert_eq!(Frame::read_from(&mut stream).unwrap(), Some(frame));
        }
        assert_eq!(Frame::read_from(&mut stream).unwrap(), None);
    }

    #[test]
    fn long_output_becomes_several_frames_and_a_long_message_fits_one() {
        let mut bytes = Vec::new();
        Frame::Stdout(vec![7; MAX_PAYLOAD + 1]).encode(&mut bytes);
        assert_eq!(bytes.len(), 2 * HEADER + MAX_PAYLOAD + 1);
        bytes.clear();
        let message = "\u{1}é".repeat(MAX_PAYLOAD);
        Frame::Failed(Failed { step: Step::Run, message, runtime_status: None }).encode(&mut bytes);
        assert!(matches!(Frame::read_from(&bytes[..]), Ok(Some(Frame::Failed(_)))));
    }

    #[test]
    fn nonsense_is_refused() {
        assert!(matches!(parse_header([1, 1, 0, 1, 0]), Err(FrameError::Length { kind: 1, length: 65537 })));
        assert!(matches!(Request::decode(0x7f, vec![]), Err(FrameError::Kind { kind: 0x7f })));
        assert!(matches!(Request::decode(kind::RESIZE, vec![1]), Err(FrameError::Length { .. })));
        assert!(matches!(Frame::decode(kind::READY, vec![b'{']), Err(FrameError::Payload { .. })));
        assert!(matches!(Frame::read_from(&[kind::EXIT, 4, 0, 0, 0, 1][..]), Err(FrameError::Io(_))));
    }
}
