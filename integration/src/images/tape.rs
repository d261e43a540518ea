//! Tar archives byte by byte: also such as no tool writes.

use std::path::Path;

/// Pads to whole blocks.
const BLOCK: usize = 512;

/// An archive in the making.
#[derive(Debug, Default, Clone)]
pub struct Tape {
    bytes: Vec<u8>,
}

/// One header. Its size field need not be true.
#[derive(Debug, Clone)]
pub struct Entry<'a> {
    pub name: &'a [u8],
    /// `b'0'` file, `b'1'` hard link, `b'2'` symlink, `b'3'` character device, `b'5'` directory …
    pub kind: u8,
    pub mode: u32,
    pub owner: (u32, u32),
    pub mtime: u64,
    pub link: &'a [u8],
    pub device: (u32, u32),
    pub size: u64,
}

impl<'a> Entry<'a> {
    pub fn new(kind: u8, name: &'a [u8]) -> Self {
        let mode = if kind == b'5' { 0o755 } else { 0o644 };
        Self { name, kind, mode, owner: (0, 0), mtime: 1_700_000_000, link: b"", device: (0, 0), size: 0 }
    }
}

impl Tape {
    pub fn new() -> Self {
        Self::default()
    }

    #[must_use]
    pub fn file(self, name: &str, contents: &[u8]) -> Self {
        self.entry(&Entry { size: contents.len() as u64, ..Entry::new(b'0', name.as_bytes()) }, contents)
    }

    #[must_use]
    pub fn directory(self, name: &str) -> Self {
        self.entry(&Entry::new(b'5', name.as_bytes()), b"")
    }

    #[must_use]
    pub fn symlink(self, name: &str, target: &str) -> Self {
        self.entry(&Entry { link: target.as_bytes(), mode: 0o777, ..Entry::new(b'2', name.as_bytes()) }, b"")
    }

    #[must_use]
    pub fn hard_link(self, name: &str, target: &str) -> Self {
        self.entry(&Entry { link: target.as_bytes(), ..Entry::new(b'1', name.as_bytes()) }, b"")
    }

    #[must_use]
    pub fn device(self, name: &str, major: u32, minor: u32) -> Self {
        self.entry(&Entry { device: (major, minor), ..Entry::new(b'3', name.as_bytes()) }, b"")
    }

    /// Extended records (`path`, `linkpath`, `SCHILY.xattr.…`) for the entry that follows.
    #[must_use]
    pub fn extended(self, records: &[(&str, &[u8])]) -> Self {
        let mut text = Vec::new();
        for (key, value) in records {
            let rest = key.len() + value.len() + 3;
            // The length counts its own digits.
            let length = (1..6).map(|digits| rest + digits).find(|all| all.to_string().len() + rest == *all);
            let length = length.expect("a record is short");
            text.extend(format!("{length} {key}=").into_bytes());
            text.extend(*value);
            text.push(b'\n');
        }
        self.entry(&Entry { size: text.len() as u64, ..Entry::new(b'x', b"extended") }, &text)
    }

    /// A header, and contents of any length.
    #[must_use]
    pub fn entry(mut self, entry: &Entry<'_>, contents: &[u8]) -> Self {
        self.bytes.extend(header(entry));
        self.raw(contents)
    }

    /// Bytes, padded to a whole block.
    #[must_use]
    pub fn raw(mut self, bytes: &[u8]) -> Self {
        self.bytes.extend(bytes);
        let end = self.bytes.len().next_multiple_of(BLOCK);
        self.bytes.resize(end, 0);
        self
    }

    /// The tape with an archive's end.
    pub fn finish(mut self) -> Vec<u8> {
        self.bytes.extend([0; 2 * BLOCK]);
        self.bytes
    }

    /// Without: cut short.
    pub fn unfinished(self) -> Vec<u8> {
        self.bytes
    }
}

fn header(entry: &Entry<'_>) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &entry.name[..entry.name.len().min(100)]);
    put(100, format!("{:07o}", entry.mode).as_bytes());
    put(108, format!("{:07o}", entry.owner.0).as_bytes());
    put(116, format!("{:07o}", entry.owner.1).as_bytes());
    put(124, format!("{:011o}", entry.size).as_bytes());
    put(136, format!("{:011o}", entry.mtime).as_bytes());
    put(148, b"        ");
    put(156, &[entry.kind]);
    put(157, &entry.link[..entry.link.len().min(100)]);
    put(257, b"ustar\x0000");
    put(329, format!("{:07o}", entry.device.0).as_bytes());
    put(337, format!("{:07o}", entry.device.1).as_bytes());
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block
}

/// Packs a directory with GNU tar: everything it has, names in order.
pub fn pack(dir: &Path, archive: &Path) {
    let (dir, archive) = (dir.display().to_string(), archive.display().to_string());
    let words = ["tar", "--create", "--format=pax", "--xattrs", "--xattrs-include=*", "--sort=name", "--numeric-owner"];
    crate::command::tool(&[&words[..], &["--file", &archive, "--directory", &dir, "."]].concat());
}
