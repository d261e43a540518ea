use std::time::Duration;

use isulad_shim::control::{LogPlace, MAX_PAYLOAD, Position, kind};
use isulad_shim::{ExitStatus, Frame};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::shim_process::read_frame;

fn session() -> (Input, Output, UnixStream) {
    let (session, theirs) = Session::pair().unwrap();
    theirs.set_nonblocking(true).unwrap();
    let (input, output) = session.split();
    (input, output, UnixStream::from_std(theirs).unwrap())
}

fn encoded(frames: &[Frame]) -> Vec<u8> {
    let mut bytes = Vec::new();
    frames.iter().for_each(|frame| frame.encode(&mut bytes));
    bytes
}

async fn requests(shim: &mut UnixStream, count: usize) -> Vec<Request> {
    let mut requests = Vec::new();
    for _ in 0..count {
        let mut header = [0; 5];
        shim.read_exact(&mut header).await.unwrap();
        let (kind, length) = isulad_shim::control::parse_header(header).unwrap();
        let mut payload = vec![0; length];
        shim.read_exact(&mut payload).await.unwrap();
        requests.push(Request::decode(kind, payload).unwrap());
    }
    requests
}

#[tokio::test]
async fn frames_are_delivered_whole_however_their_bytes_are_cut() {
    let bytes = encoded(&[
        Frame::Stdout(b"out".to_vec()),
        Frame::Ack(4),
        Frame::Stderr(vec![7; MAX_PAYLOAD]),
        Frame::Exit(ExitStatus::Code(3), Some(17)),
    ]);
    for cut in [1, 4, 5, 6, 8, 9, 15, 40_000, bytes.len() - 1] {
        let (_input, mut output, mut shim) = session();
        let write = async {
            shim.write_all(&bytes[..cut]).await.unwrap();
            tokio::task::yield_now().await;
            shim.write_all(&bytes[cut..]).await.unwrap();
        };
        let read = async {
            assert_eq!(output.next().await, SessionEvent::Stdout(b"out".to_vec()));
            assert_eq!(output.next().await, SessionEvent::Done(4));
            assert_eq!(output.next().await, SessionEvent::Stderr(vec![7; MAX_PAYLOAD]));
            assert_eq!(output.next().await, SessionEvent::Exited(Exit { status: ExitStatus::Code(3), at: Some(17) }));
        };
        tokio::join!(write, read);
    }
}

#[tokio::test]
async fn end_of_stream_and_invalid_frames_are_lost() {
    for bytes in [vec![], vec![0x81, 3, 0], vec![0x7f, 0, 0, 0, 0], vec![0x81, 255, 255, 255, 255]] {
        let (_input, mut output, mut shim) = session();
        shim.write_all(&bytes).await.unwrap();
        drop(shim);
        assert_eq!(output.next().await, SessionEvent::Lost);
        assert_eq!(output.next().await, SessionEvent::Lost, "it stays so");
    }
}

#[tokio::test]
async fn output_continues_after_input_is_dropped() {
    let (input, mut output, mut shim) = session();
    drop(input);
    shim.write_all(&encoded(&[Frame::Stdout(b"x".to_vec())])).await.unwrap();
    assert_eq!(output.next().await, SessionEvent::Stdout(b"x".to_vec()));
    drop(output);
    assert_eq!(read_frame(&mut shim).await.unwrap(), None, "now the client is gone");
}

#[tokio::test]
async fn input_waits_for_the_reader_and_a_cancelled_write_leaves_no_half_frame() {
    let (mut input, output, mut shim) = session();
    let large = vec![1; 16 * MAX_PAYLOAD];
    let waited = tokio::time::timeout(Duration::from_millis(50), input.write(&large)).await;
    assert!(waited.is_err(), "the shim has read nothing");
    let rest = async {
        input.resize(Size { width: 80, height: 24 }).await.unwrap();
        input.close().await.unwrap();
        drop((input, output));
    };
    let read = async {
        let mut seen = Vec::new();
        loop {
            match requests(&mut shim, 1).await.remove(0) {
                Request::CloseStdin => return seen,
                request => seen.push(request),
            }
        }
    };
    let ((), seen) = tokio::join!(rest, read);
    let (last, stdin) = seen.split_last().unwrap();
    assert_eq!(*last, Request::Resize { width: 80, height: 24 });
    assert!(!stdin.is_empty() && stdin.iter().all(|request| *request == Request::Stdin(vec![1; MAX_PAYLOAD])));
}

#[tokio::test]
async fn follow_requests_the_wanted_streams() {
    let (ours, mut shim) = UnixStream::pair().unwrap();
    let wanted = Streams { stdin: false, stdout: true, stderr: false };
    Session::over(ours).follow(wanted, Follower::New).await.unwrap();
    assert_eq!(requests(&mut shim, 1).await, [Request::Follow(wanted, Follower::New)]);
}

#[tokio::test]
async fn places_are_those_of_delivered_output() {
    let (_input, mut output, mut shim) = session();
    let place = |offset| LogPlace { ino: 7, created: 8, offset };
    let at = |stream, offset, unlogged| Frame::Position(Position { stream, place: Some(place(offset)), unlogged });
    let frames = [
        at(kind::STDOUT, 100, 0),
        at(kind::STDERR, 100, 4),
        Frame::Stdout(b"abc".to_vec()),
        Frame::Stderr(b"xyz".to_vec()),
        at(kind::STDOUT, 150, 1),
        Frame::Stdout(b"defg".to_vec()),
        Frame::Ack(kind::CLOSE_STDIN),
        Frame::Position(Position { stream: kind::STDERR, place: None, unlogged: 0 }),
        Frame::Stderr(b"!".to_vec()),
    ];
    shim.write_all(&encoded(&frames)).await.unwrap();
    output.placed(Streams { stdin: false, stdout: true, stderr: true }).await.unwrap();
    // Delivered by another session, up to the first byte of the second piece.
    output.skip(4, 0);
    assert_eq!(output.places().stdout, Some(Reached { place: place(100), beyond: 4 }));
    assert_eq!(output.next().await, SessionEvent::Stderr(b"xyz".to_vec()));
    assert_eq!(output.places().stderr, Some(Reached { place: place(100), beyond: 7 }));
    assert_eq!(output.next().await, SessionEvent::Stdout(b"efg".to_vec()));
    assert_eq!(output.places().stdout, Some(Reached { place: place(150), beyond: 5 }));
    assert!(!output.input_delivered());
    assert_eq!(output.next().await, SessionEvent::Done(kind::CLOSE_STDIN));
    assert_eq!(output.next().await, SessionEvent::Stderr(b"!".to_vec()));
    assert_eq!((output.places().stderr, output.input_delivered()), (None, true));
    drop(shim);
    assert_eq!(output.placed(Streams::ALL).await, Err(SessionEvent::Lost));
}

#[test]
fn sizes_out_of_range_are_none() {
    assert_eq!(Size::new(80, 24), Some(Size { width: 80, height: 24 }));
    assert_eq!(Size::new(1, 32767), Some(Size { width: 1, height: 32767 }));
    for (width, height) in [(0, 0), (0, 24), (80, 0), (32768, 24), (80, 65535), (65536 + 80, 24), (u32::MAX, 1)] {
        assert_eq!(Size::new(width, height), None, "{width} by {height}");
    }
}
