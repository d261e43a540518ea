//! Copies as the engine's work: each on a thread of its own, few enough at a time, ended when its caller has gone.

use std::ffi::OsStr;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use rustix::fs::FileType;
use tokio::sync::{mpsc, oneshot, watch};

use super::diff::{self, Change};
use super::open::Held;
use super::pack::{self, Callbacks};
use super::view::{Found, last};
use super::{Files, FilesError, UnpackOptions, unpack};
use crate::cancel;
use crate::domain::id::ContainerId;
use crate::image::Pieces;
use crate::records::SharedAccess;

/// Looking at one path is quick unless a file system hangs.
const LOOK_DEADLINE: Duration = Duration::from_secs(30);
/// Bytes of a piece on its way to a client, and how many are.
const PIECE: usize = 256 << 10;
const IN_FLIGHT: usize = 4;

/// The facts about the file at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Facts {
    /// The last part of the path as it was asked for; empty for the root.
    pub name: Vec<u8>,
    pub kind: FactsKind,
    pub size: u64,
    pub mode: u32,
    /// Nanoseconds.
    pub modified_at: i64,
    /// The text of a link; empty for other files.
    pub target: Vec<u8>,
    /// Within the container.
    pub path: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FactsKind {
    File,
    Directory,
    Link,
    Other,
}

/// A piece of a stream to a client.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Part<T> {
    Item(T),
    /// A text about a file that was left out.
    Note(String),
}

/// On its way to a client; dropped, it ends the work.
#[derive(Debug)]
pub(crate) struct Outgoing<T> {
    parts: mpsc::Receiver<Result<Part<T>, FilesError>>,
    give_way: watch::Receiver<Option<&'static str>>,
}

impl<T> Outgoing<T> {
    /// The next one. After an error there is nothing more.
    pub(crate) async fn next(&mut self) -> Option<Result<Part<T>, FilesError>> {
        let given_way = async {
            let why = self.give_way.wait_for(Option::is_some).await.map(|why| *why);
            // A copy that has ended need not give way any more.
            match why {
                Ok(Some(why)) => why,
                Ok(None) | Err(_) => std::future::pending().await,
            }
        };
        tokio::select! {
            // A copy that was finished before is whole.
            biased;
            part = self.parts.recv() => part,
            why = given_way => {
                self.parts.close();
                Some(Err(FilesError::GaveWay { why }))
            }
        }
    }
}

/// The end of work that had to give way, with the reason. Called while the access is held: the reason is gone with it.
fn reason_of(error: FilesError, access: &SharedAccess) -> FilesError {
    match (error, access.must_give_way()) {
        (FilesError::Stopped, Some(why)) => FilesError::GaveWay { why },
        (error, _) => error,
    }
}

/// The thread's end of it.
struct Pipe<T> {
    parts: mpsc::Sender<Result<Part<T>, FilesError>>,
}

impl<T> Pipe<T> {
    fn send(&self, part: Part<T>) -> io::Result<()> {
        self.parts.blocking_send(Ok(part)).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

/// Collects bytes to pieces.
struct PieceWriter<'a> {
    pipe: &'a Pipe<Bytes>,
    piece: BytesMut,
}

impl Write for PieceWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let length = bytes.len().min(PIECE - self.piece.len());
        self.piece.extend_from_slice(&bytes[..length]);
        if self.piece.len() == PIECE {
            self.flush()?;
        }
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.piece.is_empty() {
            return Ok(());
        }
        let piece = std::mem::replace(&mut self.piece, BytesMut::with_capacity(PIECE)).freeze();
        self.pipe.send(Part::Item(piece))
    }
}

impl Files {
    /// The facts about the file at a path of a container.
    pub(crate) async fn facts(
        self: &Arc<Self>,
        id: ContainerId,
        path: &[u8],
        follow: bool,
    ) -> Result<Facts, FilesError> {
        let held = self.hold(id).await?;
        // Taken after the wait, which a shim that does not answer can make long.
        let place = self.place()?;
        let (files, path) = (self.clone(), absolute(path));
        let looking = tokio::task::spawn_blocking(move || {
            let _place = place;
            let opened = held.open(&files, Path::new(OsStr::from_bytes(&path)))?;
            let found = opened.view.find(OsStr::from_bytes(&path), follow)?;
            facts(&found, &path)
        });
        let looked = tokio::time::timeout(LOOK_DEADLINE, looking).await.map_err(|_| FilesError::Slow)?;
        looked.unwrap_or_else(|source| Err(FilesError::Task { source }))
    }

    /// A path of a container as a tar, after its facts. Names in the tar begin with the path's last part.
    pub(crate) async fn copy_from(
        self: &Arc<Self>,
        id: ContainerId,
        path: &[u8],
        follow: bool,
    ) -> Result<(Facts, Outgoing<Bytes>), FilesError> {
        let path = absolute(path);
        let (found, is_found) = oneshot::channel();
        let outgoing = self.send_out(id, move |files, held, pipe, stop| {
            let asked = OsStr::from_bytes(&path);
            let opened = held.open(files, Path::new(asked))?;
            let place = opened.view.find(asked, follow)?;
            let facts = facts(&place, &path)?;
            let base = if facts.name.is_empty() { b".".to_vec() } else { facts.name.clone() };
            // A caller that has gone receives no pieces either, and the first piece ends the work.
            let _ = found.send(facts);
            pack_into(&opened.view, place, &base, pipe, stop)
        });
        let mut outgoing = outgoing.await?;
        // Either the facts come, or the error that kept them from coming.
        match is_found.await {
            Ok(facts) => Ok((facts, outgoing)),
            Err(_) => match outgoing.next().await {
                Some(Err(error)) => Err(error),
                Some(Ok(_)) | None => Err(FilesError::Stopped),
            },
        }
    }

    /// The root filesystem of a container as a tar, without the mounts in it.
    pub(crate) async fn export(self: &Arc<Self>, id: ContainerId) -> Result<Outgoing<Bytes>, FilesError> {
        self.send_out(id, |files, held, pipe, stop| {
            let opened = held.open_rootfs(files)?;
            let root = Found::Directory { above: vec![opened.view.root()] };
            pack_into(&opened.view, root, b"", pipe, stop)
        })
        .await
    }

    /// The changes of the container against its image, sorted by path.
    pub(crate) async fn diff(self: &Arc<Self>, id: ContainerId) -> Result<Outgoing<Change>, FilesError> {
        self.send_out(id, |files, held, pipe, stop| {
            let changes = diff::of_container(files, &held.entity, stop)?;
            changes.into_iter().try_for_each(|change| pipe.send(Part::Item(change))).map_err(output)
        })
        .await
    }

    /// Unpacks a tar into a directory of a container. Files unpacked before an error stay.
    pub(crate) async fn copy_to(
        self: &Arc<Self>,
        id: ContainerId,
        path: &[u8],
        options: UnpackOptions,
        pieces: Pieces,
    ) -> Result<(), FilesError> {
        let held = self.hold(id).await?;
        // Taken after the wait, which a shim that does not answer can make long.
        let place = self.place()?;
        let mut give_way = held.access.subscribe();
        let (files, path) = (self.clone(), absolute(path));
        let work = cancel::blocking(move |cancel| {
            let _place = place;
            let stop = || cancel.is_cancelled() || held.access.must_give_way().is_some();
            let asked = OsStr::from_bytes(&path);
            let opened = held.open(&files, Path::new(asked))?;
            match opened.view.find(asked, true)? {
                Found::Directory { above } => unpack::unpack(&opened.view, above, pieces, options, &stop)
                    .map_err(|error| reason_of(error, &held.access)),
                Found::Other(node) => Err(FilesError::NotADirectory { path: node.path }),
                Found::Missing { above, name } => Err(FilesError::NoSuchPath { path: last(&above).path.join(name) }),
            }
        });
        let given_way = async {
            match give_way.wait_for(Option::is_some).await.map(|why| *why) {
                Ok(Some(why)) => why,
                Ok(None) | Err(_) => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            done = work => done.unwrap_or_else(|source| Err(FilesError::Task { source })),
            // The sender of the pieces stops then, and the thread ends.
            why = given_way => Err(FilesError::GaveWay { why }),
        }
    }

    /// Runs work that sends parts to a client.
    async fn send_out<T: Send + 'static>(
        self: &Arc<Self>,
        id: ContainerId,
        work: impl FnOnce(&Files, &Held, &Pipe<T>, &dyn Fn() -> bool) -> Result<(), FilesError> + Send + 'static,
    ) -> Result<Outgoing<T>, FilesError> {
        let held = self.hold(id).await?;
        // Taken after the wait, which a shim that does not answer can make long.
        let place = self.place()?;
        let give_way = held.access.subscribe();
        let (sender, parts) = mpsc::channel(IN_FLIGHT);
        let files = self.clone();
        tokio::task::spawn_blocking(move || {
            let _place = place;
            let pipe = Pipe { parts: sender };
            let stop = || pipe.parts.is_closed() || held.access.must_give_way().is_some();
            // A panic must not pass for the end of a whole stream.
            let outcome = catch_unwind(AssertUnwindSafe(|| work(&files, &held, &pipe, &stop)));
            let abnormal = || io::Error::other("the work that wrote it ended abnormally");
            if let Err(error) = outcome.unwrap_or_else(|_| Err(output(abnormal()))) {
                // The receiver may have gone.
                let _ = pipe.parts.blocking_send(Err(reason_of(error, &held.access)));
            }
        });
        Ok(Outgoing { parts, give_way })
    }
}

fn pack_into(
    view: &super::view::View,
    found: Found,
    base: &[u8],
    pipe: &Pipe<Bytes>,
    stop: &dyn Fn() -> bool,
) -> Result<(), FilesError> {
    let out = PieceWriter { pipe, piece: BytesMut::with_capacity(PIECE) };
    let mut note = |text| drop(pipe.send(Part::Note(text)));
    pack::pack(view, found, base, out, Callbacks { stop, note: &mut note })
}

fn output(source: io::Error) -> FilesError {
    FilesError::Output { source }
}

/// Paths are taken from the root of the container.
fn absolute(path: &[u8]) -> Vec<u8> {
    if path.starts_with(b"/") { path.to_vec() } else { [b"/", path].concat() }
}

fn facts(found: &Found, asked: &[u8]) -> Result<Facts, FilesError> {
    let name = asked.split(|byte| *byte == b'/').rfind(|part| !matches!(*part, b"" | b"."));
    let (stat, path, target) = match found {
        Found::Missing { above, name } => {
            return Err(FilesError::NoSuchPath { path: last(above).path.join(name) });
        }
        Found::Directory { above } => {
            let dir = last(above);
            let stat = rustix::fs::fstat(&*dir.fd);
            (stat.map_err(|errno| FilesError::io("examine", &dir.path, errno.into()))?, &dir.path, Vec::new())
        }
        Found::Other(node) => {
            let target = match node.kind() {
                FileType::Symlink => {
                    node.target().map_err(|error| FilesError::io("read the link", &node.path, error))?
                }
                _ => Vec::new(),
            };
            (node.facts, &node.path, target)
        }
    };
    let path = path.as_os_str().as_bytes().to_vec();
    // `..` is no name: the name is that of the directory it leads to.
    let name = match name {
        Some(b"..") => path.rsplit(|byte| *byte == b'/').next().unwrap_or_default().to_vec(),
        Some(name) => name.to_vec(),
        None => Vec::new(),
    };
    Ok(Facts {
        name,
        kind: match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => FactsKind::File,
            FileType::Directory => FactsKind::Directory,
            FileType::Symlink => FactsKind::Link,
            _ => FactsKind::Other,
        },
        size: u64::try_from(stat.st_size).unwrap_or(0),
        mode: stat.st_mode & 0o7777,
        modified_at: stat.st_mtime.saturating_mul(1_000_000_000).saturating_add(stat.st_mtime_nsec as i64),
        target,
        path,
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::records::RootAccess;

    #[tokio::test]
    async fn an_end_that_was_asked_for_has_its_reason() {
        let access = Arc::new(RootAccess::default());
        let shared = access.shared().await;
        assert!(matches!(reason_of(FilesError::Stopped, &shared), FilesError::Stopped));
        let removing = tokio::spawn({
            let access = access.clone();
            async move { access.exclusive(Duration::ZERO, "it is being removed").await.is_some() }
        });
        shared.subscribe().wait_for(Option::is_some).await.unwrap();
        assert!(matches!(reason_of(FilesError::Stopped, &shared), FilesError::GaveWay { why: "it is being removed" }));
        drop(shared);
        assert!(removing.await.unwrap());
    }
}
