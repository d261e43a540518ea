//! From a stream to a layer's directory.

use std::fs;
use std::io::Read;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use super::archive::Archive;
use super::recipe::Writer;
use super::source::Source;
use super::stream::Stream;
use super::tree::Tree;
use super::{FILES, Facts, LayerError, RECIPE, SHADOW, facts};
use engine_domain::id::Digest;

/// The limits for one archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the tar, uncompressed. Files need no more than that: holes and hard links cost nothing.
    pub bytes: u64,
    /// Entries, and directories that had to be made for them.
    pub entries: u64,
    /// How many times longer than its source the tar may be, once it is longer than `ratio_floor`.
    pub ratio: u64,
    pub ratio_floor: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { bytes: 64 << 30, entries: 4_000_000, ratio: 200, ratio_floor: 1 << 30 }
    }
}

/// A layer that is whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unpacked {
    pub facts: Facts,
    /// SHA-256 and length of the source, compressed as it was.
    pub source: (Digest, u64),
}

/// Unpacks a tar (plain, or compressed with gzip or zstd) into an empty directory, and reads the source to its end.
/// `stop` is asked again and again; once it returns true, unpacking ends with [`LayerError::Stopped`].
///
/// Nothing is synced. After an error the directory is half full, and for the caller to remove.
pub fn unpack(source: impl Read, dir: &Path, limits: &Limits, stop: &dyn Fn() -> bool) -> Result<Unpacked, LayerError> {
    let stream = Stream::new(Source::new(source), limits, stop)?;
    for (name, mode) in [(FILES, 0o755), (SHADOW, 0o700)] {
        let path = dir.join(name);
        fs::DirBuilder::new().mode(mode).create(&path).map_err(|source| LayerError::write(&path, source))?;
    }
    let mut tree = Tree::open(dir, limits.entries, stop)?;
    let mut archive = Archive::new(stream, Writer::create(dir.join(RECIPE))?);
    while let Some(entry) = archive.next_entry()? {
        tree.add(&entry, &mut archive)?;
    }
    let (stream, recipe) = archive.finish()?;
    let totals = tree.finish()?;
    let sums = stream.finish();
    recipe.finish(sums.tar.1)?;
    let facts = Facts { diff_id: sums.tar.0, tar_size: sums.tar.1, size: totals.size, entries: totals.entries };
    facts::write(dir, &facts)?;
    Ok(Unpacked { facts, source: sums.source })
}
