//! Our stdin, read by a thread and sent on. Its end is sent too, so that `echo x | isula run -i … cat` ends. The thread
//! may be reading when the session is over: it ends with the program.

use std::io::{self, ErrorKind, Read};
use std::thread;

use tokio::sync::{mpsc, oneshot};

use super::call::Call;
use super::keys::{DetachKeys, Typed};
use crate::failure::Failure;

/// A pipe's worth.
const CHUNK: usize = 64 * 1024;

/// Starts the reader. It ends with the input, with the session, or with the program. The receiver resolves when the
/// detach keys were typed; its sender is dropped otherwise.
pub(super) fn spawn<C: Call>(
    to_daemon: mpsc::Sender<C::Input>,
    keys: Option<DetachKeys>,
) -> Result<oneshot::Receiver<()>, Failure> {
    let (detach, detached) = oneshot::channel();
    let read = move || {
        if carry::<C>(io::stdin().lock(), keys, |message| to_daemon.blocking_send(message).is_ok()) {
            // The notice precedes the message, or the daemon's answer would come unexpected. The receiver is gone when
            // the session is over.
            let _ = detach.send(());
            let _ = to_daemon.blocking_send(C::detach());
        }
    };
    thread::Builder::new().name("stdin".into()).spawn(read).map_err(|error| Failure::io("start a thread", error))?;
    Ok(detached)
}

/// Sends all there is to read; true when it was left by the detach keys. `send` is false when the session is over.
fn carry<C: Call>(mut from: impl Read, mut keys: Option<DetachKeys>, send: impl Fn(C::Input) -> bool) -> bool {
    let mut buffer = vec![0; CHUNK];
    while let Some(bytes) = next(&mut from, &mut buffer) {
        let (passed, detached) = match &mut keys {
            None => (bytes.to_vec(), false),
            Some(keys) => {
                let Typed { passed, detached } = keys.take(bytes);
                (passed, detached)
            }
        };
        if !passed.is_empty() && !send(C::stdin(passed)) {
            return false;
        }
        if detached {
            return true;
        }
    }
    let rest = keys.map(|mut keys| keys.rest()).unwrap_or_default();
    if rest.is_empty() || send(C::stdin(rest)) {
        send(C::stdin_closed());
    }
    false
}

/// The next bytes, or nothing at the end. An input that cannot be read is at its end.
fn next<'a>(from: &mut impl Read, buffer: &'a mut [u8]) -> Option<&'a [u8]> {
    loop {
        match from.read(buffer) {
            Ok(0) => return None,
            Ok(count) => return Some(&buffer[..count]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use clap::Command;
    use cri_api::isula::v1::attach_input::Input;
    use cri_api::isula::v1::{AttachInput, Empty};

    use super::*;
    use crate::stream::call::Attach;
    use crate::stream::keys;

    /// A pipe that was written to in these pieces.
    struct Pieces(Vec<&'static [u8]>);

    impl Read for Pieces {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            if self.0.is_empty() {
                return Ok(0);
            }
            let piece = self.0.remove(0);
            buffer[..piece.len()].copy_from_slice(piece);
            Ok(piece.len())
        }
    }

    fn carried(pieces: &[&'static [u8]], keys: Option<DetachKeys>) -> (Vec<Input>, bool) {
        let sent = RefCell::new(Vec::new());
        let send = |AttachInput { input }| {
            sent.borrow_mut().extend(input);
            true
        };
        let detached = carry::<Attach>(Pieces(pieces.to_vec()), keys, send);
        (sent.into_inner(), detached)
    }

    fn default_keys() -> DetachKeys {
        keys::given(&Command::new("x").arg(keys::arg()).get_matches_from(["x"])).unwrap()
    }

    #[test]
    fn all_is_sent_and_then_its_end() {
        let (sent, detached) = carried(&[b"a\x10", b"\x11"], None);
        let stdin = |bytes: &[u8]| Input::Stdin(bytes.to_vec());
        assert_eq!(sent, [stdin(b"a\x10"), stdin(b"\x11"), Input::StdinClosed(Empty {})]);
        assert!(!detached);
    }

    #[test]
    fn bytes_before_the_keys_are_sent_and_none_after_them() {
        let (sent, detached) = carried(&[b"ab\x10", b"\x11cd", b"ef"], Some(default_keys()));
        assert_eq!(sent, [Input::Stdin(b"ab".to_vec())]);
        assert!(detached);
    }

    #[test]
    fn held_keys_are_sent_before_the_end() {
        let (sent, detached) = carried(&[b"\x01"], Some(default_keys()));
        assert_eq!(sent, [Input::Stdin(b"\x01".to_vec()), Input::StdinClosed(Empty {})]);
        assert!(!detached);
    }

    #[test]
    fn a_session_that_is_over_ends_the_reading() {
        assert!(!carry::<Attach>(Pieces(vec![b"a", b"b"]), None, |_| false));
    }
}
