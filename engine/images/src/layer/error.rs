//! Errors of layers. The texts are fit for the user who asked for the image.

use std::io;
use std::path::PathBuf;

use engine_domain::id::Digest;

#[derive(Debug, thiserror::Error)]
pub enum LayerError {
    #[error("stopped before the layer was whole")]
    Stopped,
    #[error("cannot read the layer")]
    Read { source: io::Error },
    #[error("the layer's {format} compression is damaged")]
    Compression { format: &'static str, source: io::Error },
    #[error("the layer ends too early: its {format} compression is not complete")]
    CompressionEnds { format: &'static str },
    #[error("the layer has {format} data that is followed by something else")]
    Trailing { format: &'static str },
    #[error(
        "the layer is compressed with {format}, which is not supported; gzip and zstd are, as are plain tars (`{program} -dc` makes a plain tar of it)"
    )]
    Unsupported { format: &'static str, program: &'static str },
    #[error("the layer is no tar archive, nor one compressed with gzip or zstd")]
    NotAnArchive,
    #[error("the layer's archive ends too early, within {within}")]
    Ends { within: String },
    #[error("the layer's archive is damaged at byte {position}: {problem}")]
    Header { position: u64, problem: &'static str },
    #[error("entry `{name}` of the layer cannot be unpacked")]
    Entry { name: String, source: Problem },
    #[error("the layer unpacks to more than {limit} bytes; `layer-limit` in daemon.json sets how much is allowed")]
    TooLarge { limit: u64 },
    #[error("the layer has more than {limit} entries")]
    TooMany { limit: u64 },
    #[error("the names of the layer's directories have more than {limit} bytes together")]
    LongNames { limit: usize },
    #[error("the layer unpacks to more than {ratio} times its size, which no honest one does")]
    Bomb { ratio: u64 },
    #[error("the file system of `{path}` is full")]
    Full { path: PathBuf, source: io::Error },
    #[error("cannot write `{path}`")]
    Write { path: PathBuf, source: io::Error },
    #[error("cannot open `{path}`")]
    Open { path: PathBuf, source: io::Error },
    #[error("`{path}` does not describe a layer: {problem}")]
    Facts { path: PathBuf, problem: String },
    #[error("recipe `{path}` is damaged: {problem}")]
    Recipe { path: PathBuf, problem: String },
    #[error("file `{name}` of the layer at `{path}` is missing")]
    Missing { path: PathBuf, name: String, source: io::Error },
    #[error("file `{name}` of the layer at `{path}` has changed")]
    Changed { path: PathBuf, name: String },
    #[error("file `{name}` of the layer at `{path}` cannot be read")]
    Content { path: PathBuf, name: String, source: io::Error },
    #[error(
        "the layer at `{path}` is not what it was: digest {found} and {found_size} bytes, not {expected} and {size}"
    )]
    Mismatch { path: PathBuf, expected: Digest, size: u64, found: Digest, found_size: u64 },
    #[error("cannot pass on the layer's archive")]
    Output { source: io::Error },
}

/// A fault in one entry of an archive.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    #[error("it has no name")]
    NoName,
    #[error("its name has a `..` component")]
    Upwards,
    #[error("its name has a zero byte")]
    ZeroByte,
    #[error("its name is too long")]
    LongName,
    #[error("only a directory can take the place of the layer's root")]
    Root,
    #[error("`{path}`, which it is to lie in, is not a directory")]
    Parent { path: String },
    #[error("`{target}`, which it is a hard link to, is not in the layer")]
    NoTarget { target: String },
    #[error("`{target}`, which it is a hard link to, is a directory")]
    LinkToDirectory { target: String },
    #[error("it is a symbolic link to nothing")]
    EmptyLink,
    #[error("it is a whiteout of nothing")]
    EmptyWhiteout,
    #[error("it lies within a whiteout")]
    WithinWhiteout,
    #[error("its type `{kind}` is not supported")]
    Kind { kind: char },
    #[error("its {field} `{value}` is not a number that fits")]
    Number { field: &'static str, value: String },
    #[error("its extended header is damaged")]
    ExtendedHeader,
    #[error("it is described twice")]
    Twice,
    #[error("more than {limit} bytes describe it")]
    LongHeader { limit: u64 },
    #[error("its map of holes is damaged")]
    Sparse,
    #[error("device nodes cannot be made here")]
    Device { source: io::Error },
    #[error("cannot set its attribute `{attribute}`")]
    Attribute { attribute: String, source: io::Error },
    #[error("cannot {doing}")]
    Io { doing: &'static str, source: io::Error },
}

/// A name from an archive, so that it can stand in a line of text.
pub fn shown(name: &[u8]) -> String {
    const LONGEST: usize = 300;
    let mut text = String::new();
    for character in String::from_utf8_lossy(name).chars() {
        if text.len() > LONGEST {
            text.push('…');
            break;
        }
        match character.is_control() {
            true => text.extend(character.escape_default()),
            false => text.push(character),
        }
    }
    text
}

impl LayerError {
    /// The error for the entry of this name; a full disk keeps its own variant.
    pub fn entry(name: &[u8], source: Problem) -> Self {
        Self::Entry { name: shown(name), source }
    }

    /// A failed write to a file of the layer's directory.
    pub fn write(path: &std::path::Path, source: io::Error) -> Self {
        let path = path.to_owned();
        if is_full(&source) { Self::Full { path, source } } else { Self::Write { path, source } }
    }
}

pub fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
