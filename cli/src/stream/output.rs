//! Our stdout and stderr, written by a thread: a reader that does not read must not keep signals from being passed on.

use std::io::{self, Write};
use std::thread;

use tokio::sync::{mpsc, oneshot};

use crate::failure::Failure;

/// Chunks waiting to be written; beyond them the daemon waits.
const OUTPUT_QUEUE: usize = 16;

enum Chunk {
    Stdout(Vec<u8>),
    Stderr(Vec<u8>),
}

/// Its thread begins with the first bytes: most commands that are run for their exit code write nothing.
#[derive(Default)]
pub(super) struct Writer {
    thread: Option<Thread>,
}

struct Thread {
    chunks: mpsc::Sender<Chunk>,
    finished: oneshot::Receiver<io::Result<()>>,
}

impl Writer {
    /// Queues bytes for stdout; false when writing has failed, which [`Self::finish`] explains.
    pub(super) async fn stdout(&mut self, bytes: Vec<u8>) -> Result<bool, Failure> {
        Ok(self.thread()?.chunks.send(Chunk::Stdout(bytes)).await.is_ok())
    }

    /// The same for stderr.
    pub(super) async fn stderr(&mut self, bytes: Vec<u8>) -> Result<bool, Failure> {
        Ok(self.thread()?.chunks.send(Chunk::Stderr(bytes)).await.is_ok())
    }

    /// Returns when all is written.
    pub(super) async fn finish(self) -> Result<(), Failure> {
        let Some(Thread { chunks, finished }) = self.thread else { return Ok(()) };
        drop(chunks);
        match finished.await {
            Ok(written) => written.map_err(Failure::output),
            Err(_) => Err(Failure::Client("the thread that writes the output has died".into())),
        }
    }

    fn thread(&mut self) -> Result<&Thread, Failure> {
        match &mut self.thread {
            Some(thread) => Ok(thread),
            none => Ok(none.insert(Thread::spawn()?)),
        }
    }
}

impl Thread {
    fn spawn() -> Result<Self, Failure> {
        let (chunks, waiting) = mpsc::channel(OUTPUT_QUEUE);
        let (result, finished) = oneshot::channel();
        let write = move || {
            // The receiver is gone when the session was given up; the result is not needed then.
            let _ = result.send(write_all(waiting));
        };
        let thread = thread::Builder::new().name("stdout".into()).spawn(write);
        thread.map_err(|error| Failure::io("start a thread", error))?;
        Ok(Self { chunks, finished })
    }
}

fn write_all(mut waiting: mpsc::Receiver<Chunk>) -> io::Result<()> {
    while let Some(chunk) = waiting.blocking_recv() {
        match chunk {
            Chunk::Stdout(bytes) => {
                let mut out = io::stdout().lock();
                out.write_all(&bytes)?;
                out.flush()?;
            }
            Chunk::Stderr(bytes) => io::stderr().lock().write_all(&bytes)?,
        }
    }
    Ok(())
}
