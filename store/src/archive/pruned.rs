//! The extent of retention: a small file beside the archive, which distinguishes a removed file from a lost one.
//!
//! The note is written before the first file is removed. A crash in between leaves files that are still listed and are
//! removed the next time. A disk without space for the note is the case in which retention is needed most: files are
//! then renamed to `*.gone`, which records the removal of each without taking space, and emptied, until there is room
//! for the note.

use super::file::sync_dir;
use crate::ReadError;
use crate::Seq;
use crate::bytes::{self, Fields};
use crate::error::IoContext;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

const NAME: &str = "pruned";

fn place(archive: &Path) -> PathBuf {
    archive.with_file_name(NAME)
}

/// The newest event that retention has removed, 0 if it has removed none; `None` if there is no readable note: missing
/// events are then reported, not taken for removed ones.
pub(super) fn read(archive: &Path) -> Option<Seq> {
    let bytes = fs::read(place(archive)).ok()?;
    Fields(bytes::unseal(&bytes)?).u64()
}

/// The note is durable when this returns.
pub(super) fn write(archive: &Path, last: Seq) -> Result<(), ReadError> {
    let path = place(archive);
    let temporary = path.with_extension("tmp");
    let mut bytes = last.to_le_bytes().to_vec();
    bytes::seal(&mut bytes);
    let written = File::create(&temporary).and_then(|mut file| {
        file.write_all(&bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, &path)
    });
    if written.is_err() {
        // An incomplete note must not hold space. A file that cannot be removed here is overwritten by the next note.
        let _ = fs::remove_file(&temporary);
    }
    written.reading("write", &path)?;
    path.parent().map_or(Ok(()), sync_dir)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unreadable_note_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let archive = dir.path().join("archive");
        assert_eq!(read(&archive), None);
        write(&archive, 700).unwrap();
        assert_eq!(read(&archive), Some(700));
        fs::write(place(&archive), [0; 12]).unwrap();
        assert_eq!(read(&archive), None);
    }
}
