//! As much of HTTP/1.1 as lies between an engine and a registry: a head, then a body of a known length.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// No head is longer.
const LONGEST: usize = 1 << 16;

/// The first line and the headers of a request or an answer.
#[derive(Debug, Clone)]
pub(super) struct Head {
    pub first: String,
    pub headers: Vec<(String, String)>,
}

impl Head {
    /// Reads up to the empty line, not a byte further. `None` at the end of the stream, and when it is no head: a
    /// client that tries TLS first shall not wait.
    pub(super) async fn read(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<Self>> {
        let mut bytes = Vec::new();
        while !bytes.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            if bytes.len() == LONGEST || from.read(&mut byte).await? == 0 {
                return Ok(None);
            }
            bytes.push(byte[0]);
            if !bytes[0].is_ascii_uppercase() {
                return Ok(None);
            }
        }
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let mut lines = text.trim_end().split("\r\n");
        let first = lines.next().unwrap_or_default().to_owned();
        let split = |line: &str| line.split_once(':').map(|(name, value)| (name.to_owned(), value.trim().to_owned()));
        Ok(Some(Self { first, headers: lines.filter_map(split).collect() }))
    }

    pub(super) fn answer(status: u16, headers: &[(String, String)]) -> Self {
        let mut head = Self { first: format!("HTTP/1.1 {status} of the tests"), headers: headers.to_vec() };
        head.set("Content-Length", "0");
        head
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(other, _)| other.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    pub(super) fn set(&mut self, name: &str, value: &str) {
        self.headers.retain(|(other, _)| !other.eq_ignore_ascii_case(name));
        self.headers.push((name.to_owned(), value.to_owned()));
    }

    pub(super) fn length(&self) -> Option<u64> {
        self.get("Content-Length")?.parse().ok()
    }

    /// The status of an answer.
    pub(super) fn status(&self) -> u16 {
        self.first.split(' ').nth(1).and_then(|word| word.parse().ok()).unwrap_or(0)
    }

    /// Writes it as the only one of its connection.
    pub(super) async fn write(&self, to: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
        let mut head = self.clone();
        head.set("Connection", "close");
        let lines = head.headers.iter().map(|(name, value)| format!("{name}: {value}\r\n"));
        let text = format!("{}\r\n{}\r\n", head.first, lines.collect::<String>());
        to.write_all(text.as_bytes()).await
    }
}
