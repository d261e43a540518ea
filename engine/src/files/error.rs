//! Errors of a path, a tree or an archive. The texts are fit for users.

use std::io;
use std::path::{Path, PathBuf};

use crate::definition::DefinitionError;
use crate::domain::container::Rejection;
use crate::image::layer::LayerError;
use crate::image::layer::reading::is_full;
use crate::rootfs::RootfsError;

/// Paths are as within the container.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    #[error("no such file or directory: `{path}`")]
    NoSuchPath { path: PathBuf },
    #[error("`{path}` is not a directory")]
    NotADirectory { path: PathBuf },
    #[error("`{path}` leads through too many links")]
    TooManyLinks { path: PathBuf },
    #[error("`{path}` is too deep")]
    TooDeep { path: PathBuf },
    #[error("`{path}` cannot be written: the root filesystem or mount that it lies in is read-only")]
    ReadOnly { path: PathBuf },
    #[error("`{path}` lies in the tmpfs `{target}`, which is there only while the container runs")]
    InMemory { path: PathBuf, target: PathBuf },
    #[error("`{path}` lies in the mount `{target}`, whose source cannot be opened")]
    Source { path: PathBuf, target: PathBuf, source: io::Error },
    #[error("`{path}` is a mount, and cannot be replaced")]
    IsAMount { path: PathBuf },
    #[error("cannot replace the directory `{path}` by something else")]
    DirectoryInTheWay { path: PathBuf },
    #[error("cannot replace `{path}`, which is no directory, by a directory")]
    NotADirectoryInTheWay { path: PathBuf },
    #[error("`{path}` is a {kind}, which cannot be copied")]
    NotCopied { path: PathBuf, kind: &'static str },
    #[error("`{path}` was changed again and again while it was copied")]
    Changed { path: PathBuf },
    #[error("no space is left for `{path}`")]
    Full { path: PathBuf, source: io::Error },
    #[error("cannot {doing} `{path}`")]
    Io { doing: &'static str, path: PathBuf, source: io::Error },
    #[error("the archive cannot be unpacked: {problem}")]
    Archive { problem: String },
    /// The receiver of the bytes has gone, or cannot take them.
    #[error("cannot pass on the archive")]
    Output { source: io::Error },
    #[error("the client's archive was not complete")]
    Input { source: io::Error },
    #[error("the copying was given up")]
    Stopped,
    #[error("the copying was ended: the container is being {why}")]
    GaveWay { why: &'static str },
    #[error(
        "its root filesystem is not mounted at `{path}` any more, though it runs: restart it, which mounts it again"
    )]
    NotMounted { path: PathBuf },
    #[error("more than {limit} copies are under way; try again later")]
    TooMany { limit: usize },
    #[error("the container writes into its root filesystem directly: there is nothing to compare with")]
    Direct,
    #[error("the container is not in a state for it")]
    Rejected(Rejection),
    #[error("the file system did not answer in time")]
    Slow,
    #[error(transparent)]
    Fill(#[from] crate::volume::FillError),
    #[error(transparent)]
    Definition(#[from] DefinitionError),
    #[error(transparent)]
    Rootfs(#[from] RootfsError),
    #[error("a task ended abnormally")]
    Task { source: tokio::task::JoinError },
}

impl FilesError {
    /// Trouble with a call: some of it has words of its own.
    pub fn io(doing: &'static str, path: &Path, source: io::Error) -> Self {
        let path = path.to_path_buf();
        match source.raw_os_error() {
            Some(libc::EROFS) => Self::ReadOnly { path },
            Some(libc::ENOENT) => Self::NoSuchPath { path },
            Some(libc::ENOTDIR) => Self::NotADirectory { path },
            Some(libc::ELOOP) => Self::Changed { path },
            Some(libc::EBUSY) => Self::IsAMount { path },
            _ if is_full(&source) => Self::Full { path, source },
            _ => Self::Io { doing, path, source },
        }
    }
}

impl From<LayerError> for FilesError {
    /// The reader of archives was made for layers, so its texts are adapted.
    fn from(error: LayerError) -> Self {
        match error {
            LayerError::Full { path, source } => Self::Full { path, source },
            LayerError::Write { path, source } => Self::io("write", &path, source),
            LayerError::Read { source } => Self::Input { source },
            LayerError::Stopped => Self::Stopped,
            other => {
                let text = crate::cause::chain(&other);
                Self::Archive { problem: text.replace("the layer's archive", "it").replace("the layer", "it") }
            }
        }
    }
}
