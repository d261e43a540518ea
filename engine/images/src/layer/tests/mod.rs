//! Layers made by hand, honest ones and others.

mod bad;
mod compression;
mod entries;
mod links;
mod random;
mod recipe;
mod replace;
mod tools;
mod whiteouts;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};
use tar::Header;
use tempfile::TempDir;

use super::{LayerError, Limits, Unpacked, assemble, unpack};
use engine_domain::id::Digest;

/// A tar in the making, out of headers that no builder would write.
#[derive(Clone, Default)]
pub(super) struct Tar(Vec<u8>);

pub(super) fn header(kind: u8, name: impl AsRef<[u8]>, size: u64) -> Header {
    let name = name.as_ref();
    let mut header = Header::new_gnu();
    header.as_old_mut().name[..name.len()].copy_from_slice(name);
    header.as_old_mut().linkflag[0] = kind;
    header.set_size(size);
    header.set_mode(if kind == b'5' { 0o755 } else { 0o644 });
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(1_000_000_000);
    header
}

impl Tar {
    pub(super) fn new() -> Self {
        Self::default()
    }

    pub(super) fn header(mut self, mut header: Header) -> Self {
        header.set_cksum();
        self.0.extend_from_slice(header.as_bytes());
        self
    }

    pub(super) fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    pub(super) fn payload(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    pub(super) fn file(self, name: impl AsRef<[u8]>, content: impl AsRef<[u8]>) -> Self {
        let content = content.as_ref();
        self.header(header(b'0', name, content.len() as u64)).payload(content)
    }

    pub(super) fn dir(self, name: impl AsRef<[u8]>) -> Self {
        self.header(header(b'5', name, 0))
    }

    fn linked(self, kind: u8, name: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Self {
        let mut header = header(kind, name, 0);
        let target = target.as_ref();
        header.as_old_mut().linkname[..target.len()].copy_from_slice(target);
        self.header(header)
    }

    pub(super) fn symlink(self, name: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Self {
        self.linked(b'2', name, target)
    }

    pub(super) fn hard_link(self, name: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Self {
        self.linked(b'1', name, target)
    }

    pub(super) fn node(self, kind: u8, name: &str, major: u32, minor: u32) -> Self {
        let mut header = header(kind, name, 0);
        header.set_device_major(major).unwrap();
        header.set_device_minor(minor).unwrap();
        self.header(header)
    }

    pub(super) fn pax(self, records: &[(&str, &[u8])]) -> Self {
        let bytes = records.iter().flat_map(|(key, value)| pax_record(key, value)).collect::<Vec<_>>();
        self.header(header(b'x', "PaxHeader", bytes.len() as u64)).payload(&bytes)
    }

    pub(super) fn long(self, kind: u8, name: &[u8]) -> Self {
        let bytes = [name, b"\0"].concat();
        self.header(header(kind, "././@LongLink", bytes.len() as u64)).payload(&bytes)
    }

    /// With the two blocks that end it.
    pub(super) fn end(mut self) -> Vec<u8> {
        self.0.extend_from_slice(&[0; 1024]);
        self.0
    }

    pub(super) fn bytes(self) -> Vec<u8> {
        self.0
    }
}

fn pax_record(key: &str, value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let length = (1..).map(|digits| rest + digits).find(|length| length.to_string().len() + rest == *length).unwrap();
    [length.to_string().as_bytes(), b" ", key.as_bytes(), b"=", value, b"\n"].concat()
}

/// A directory for a layer, and one beside it that nothing may touch.
pub(super) struct Place {
    pub top: TempDir,
}

impl Place {
    pub(super) fn new() -> Self {
        let top = tempfile::tempdir().unwrap();
        fs::create_dir(top.path().join("layer")).unwrap();
        fs::create_dir(top.path().join("canary")).unwrap();
        fs::write(top.path().join("canary/bird"), "sings").unwrap();
        Self { top }
    }

    pub(super) fn dir(&self) -> PathBuf {
        self.top.path().join("layer")
    }

    pub(super) fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.dir().join("fs").join(name)
    }

    /// The way to the canary from anywhere.
    pub(super) fn canary(&self) -> PathBuf {
        self.top.path().join("canary")
    }

    pub(super) fn check_canary(&self) {
        let names: Vec<_> = fs::read_dir(self.canary()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["bird"]);
        assert_eq!(fs::read_to_string(self.canary().join("bird")).unwrap(), "sings");
        let meta = fs::metadata(self.canary().join("bird")).unwrap();
        assert_eq!((meta.nlink(), meta.uid(), meta.mode() & 0o7777), (1, 0, 0o644));
        let mut names: Vec<_> =
            fs::read_dir(self.top.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["canary", "layer"]);
    }

    pub(super) fn unpack(&self, bytes: &[u8]) -> Result<Unpacked, LayerError> {
        let unpacked = unpack(bytes, &self.dir(), &small(), &|| false);
        self.check_canary();
        unpacked
    }
}

pub(super) fn small() -> Limits {
    Limits { bytes: 64 << 20, entries: 20_000, ratio: 1000, ratio_floor: 16 << 20 }
}

pub(super) fn sha256(bytes: &[u8]) -> Digest {
    Digest(Sha256::digest(bytes).into())
}

/// Unpacks a good tar, and checks that the same tar comes back.
pub(super) fn good(bytes: &[u8]) -> Place {
    let place = Place::new();
    let unpacked = place.unpack(bytes).unwrap_or_else(|error| panic!("{}", chain(&error)));
    assert_eq!(unpacked.facts.diff_id, sha256(bytes));
    assert_eq!(unpacked.facts.tar_size, bytes.len() as u64);
    assert_eq!(unpacked.source, (sha256(bytes), bytes.len() as u64));
    let mut again = Vec::new();
    let facts = assemble(&place.dir(), &mut again).unwrap_or_else(|error| panic!("{}", chain(&error)));
    assert!(again == bytes, "the tar is another one");
    assert_eq!(facts, unpacked.facts);
    place
}

/// The text of the error that these bytes lead to.
pub(super) fn bad(bytes: &[u8]) -> String {
    let place = Place::new();
    match place.unpack(bytes) {
        Ok(unpacked) => panic!("unpacked: {unpacked:?}"),
        Err(error) => chain(&error),
    }
}

pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

pub(super) fn read(path: impl AsRef<Path>) -> String {
    fs::read_to_string(path).unwrap()
}
