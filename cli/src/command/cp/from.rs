//! Out of a container.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::thread;

use cri_api::isula::v1::copy_from_response::Part;
use cri_api::isula::v1::file_facts::Kind;
use cri_api::isula::v1::{CopyFromRequest, CopyFromResponse};
use tokio::sync::{mpsc, oneshot};
use tonic::Streaming;

use super::unpack::{Destination, Unpacked};
use super::{CopyOptions, End, base, only_contents, requires_directory, split, unpack};
use crate::archive::Target;
use crate::client::Client;
use crate::failure::Failure;
use crate::output;

/// Pieces waiting to be unpacked; beyond them the daemon waits.
const QUEUE: usize = 4;
/// Links that lead to links, as many as the kernel follows.
pub(super) const MOST_LINKS: usize = 40;

pub(super) async fn copy(
    client: &Client,
    container: &str,
    path: &str,
    to: End,
    options: CopyOptions,
) -> Result<u8, Failure> {
    // Before the daemon begins: a terminal is no place for an archive.
    let target = match &to {
        End::Stream => Some(Target::open(None)?),
        End::Local(_) | End::Container { .. } => None,
    };
    let follow = options.follow || requires_directory(path);
    let request = CopyFromRequest { container: container.to_owned(), path: path.to_owned(), follow };
    let mut parts = client.files().copy_from(request).await?.into_inner();
    let Some(Part::Facts(facts)) = parts.message().await?.and_then(|message| message.part) else {
        return Err(Failure::Client("the daemon does not say what it sends".into()));
    };
    if let Some(target) = target {
        target.fill_from(async || next(&mut parts).await).await?;
        return Ok(0);
    }
    let End::Local(local) = to else { return Err(Failure::usage("the destination is not local")) };
    let is_directory = facts.kind() == Kind::Directory;
    let destination = place(&local, path, is_directory, facts.name.is_empty())?;
    let unpacked = receive(parts, destination, options.archive).await?;
    for note in unpacked.notes {
        output::complain(&note);
    }
    Ok(0)
}

/// Where things go. The root itself has no name, so only its contents can be copied.
fn place(local: &str, source: &str, is_directory: bool, is_root: bool) -> Result<Destination, Failure> {
    let skip = usize::from(!is_root);
    let leads_to = end_of_links(local)?;
    let local = leads_to.as_deref().unwrap_or(local);
    let failed = |error| Failure::io(format!("copy to '{local}'"), error);
    let there = match std::fs::metadata(local) {
        Ok(there) => Some(there),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(failed(error)),
    };
    let contents = is_directory && (is_root || only_contents(source));
    match there {
        Some(there) if there.is_dir() => {
            let name = if contents { None } else { Some(base(source).into()) };
            Destination::open(Path::new(local), name, skip).map_err(failed)
        }
        Some(_) if is_directory || requires_directory(local) => {
            Err(Failure::Client(format!("cannot copy to '{local}': it is not a directory")))
        }
        // A link's target is replaced, not the link.
        Some(_) => {
            let wanted = std::fs::canonicalize(local).map_err(failed)?;
            let name = wanted.file_name().map(ToOwned::to_owned);
            let dir: PathBuf = wanted.parent().map(Path::to_path_buf).unwrap_or_default();
            Destination::open(&dir, name, skip).map_err(failed)
        }
        None if !is_directory && requires_directory(local) => {
            Err(Failure::Client(format!("cannot copy to '{local}': there is no such directory")))
        }
        None => {
            let (dir, name) = split(local);
            Destination::open(Path::new(dir), Some(name.into()), skip).map_err(failed)
        }
    }
}

/// The target of a dangling link. The copy creates the target, as writing to the link would.
fn end_of_links(local: &str) -> Result<Option<String>, Failure> {
    let mut at = PathBuf::from(local.trim_end_matches('/'));
    for _ in 0..MOST_LINKS {
        let is_link = at.symlink_metadata().is_ok_and(|facts| facts.is_symlink());
        if !is_link || at.exists() {
            break;
        }
        let target = std::fs::read_link(&at).map_err(|error| Failure::io(format!("copy to '{local}'"), error))?;
        at = at.parent().unwrap_or(Path::new("")).join(target);
    }
    if at == Path::new(local.trim_end_matches('/')) {
        return Ok(None);
    }
    let end = at.into_os_string().into_string();
    end.map(Some).map_err(|end| Failure::Client(format!("cannot copy to '{}': it is not UTF-8", end.display())))
}

/// The next piece. Warnings about files that the daemon has left out are printed as they come.
async fn next(parts: &mut Streaming<CopyFromResponse>) -> Result<Option<Vec<u8>>, Failure> {
    while let Some(message) = parts.message().await? {
        match message.part {
            Some(Part::Tar(bytes)) => return Ok(Some(bytes)),
            Some(Part::Note(note)) => output::complain(&note),
            Some(Part::Facts(_)) | None => {}
        }
    }
    Ok(None)
}

async fn receive(
    mut parts: Streaming<CopyFromResponse>,
    destination: Destination,
    archive: bool,
) -> Result<Unpacked, Failure> {
    let (queue, waiting) = mpsc::channel(QUEUE);
    let (result, unpacked) = oneshot::channel();
    let work = move || {
        let mut from = Waiting { pieces: waiting, piece: Vec::new(), at: 0 };
        // The receiver is gone when the command was given up; the result is not needed then.
        let _ = result.send(unpack::unpack(&mut from, destination, archive));
    };
    let thread = thread::Builder::new().name("unpack".into()).spawn(work);
    thread.map_err(|error| Failure::io("start a thread", error))?;
    while let Some(bytes) = next(&mut parts).await? {
        if queue.send(Some(bytes)).await.is_err() {
            break; // It says why below.
        }
    }
    // A stream without this end mark counts as interrupted.
    let _ = queue.send(None).await;
    drop(queue);
    unpacked.await.map_err(|_| Failure::Client("the thread that unpacks has died".into()))?
}

/// The unpacking side: a reader for a thread that may block.
struct Waiting {
    pieces: mpsc::Receiver<Option<Vec<u8>>>,
    piece: Vec<u8>,
    at: usize,
}

impl Read for Waiting {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.at == self.piece.len() {
            match self.pieces.blocking_recv() {
                Some(Some(piece)) => (self.piece, self.at) = (piece, 0),
                Some(None) => {
                    self.pieces.close();
                    return Ok(0);
                }
                None => return Err(io::ErrorKind::ConnectionAborted.into()),
            }
        }
        let length = buffer.len().min(self.piece.len() - self.at);
        buffer[..length].copy_from_slice(&self.piece[self.at..self.at + length]);
        self.at += length;
        Ok(length)
    }
}
