//! Our stdin, read by a thread and sent on; its end is told, so that `echo x | isula run -i … cat` ends.

use std::io::{self, ErrorKind, Read};
use std::thread;

use cri_api::isula::v1::attach_input::Input;
use cri_api::isula::v1::{AttachInput, Empty};
use tokio::sync::mpsc::Sender;

use crate::failure::Failure;

/// A pipe's worth.
const CHUNK: usize = 64 * 1024;

/// Starts the reader. It ends with the input, with the session, or with the program.
pub(super) fn spawn(to_daemon: Sender<AttachInput>) -> Result<(), Failure> {
    let read = move || {
        let mut buffer = vec![0; CHUNK];
        while let Some(bytes) = next(&mut buffer) {
            if to_daemon.blocking_send(AttachInput { input: Some(Input::Stdin(bytes)) }).is_err() {
                return; // The session is over.
            }
        }
        let _ = to_daemon.blocking_send(AttachInput { input: Some(Input::StdinClosed(Empty {})) });
    };
    thread::Builder::new().name("stdin".into()).spawn(read).map_err(|error| Failure::io("start a thread", error))?;
    Ok(())
}

/// The next bytes, or nothing at the end. An input that cannot be read is at its end.
fn next(buffer: &mut [u8]) -> Option<Vec<u8>> {
    loop {
        match io::stdin().lock().read(buffer) {
            Ok(0) => return None,
            Ok(count) => return Some(buffer[..count].to_vec()),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return None,
        }
    }
}
