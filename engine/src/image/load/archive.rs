//! A tar that can be read at random: where each file lies in it.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::{Component, Path};
use std::sync::Arc;

use super::bad;
use crate::cancel::CancelToken;
use crate::image::error::ImageError;
use crate::image::progress::Cell;

/// Archives have a few files for each image.
const FILES: usize = 100_000;
/// Bytes that may describe one entry.
const DESCRIPTION: u64 = 64 << 10;
/// Bytes kept of a name.
const NAME: usize = 1024;
/// Links followed from a name to a file.
const LINKS: usize = 8;

/// Offset and length of a file in the archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Section {
    pub offset: u64,
    pub length: u64,
}

#[derive(Debug)]
enum Place {
    File(Section),
    /// A link to another file of the archive, by its name there.
    Link(String),
}

/// A spooled archive.
#[derive(Debug)]
pub(super) struct Archive {
    file: File,
    places: HashMap<String, Place>,
}

impl Archive {
    /// Finds the files. Nothing of their names is ever a path of the host.
    pub(super) fn read(mut file: File, cancel: &CancelToken) -> Result<Self, ImageError> {
        let failed = |source| ImageError::Receive { source };
        let end = file.seek(SeekFrom::End(0)).map_err(failed)?;
        check_descriptions(&mut file, cancel)?;
        file.rewind().map_err(failed)?;
        let mut tar = tar::Archive::new(BufReader::with_capacity(64 << 10, &file));
        let mut places = HashMap::new();
        let entries = tar.entries_with_seek().map_err(failed)?;
        for entry in entries {
            let entry = entry.map_err(|error| bad(format!("it is no tar, is damaged or cut short: {error}")))?;
            if places.len() >= FILES {
                return Err(bad(format!("it holds more than {FILES} files")));
            }
            let name = name_of(&entry.path_bytes())?;
            let section = Section { offset: entry.raw_file_position(), length: entry.size() };
            let kind = entry.header().entry_type();
            if kind.is_file() {
                if section.offset.checked_add(section.length).is_none_or(|last| last > end) {
                    return Err(bad(format!("it is cut short within `{name}`")));
                }
                places.insert(name, Place::File(section));
            } else if kind.is_symlink() || kind.is_hard_link() {
                let target = entry.link_name_bytes().unwrap_or_default();
                places.insert(name.clone(), Place::Link(linked(&name, &target, kind.is_symlink())?));
            }
        }
        drop(tar);
        Ok(Self { file, places })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.find(name).is_some()
    }

    /// The file of this name, through links of the archive.
    pub(super) fn find(&self, name: &str) -> Option<Section> {
        let mut name = normal(name)?;
        for _ in 0..LINKS {
            match self.places.get(&name)? {
                Place::File(section) => return Some(*section),
                Place::Link(target) => name.clone_from(target),
            }
        }
        None
    }

    pub(super) fn section(&self, name: &str) -> Result<Section, ImageError> {
        self.find(name).ok_or_else(|| bad(format!("it lacks the file `{}`", name.escape_debug())))
    }

    /// A document as a whole.
    pub(super) fn document(&self, name: &str, limit: u64) -> Result<Vec<u8>, ImageError> {
        let section = self.section(name)?;
        if section.length > limit {
            return Err(bad(format!("its file `{}` is larger than {limit} bytes", name.escape_debug())));
        }
        let mut bytes = vec![0; usize::try_from(section.length).unwrap_or(usize::MAX)];
        self.file.read_exact_at(&mut bytes, section.offset).map_err(|source| ImageError::Receive { source })?;
        Ok(bytes)
    }

    /// A reader of one file, which counts its bytes in `cell`.
    pub(super) fn reader(self: &Arc<Self>, section: Section, cell: Arc<Cell>) -> SectionReader {
        SectionReader { archive: self.clone(), section, cell }
    }
}

/// One file of the archive, for a thread that may block.
#[derive(Debug)]
pub(super) struct SectionReader {
    archive: Arc<Archive>,
    /// The rest of the file.
    section: Section,
    cell: Arc<Cell>,
}

impl Read for SectionReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = buffer.len().min(usize::try_from(self.section.length).unwrap_or(usize::MAX));
        let length = self.archive.file.read_at(&mut buffer[..most], self.section.offset)?;
        self.section.offset += length as u64;
        self.section.length -= length as u64;
        self.cell.add(length as u64);
        Ok(length)
    }
}

/// Refuses archives with long descriptions of entries: the library would read them into memory, however long they are.
fn check_descriptions(file: &mut File, cancel: &CancelToken) -> Result<(), ImageError> {
    file.rewind().map_err(|source| ImageError::Receive { source })?;
    let mut tar = tar::Archive::new(BufReader::with_capacity(4 << 10, &*file));
    let entries = tar.entries_with_seek().map_err(|source| ImageError::Receive { source })?;
    for (number, entry) in entries.raw(true).enumerate() {
        let entry = entry.map_err(|error| bad(format!("it is no tar, is damaged or cut short: {error}")))?;
        let kind = entry.header().entry_type();
        let describes = kind.is_gnu_longname()
            || kind.is_gnu_longlink()
            || kind.is_pax_local_extensions()
            || kind.is_pax_global_extensions();
        if describes && entry.size() > DESCRIPTION {
            return Err(bad(format!("the description of an entry has more than {DESCRIPTION} bytes")));
        }
        if number >= FILES {
            return Err(bad(format!("it holds more than {FILES} files")));
        }
        if cancel.is_cancelled() {
            return Err(ImageError::GivenUp);
        }
    }
    Ok(())
}

fn name_of(bytes: &[u8]) -> Result<String, ImageError> {
    let shown = || String::from_utf8_lossy(&bytes[..bytes.len().min(100)]).into_owned();
    let text = std::str::from_utf8(bytes).map_err(|_| bad(format!("`{}` in it is no text", shown())))?;
    if text.len() > NAME {
        return Err(bad(format!("it holds a name of more than {NAME} bytes: `{}`", shown())));
    }
    normal(text).ok_or_else(|| bad(format!("`{}` in it climbs out of the archive", shown().escape_debug())))
}

/// Without `.`, doubled slashes, and a slash in front; none for a name that climbs out.
fn normal(name: &str) -> Option<String> {
    let mut parts: Vec<&str> = Vec::new();
    for component in Path::new(name).components() {
        match component {
            Component::Normal(part) => parts.push(part.to_str()?),
            Component::ParentDir => {
                parts.pop()?;
            }
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    Some(parts.join("/"))
}

/// The target of a link, from the archive's root.
fn linked(name: &str, target: &[u8], symbolic: bool) -> Result<String, ImageError> {
    let text = std::str::from_utf8(target).map_err(|_| bad(format!("the link `{name}` in it is no text")))?;
    if text.len() > NAME {
        return Err(bad(format!("the link `{name}` in it leads to a name of more than {NAME} bytes")));
    }
    let from = match name.rsplit_once('/') {
        Some((dir, _)) if symbolic && !text.starts_with('/') => format!("{dir}/{text}"),
        _ => text.to_owned(),
    };
    normal(&from).ok_or_else(|| bad(format!("the link `{name}` in it climbs out of the archive")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive(fill: impl FnOnce(&mut tar::Builder<&File>)) -> Result<Archive, ImageError> {
        let file = tempfile::tempfile().unwrap();
        let mut builder = tar::Builder::new(&file);
        fill(&mut builder);
        builder.finish().unwrap();
        drop(builder);
        Archive::read(file, &owned())
    }

    /// An owner that waits for ever.
    fn owned() -> CancelToken {
        let owner = std::sync::Arc::new(());
        let held = CancelToken::of(&owner);
        std::mem::forget(owner);
        held
    }

    fn header(kind: tar::EntryType, size: u64) -> tar::Header {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_size(size);
        header.set_mode(0o644);
        header
    }

    #[test]
    fn files_are_found_by_name_and_through_links() {
        let archive = archive(|tar| {
            tar.append_data(&mut header(tar::EntryType::Regular, 3), "./a/layer.tar", &b"abc"[..]).unwrap();
            tar.append_link(&mut header(tar::EntryType::Symlink, 0), "b/layer.tar", "../a/layer.tar").unwrap();
            tar.append_link(&mut header(tar::EntryType::Symlink, 0), "loop", "loop").unwrap();
        });
        let archive = archive.unwrap();
        for name in ["a/layer.tar", "/a/./layer.tar", "b/layer.tar"] {
            assert_eq!(archive.document(name, 10).unwrap(), b"abc", "{name}");
        }
        for name in ["loop", "c", "../a/layer.tar", ""] {
            assert!(!archive.has(name), "{name}");
        }
        assert!(archive.document("a/layer.tar", 2).unwrap_err().to_string().contains("larger than 2 bytes"));
    }

    #[test]
    fn links_out_and_cut_archives_are_refused() {
        let out = archive(|tar| {
            tar.append_link(&mut header(tar::EntryType::Symlink, 0), "a", "../../etc/passwd").unwrap();
        });
        assert!(out.unwrap_err().to_string().contains("climbs out"));
        let file = tempfile::tempfile().unwrap();
        let mut builder = tar::Builder::new(&file);
        builder.append_data(&mut header(tar::EntryType::Regular, 2000), "a", &[7; 2000][..]).unwrap();
        builder.finish().unwrap();
        drop(builder);
        file.set_len(1024).unwrap();
        assert!(Archive::read(file, &owned()).unwrap_err().to_string().contains("cut short within `a`"));
        let noise = tempfile::tempfile().unwrap();
        std::io::Write::write_all(&mut &noise, &[b'x'; 4096]).unwrap();
        assert!(Archive::read(noise, &owned()).unwrap_err().to_string().contains("no tar"));
    }
}
