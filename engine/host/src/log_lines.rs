//! The daemon's own log: each event stays one line, whatever foreign texts it contains.
//!
//! Names in archives, answers of registries, messages of plugins and runtimes end up in events. Characters that would
//! move an operator's cursor, or start a line of their own, are escaped in Rust's notation.

use std::io::{self, Write};

/// The subscriber writes once for each event.
#[derive(Debug)]
pub struct LogLines<W>(pub W);

impl<W: Write> Write for LogLines<W> {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let body = event.strip_suffix(b"\n").unwrap_or(event);
        match std::str::from_utf8(body) {
            Ok(text) if !text.contains(char::is_control) => self.0.write_all(event)?,
            _ => self.0.write_all(spelled(&String::from_utf8_lossy(body)).as_bytes())?,
        }
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

fn spelled(body: &str) -> String {
    let mut line = String::with_capacity(body.len() + 16);
    for character in body.chars() {
        match character.is_control() {
            true => line.extend(character.escape_default()),
            false => line.push(character),
        }
    }
    line.push('\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_a_line() {
        let mut log = LogLines(Vec::new());
        log.write_all("INFO plain é\n".as_bytes()).unwrap();
        log.write_all(b"WARN a\nERROR forged \x1b[2J\x07\xc2\x9b\xff\n").unwrap();
        let text = String::from_utf8(log.0).unwrap();
        assert_eq!(text, "INFO plain é\nWARN a\\nERROR forged \\u{1b}[2J\\u{7}\\u{9b}\u{fffd}\n");
    }
}
