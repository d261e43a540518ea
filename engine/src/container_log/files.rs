//! The files of a log: `console.log`, and older ones behind numbers.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

/// The most rotated files that a log can have.
const MOST: u32 = 10_000;

/// 0 is the one that is written.
pub(super) fn numbered(path: &Path, number: u32) -> PathBuf {
    if number == 0 {
        return path.to_owned();
    }
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    name.into()
}

pub(super) fn oldest(path: &Path) -> u32 {
    (1..MOST).take_while(|number| numbered(path, *number).exists()).last().unwrap_or(0)
}

/// `None` when there is none.
pub(super) fn open(path: &Path) -> io::Result<Option<File>> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
