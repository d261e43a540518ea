//! From the daemon to a file or standard output. A file appears under its name when all of it is there, or not at all.

use std::fs::{self, File, OpenOptions};
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::thread;

use cri_api::isula::v1::Piece;
use tokio::sync::{mpsc, oneshot};
use tonic::Streaming;

use crate::failure::Failure;
use crate::text::moment;

/// Pieces waiting to be written; beyond them the daemon waits.
const QUEUE: usize = 4;

/// An opened destination.
pub(crate) struct Target {
    file: File,
    place: Place,
}

enum Place {
    Stdout,
    /// A pipe or device: there is nothing to rename.
    Special(PathBuf),
    Partial(Partial),
}

/// A file under another name; removed unless it was completed.
struct Partial {
    path: PathBuf,
    wanted: PathBuf,
    complete: bool,
}

impl Target {
    /// Makes a file beside `path`, or takes standard output when there is none.
    pub(crate) fn open(path: Option<&str>) -> Result<Self, Failure> {
        match path {
            Some(path) => Self::create(path),
            None => Self::stdout(),
        }
    }

    fn stdout() -> Result<Self, Failure> {
        let stdout = io::stdout();
        if stdout.is_terminal() {
            return Err(Failure::usage(
                "Refusing to write an archive to the terminal: use -o FILE, or redirect output",
            ));
        }
        let owned = stdout.as_fd().try_clone_to_owned().map_err(Failure::output)?;
        Ok(Self { file: owned.into(), place: Place::Stdout })
    }

    fn create(path: &str) -> Result<Self, Failure> {
        let failed = |error| Failure::io(format!("create '{path}'"), error);
        let there = fs::metadata(path).ok();
        if there.as_ref().is_some_and(fs::Metadata::is_dir) {
            return Err(failed(io::ErrorKind::IsADirectory.into()));
        }
        if there.as_ref().is_some_and(|there| !there.is_file()) {
            let file = OpenOptions::new().write(true).open(path).map_err(failed)?;
            return Ok(Self { file, place: Place::Special(path.into()) });
        }
        // A link's target is replaced, not the link.
        let wanted = if there.is_some() { fs::canonicalize(path).map_err(failed)? } else { PathBuf::from(path) };
        let name = wanted.file_name().ok_or_else(|| failed(io::ErrorKind::InvalidInput.into()))?;
        let partial = format!(".{}.{}.{}", name.to_string_lossy(), std::process::id(), moment::now());
        let partial = Partial { path: wanted.with_file_name(partial), wanted, complete: false };
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&partial.path).map_err(failed)?;
        Ok(Self { file, place: Place::Partial(partial) })
    }

    /// Writes all that comes, and gives the file its name.
    pub(crate) async fn fill(self, mut pieces: Streaming<Piece>) -> Result<(), Failure> {
        self.fill_from(async || Ok(pieces.message().await?.map(|piece| piece.bytes))).await
    }

    /// The same for a source that comes in pieces.
    pub(crate) async fn fill_from(
        self,
        mut next: impl AsyncFnMut() -> Result<Option<Vec<u8>>, Failure>,
    ) -> Result<(), Failure> {
        let Self { file, place } = self;
        let durable = matches!(place, Place::Partial(_));
        let (queue, waiting) = mpsc::channel(QUEUE);
        let (result, written) = oneshot::channel();
        let write = move || {
            // The receiver is gone when the command was given up; the result is not needed then.
            let _ = result.send(write_all(file, waiting, durable));
        };
        let thread = thread::Builder::new().name("archive".into()).spawn(write);
        thread.map_err(|error| Failure::io("start a thread", error))?;
        while let Some(bytes) = next().await? {
            if queue.send(bytes).await.is_err() {
                break; // It says why below.
            }
        }
        drop(queue);
        let written =
            written.await.map_err(|_| Failure::Client("the thread that writes the archive has died".into()))?;
        match place {
            Place::Stdout => written.map_err(Failure::output),
            Place::Special(path) => written.map_err(|error| cannot_write(&path, error)),
            Place::Partial(partial) => {
                written.map_err(|error| cannot_write(&partial.wanted, error))?;
                partial.complete()
            }
        }
    }
}

fn cannot_write(path: &Path, error: io::Error) -> Failure {
    Failure::io(format!("write '{}'", path.display()), error)
}

/// With `durable`, a disk that is full or broken is noticed before the file has its name.
fn write_all(mut file: File, mut waiting: mpsc::Receiver<Vec<u8>>, durable: bool) -> io::Result<()> {
    while let Some(bytes) = waiting.blocking_recv() {
        file.write_all(&bytes)?;
    }
    if durable { file.sync_all() } else { Ok(()) }
}

impl Partial {
    fn complete(mut self) -> Result<(), Failure> {
        fs::rename(&self.path, &self.wanted).map_err(|error| cannot_write(&self.wanted, error))?;
        self.complete = true;
        Ok(())
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if !self.complete {
            // The failure that led here is reported already, and a destructor has no caller to report a second one to.
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unwritable_target_is_refused_at_once() {
        let complaint = |path: &str| Target::open(Some(path)).err().unwrap().to_string();
        assert_eq!(complaint("/no/such/x"), "cannot create '/no/such/x': No such file or directory (os error 2)");
        assert_eq!(complaint("/tmp"), "cannot create '/tmp': is a directory");
        assert!(matches!(Target::open(Some("/dev/null")).unwrap().place, Place::Special(_)));
    }

    #[test]
    fn a_file_that_was_not_completed_leaves_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.tar");
        let target = Target::open(path.to_str()).unwrap();
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 1);
        assert!(!path.exists());
        drop(target);
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 0);
    }
}
