//! Into a container.

use std::io::{self, Write};
use std::path::PathBuf;
use std::thread;

use cri_api::isula::v1::copy_to_request::Part;
use cri_api::isula::v1::file_facts::Kind;
use cri_api::isula::v1::{CopyToOpen, CopyToRequest, FileFacts, StatRequest};
use tokio::sync::{mpsc, oneshot};
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;

use super::from::MOST_LINKS;
use super::pack::{self, Source};
use super::{CopyOptions, End, base, only_contents, requires_directory, split};
use crate::archive::{Archive, STDIN};
use crate::client::{self, Client};
use crate::failure::Failure;
use crate::output;

const PIECE: usize = 256 << 10;
/// Pieces packed ahead of the daemon.
const QUEUE: usize = 4;

pub(super) async fn copy(
    client: &Client,
    from: End,
    container: &str,
    path: &str,
    options: CopyOptions,
) -> Result<u8, Failure> {
    let open = |path: String| CopyToOpen {
        container: container.to_owned(),
        path,
        archive: options.archive,
        no_overwrite_dir_non_dir: true,
    };
    let End::Local(local) = from else {
        let archive = Archive::open(STDIN)?;
        archive.send(|_| {}, async |pieces| send(client, open(path.to_owned()), pieces).await).await?;
        return Ok(0);
    };
    let follow = options.follow || requires_directory(&local);
    let failed = |error| Failure::io(format!("copy '{local}'"), error);
    let facts = if follow { std::fs::metadata(&local) } else { std::fs::symlink_metadata(&local) }.map_err(failed)?;
    if requires_directory(&local) && !facts.is_dir() {
        return Err(Failure::Client(format!("cannot copy '{local}': it is not a directory")));
    }
    let (there, path) = look(client, container, path).await?;
    let (dir, name) = place(there.as_ref(), &path, &local, facts.is_dir())?;
    let source = Source { path: PathBuf::from(&local), name: name.map(PathBuf::from), follow };
    pack_and_send(client, open(dir), source).await?;
    Ok(0)
}

/// The facts about the destination, `None` when it is missing, and its path. For a dangling link that is the link's
/// target, so that the target is created and the link stays.
async fn look(client: &Client, container: &str, path: &str) -> Result<(Option<FileFacts>, String), Failure> {
    let mut path = path.to_owned();
    for _ in 0..MOST_LINKS {
        if let Some(facts) = facts_of(client, container, &path, true).await? {
            return Ok((Some(facts), path));
        }
        let link = facts_of(client, container, path.trim_end_matches('/'), false).await?;
        let Some(link) = link.filter(|facts| facts.kind() == Kind::Link) else { break };
        path = target_of(&link);
    }
    // The container itself may be missing; its root always exists.
    let root = StatRequest { container: container.to_owned(), path: "/".to_owned(), follow: true };
    client::read(client.files().stat(root)).await?;
    Ok((None, path))
}

async fn facts_of(client: &Client, container: &str, path: &str, follow: bool) -> Result<Option<FileFacts>, Failure> {
    let request = StatRequest { container: container.to_owned(), path: path.to_owned(), follow };
    match client::answer(client.files().stat(request)).await? {
        Ok(facts) => Ok(Some(facts)),
        Err(status) if status.code() == Code::NotFound => Ok(None),
        Err(status) => Err(status.into()),
    }
}

/// The target of a container's link. The daemon walks it from the container's root.
fn target_of(link: &FileFacts) -> String {
    match link.target.starts_with('/') {
        true => link.target.clone(),
        false => format!("{}/{}", split(&link.path).0.trim_end_matches('/'), link.target),
    }
}

/// The directory to unpack in, and the source's name there; `None`: only its contents.
fn place(
    there: Option<&FileFacts>,
    path: &str,
    local: &str,
    is_directory: bool,
) -> Result<(String, Option<String>), Failure> {
    let contents = is_directory && only_contents(local);
    match there {
        Some(there) if there.kind() == Kind::Directory => {
            let name = if contents { None } else { Some(own_name(local)?) };
            Ok((there.path.clone(), name))
        }
        Some(_) if is_directory => Err(Failure::Client(format!("cannot copy a directory to '{path}', which is none"))),
        Some(_) if requires_directory(path) => Err(Failure::Client(format!("'{path}' is not a directory"))),
        // Where a link leads, its end is replaced.
        Some(there) => {
            let (dir, name) = split(&there.path);
            Ok((dir.to_owned(), Some(name.to_owned())))
        }
        None if !is_directory && requires_directory(path) => {
            Err(Failure::Client(format!("no such directory: '{path}'")))
        }
        None => {
            let (dir, name) = split(path.strip_suffix("/.").unwrap_or(path));
            let dir = if dir == "." { "/" } else { dir };
            Ok((dir.to_owned(), Some(name.to_owned())))
        }
    }
}

/// The source's own name. `.` and `..` have the directory's; the root has none, which is an error.
fn own_name(local: &str) -> Result<String, Failure> {
    match base(local) {
        "" | "." | ".." => {
            let real = std::fs::canonicalize(local).map_err(|error| Failure::io(format!("copy '{local}'"), error))?;
            let name = real.file_name().map(|name| name.to_string_lossy().into_owned());
            name.ok_or_else(|| Failure::Client(format!("'{local}' has no name: add /. to copy what is in it")))
        }
        name => Ok(name.to_owned()),
    }
}

async fn send(client: &Client, open: CopyToOpen, pieces: ReceiverStream<Vec<u8>>) -> Result<(), Failure> {
    let pieces = StreamExt::map(pieces, |bytes| CopyToRequest { part: Some(Part::Tar(bytes)) });
    let open = tokio_stream::once(CopyToRequest { part: Some(Part::Open(open)) });
    client.files().copy_to(open.chain(pieces)).await?;
    Ok(())
}

/// A thread packs. If it fails the stream must not end, so that the daemon does not take a part for the whole.
async fn pack_and_send(client: &Client, open: CopyToOpen, source: Source) -> Result<(), Failure> {
    let (pieces, waiting) = mpsc::channel(QUEUE);
    let (result, packed) = oneshot::channel();
    let work = move || {
        let mut out = Pieces { pieces, piece: Vec::with_capacity(PIECE) };
        match pack::pack(&source, &mut out) {
            Ok(notes) => drop(result.send(Ok(notes))),
            Err(failure) => drop(result.send(Err((failure, out)))),
        }
    };
    let thread = thread::Builder::new().name("pack".into()).spawn(work);
    thread.map_err(|error| Failure::io("start a thread", error))?;
    let sending = send(client, open, ReceiverStream::new(waiting));
    tokio::pin!(sending);
    let notes = tokio::select! {
        biased;
        // The daemon's refusal comes first: packing fails then, too.
        done = &mut sending => {
            done?;
            Vec::new()
        }
        packed = packed => match packed {
            Ok(Ok(notes)) => {
                sending.await?;
                notes
            }
            // Sending has failed; the call has the daemon's reason.
            Ok(Err((failure, out))) if out.pieces.is_closed() => {
                sending.await?;
                return Err(failure);
            }
            Ok(Err((failure, _out))) => return Err(failure),
            Err(_) => return Err(Failure::Client("the thread that packs has died".into())),
        },
    };
    notes.iter().for_each(|note| output::complain(note));
    Ok(())
}

/// The packing side: a writer for a thread that may block.
struct Pieces {
    pieces: mpsc::Sender<Vec<u8>>,
    piece: Vec<u8>,
}

impl Write for Pieces {
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
        let piece = std::mem::replace(&mut self.piece, Vec::with_capacity(PIECE));
        self.pieces.blocking_send(piece).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(kind: Kind, path: &str) -> FileFacts {
        FileFacts { kind: kind.into(), path: path.into(), ..FileFacts::default() }
    }

    #[test]
    fn where_a_link_leads() {
        let link = |path: &str, target: &str| FileFacts { target: target.into(), ..facts(Kind::Link, path) };
        assert_eq!(target_of(&link("/srv/link", "/etc/x")), "/etc/x");
        assert_eq!(target_of(&link("/srv/link", "../x/y")), "/srv/../x/y");
        assert_eq!(target_of(&link("/link", "x")), "/x");
    }

    #[test]
    fn where_things_go() {
        let dir = facts(Kind::Directory, "/srv");
        let file = facts(Kind::File, "/real/file");
        let placed = |there: Option<&FileFacts>, path: &str, local: &str, is_directory: bool| {
            place(there, path, local, is_directory).map_err(|failure| failure.to_string())
        };
        let to = |dir: &str, name: Option<&str>| Ok((dir.to_owned(), name.map(str::to_owned)));
        assert_eq!(placed(Some(&dir), "/srv", "a/file", false), to("/srv", Some("file")));
        assert_eq!(placed(Some(&dir), "/srv/", "a/dir/", true), to("/srv", Some("dir")));
        assert_eq!(placed(Some(&dir), "/srv", "a/dir/.", true), to("/srv", None));
        assert_eq!(placed(Some(&file), "/link", "x", false), to("/real", Some("file")));
        assert!(placed(Some(&file), "/link", "dir", true).unwrap_err().contains("cannot copy a directory"));
        assert!(placed(Some(&file), "/link/", "x", false).unwrap_err().contains("not a directory"));
        assert_eq!(placed(None, "/new/name", "x", false), to("/new", Some("name")));
        assert_eq!(placed(None, "name", "x", false), to("/", Some("name")));
        assert_eq!(placed(None, "/new/", "dir", true), to("/", Some("new")));
        assert_eq!(placed(None, "/new", "dir/.", true), to("/", Some("new")));
        assert!(placed(None, "/new/", "x", false).unwrap_err().contains("no such directory"));
    }
}
