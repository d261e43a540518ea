//! Writing to the terminal or pipe we were given, where a reader that left is an ordinary end.
//!
//! Labels, names of an archive's files and a registry's words come from strangers: all text leaves the program here,
//! and here its control characters are spelled out. Containers' output and archives go their own way, byte by byte.

use std::io::{self, Write};

use crate::failure::Failure;
use crate::text::shown;

/// Writes text to stdout and flushes it.
pub(crate) fn write(text: &str) -> Result<(), Failure> {
    raw(shown(text).as_bytes())
}

/// Writes bytes without foreign text to stdout, and flushes.
pub(crate) fn raw(bytes: &[u8]) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    out.write_all(bytes).and_then(|()| out.flush()).map_err(Failure::output)
}

/// Writes one line to stdout.
pub(crate) fn line(text: &str) -> Result<(), Failure> {
    write(&format!("{text}\n"))
}

/// Writes one line to stderr. There is nowhere to report a failure of this.
pub(crate) fn complain(text: &str) {
    let _ = io::stderr().lock().write_all(format!("{}\n", shown(text)).as_bytes());
}
