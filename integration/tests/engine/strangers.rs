//! Foreign texts and clients: the texts never reach a terminal raw, the clients are not turned away for their spelling.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use integration::deadline::PATIENCE;
use integration::{Node, Runtime};

/// Clears the screen, rings, and ends with the one-byte form of the same.
const NASTY: &str = "a\u{1b}[2Jb\u{7}c\u{9b}2Jd\re\u{7f}f";

fn is_tame(text: &str) -> bool {
    !text.contains(|character: char| character.is_control() && !matches!(character, '\n' | '\t'))
}

#[test]
fn control_characters_reach_no_terminal() {
    let node = Node::start(Runtime::Runc);
    let label = format!("key={NASTY}\nforged a line");
    let id = node.create(&["--name", "x", "-l", &label, "-e", &format!("A={NASTY}")], &["echo", NASTY]);
    for words in [
        &["ps", "-a", "--no-trunc"][..],
        &["ps", "-a", "--format", "{{.Names}} {{.Labels}} {{.Command}}"],
        &["events"],
        &["inspect", "x"],
        &["inspect", "-f", "{{.Config.Labels}} {{.Config.Env}} {{json .Config.Env}}", "x"],
    ] {
        let text = String::from_utf8(node.isula(words).stdout).expect("it is text");
        assert!(is_tame(&text), "{words:?}: {text:?}");
        assert!(words[0] == "inspect" || !text.contains("\nforged"), "{words:?}: {text:?}");
    }
    // As JSON they are unchanged.
    assert_eq!(node.inspect("x")["Config"]["Labels"]["key"], format!("{NASTY}\nforged a line").as_str());
    for words in [
        &["inspect", NASTY][..],
        &["rm", NASTY],
        &["create", "--name", NASTY, "busybox", "true"],
        &["pull", NASTY],
        &["cp", "x:/no/such/\u{1b}[2J", "/tmp"],
        &["network", "inspect", NASTY],
        &["volume", "create", NASTY],
        &["ps", "-f", &format!("status={NASTY}")],
    ] {
        let output = node.isula(words);
        assert_ne!(output.code(), 0, "{words:?}");
        assert!(is_tame(&output.stderr), "{words:?}: {:?}", output.stderr);
    }
    let log = node.log();
    assert!(is_tame(&log), "{log:?}");
    // A container's output is its own.
    node.ok(&["start", &id]);
    node.wait("x");
    let logs = String::from_utf8(node.isula(&["logs", "x"]).stdout).expect("it is text");
    assert_eq!(logs, format!("{NASTY}\n"));
    node.assert_clean_end();
}

/// gRPC stacks on the C core send the socket's path, with percent signs, as the authority.
#[test]
fn a_socket_may_be_called_by_its_path() {
    let node = Node::start(Runtime::Runc);
    let authority = node.socket().display().to_string().replace('/', "%2F");
    let frame = |kind: u8, flags: u8, stream: u8, payload: &[u8]| {
        let length = u32::try_from(payload.len()).expect("it is short").to_be_bytes();
        [&length[1..], &[kind, flags, 0, 0, 0, stream], payload].concat()
    };
    let text = |text: &str| [&[u8::try_from(text.len()).expect("it is short")], text.as_bytes()].concat();
    let headers = |how: &[u8]| {
        let names = [("content-type", "application/grpc"), ("te", "trailers")];
        let others = names.iter().flat_map(|(name, value)| [vec![0x40], text(name), text(value)].concat());
        // POST and http from the static table; the path with its name from there.
        [&[0x83, 0x86, 0x44][..], &text("/isula.v1.System/Version"), how, &others.collect::<Vec<_>>()].concat()
    };
    let mut stream = UnixStream::connect(node.socket()).expect("the daemon serves");
    stream.set_read_timeout(Some(PATIENCE)).expect("a time can be set");
    let message = [0; 5];
    let first = headers(&[&[0x41][..], &text(&authority)].concat());
    let sent = [
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
        frame(4, 0, 0, &[]),
        frame(1, 0x4, 1, &first),
        frame(0, 0x1, 1, &message),
    ];
    stream.write_all(&sent.concat()).expect("the daemon reads");
    // Up to the trailers: the answer is whole, and its status is 0.
    let mut answered = Vec::new();
    loop {
        let mut header = [0; 9];
        stream.read_exact(&mut header).expect("the daemon answers");
        let length = usize::from(header[1]) << 8 | usize::from(header[2]);
        let mut payload = vec![0; length];
        stream.read_exact(&mut payload).expect("the daemon answers");
        assert!(header[3] != 3 && header[3] != 7, "the call is reset: {header:?} {payload:?}");
        answered.push(header[3]);
        if header[3] == 1 && header[4] & 1 != 0 {
            break;
        }
    }
    assert!(answered.contains(&0), "there is a message: {answered:?}");
    node.assert_clean_end();
}
