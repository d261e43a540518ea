//! From a file or standard input to the daemon. A thread reads; it waits when the daemon does not keep up.

use std::fs::File;
use std::io::{self, ErrorKind, IsTerminal, Read};
use std::os::fd::AsFd;
use std::thread;

use tokio::sync::mpsc::{self, Sender};
use tokio::sync::oneshot;
use tokio_stream::wrappers::ReceiverStream;

use super::STDIN;
use crate::failure::Failure;

const PIECE: u64 = 1 << 20;
/// Pieces read ahead of the daemon.
const QUEUE: usize = 2;

/// Something to read that can be sent: it was opened.
pub(crate) struct Archive {
    name: String,
    file: File,
    size: Option<u64>,
}

impl Archive {
    /// Opens the file, or takes standard input for `-`.
    pub(crate) fn open(path: &str) -> Result<Self, Failure> {
        if path == STDIN {
            return Self::stdin();
        }
        let failed = |error| Failure::io(format!("open '{path}'"), error);
        let file = File::open(path).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        if metadata.is_dir() {
            return Err(failed(ErrorKind::IsADirectory.into()));
        }
        let size = metadata.is_file().then_some(metadata.len());
        Ok(Self { name: path.to_owned(), file, size })
    }

    fn stdin() -> Result<Self, Failure> {
        let stdin = io::stdin();
        if stdin.is_terminal() {
            return Err(Failure::usage(
                "Refusing to read an archive from the terminal: name a file, or redirect input",
            ));
        }
        let owned = stdin.as_fd().try_clone_to_owned().map_err(|error| Failure::io("read standard input", error))?;
        Ok(Self { name: "stdin".into(), file: owned.into(), size: None })
    }

    /// For messages.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// In bytes, where it is known.
    pub(crate) fn size(&self) -> Option<u64> {
        self.size
    }

    /// Reads the file into the stream given to `call`, and returns the result of `call`, which may return before all is
    /// read. A read that fails drops the call with the stream still open, so that the daemon does not take a part for
    /// the whole.
    pub(crate) async fn send<T>(
        self,
        progress: impl Fn(u64) + Send + 'static,
        call: impl AsyncFnOnce(ReceiverStream<Vec<u8>>) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let Self { name, mut file, .. } = self;
        let (pieces, waiting) = mpsc::channel(QUEUE);
        let (result, fault) = oneshot::channel();
        let read = move || {
            if let Err(error) = read_all(&mut file, &pieces, progress) {
                // The stream must not end: its sender goes along.
                let _ = result.send((error, pieces));
            }
        };
        let thread = thread::Builder::new().name("archive".into()).spawn(read);
        thread.map_err(|error| Failure::io("start a thread", error))?;
        tokio::select! {
            done = call(ReceiverStream::new(waiting)) => done,
            Ok((error, _pieces)) = fault => Err(Failure::io(format!("read '{name}'"), error)),
        }
    }
}

/// Ends with the input, or when the receiver is closed.
fn read_all(file: &mut impl Read, pieces: &Sender<Vec<u8>>, progress: impl Fn(u64)) -> io::Result<()> {
    loop {
        let mut piece = Vec::new();
        let count = file.by_ref().take(PIECE).read_to_end(&mut piece)?;
        if count == 0 || pieces.blocking_send(piece).is_err() {
            return Ok(());
        }
        progress(count as u64);
    }
}

#[cfg(test)]
mod tests {
    use tokio_stream::StreamExt;

    use super::*;

    #[test]
    fn an_unreadable_source_is_refused_at_once() {
        let complaint = |path: &str| Archive::open(path).err().unwrap().to_string();
        assert_eq!(complaint("/no/such"), "cannot open '/no/such': No such file or directory (os error 2)");
        assert_eq!(complaint("/"), "cannot open '/': is a directory");
    }

    #[tokio::test]
    async fn pieces_are_the_file() {
        let bytes: Vec<u8> = (0..600_000u32).flat_map(u32::to_le_bytes).collect();
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), &bytes).unwrap();
        let archive = Archive::open(&file.path().display().to_string()).unwrap();
        assert_eq!(archive.size(), Some(2_400_000));
        let pieces = archive.send(|_| {}, async |pieces| Ok(pieces.collect::<Vec<_>>().await)).await.unwrap();
        assert_eq!(pieces.iter().map(Vec::len).collect::<Vec<_>>(), [1 << 20, 1 << 20, 302_848]);
        assert_eq!(pieces.concat(), bytes);
    }

    #[tokio::test]
    async fn a_read_that_fails_does_not_end_the_stream() {
        // The file opens, and reading it is an error.
        let archive = Archive::open("/proc/self/mem").unwrap();
        let ended = archive
            .send(
                |_| {},
                async |pieces| {
                    let pieces: Vec<_> = pieces.collect().await;
                    panic!("the stream ended after {} pieces", pieces.len())
                },
            )
            .await;
        let complaint = ended.map(|(): ()| ()).unwrap_err().to_string();
        assert!(complaint.starts_with("cannot read '/proc/self/mem': "), "{complaint}");
    }
}
