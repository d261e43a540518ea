//! All that can be seen of the files below a directory, to be compared.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use crate::images::digest;

/// One file of a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaf {
    /// Type and permissions.
    pub mode: u32,
    pub owner: (u32, u32),
    /// Seconds and nanoseconds.
    pub mtime: (i64, i64),
    /// A file's digest, or a link's target.
    pub contents: String,
    pub device: Option<u64>,
    pub attributes: BTreeMap<String, Vec<u8>>,
    /// The first name of the same file in the order of names, if it has several.
    pub same_as: Option<PathBuf>,
}

pub type Tree = BTreeMap<PathBuf, Leaf>;

/// Reads everything below `root`, and itself as the empty path.
///
/// # Panics
/// When something cannot be read.
pub fn read(root: &Path) -> Tree {
    let mut tree = Tree::new();
    let mut first = BTreeMap::new();
    add(root, Path::new(""), &mut tree, &mut first);
    tree
}

fn add(root: &Path, name: &Path, tree: &mut Tree, first: &mut BTreeMap<u64, PathBuf>) {
    let path = root.join(name);
    let meta = fs::symlink_metadata(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let kind = meta.file_type();
    let contents = if kind.is_file() {
        digest(&fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
    } else if kind.is_symlink() {
        fs::read_link(&path).expect("a link can be read").display().to_string()
    } else {
        String::new()
    };
    let same_as = if kind.is_dir() || meta.nlink() == 1 {
        None
    } else {
        Some(first.entry(meta.ino()).or_insert_with(|| name.to_owned()).clone())
    };
    let leaf = Leaf {
        mode: meta.mode(),
        owner: (meta.uid(), meta.gid()),
        mtime: (meta.mtime(), meta.mtime_nsec()),
        contents,
        device: (kind.is_char_device() || kind.is_block_device()).then(|| meta.rdev()),
        attributes: attributes(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())),
        same_as,
    };
    tree.insert(name.to_owned(), leaf);
    if kind.is_dir() {
        let entries = fs::read_dir(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let mut names: Vec<OsString> = entries.map(|entry| entry.expect("it can be read").file_name()).collect();
        names.sort();
        names.iter().for_each(|inside| add(root, &name.join(inside), tree, first));
    }
}

fn attributes(path: &Path) -> io::Result<BTreeMap<String, Vec<u8>>> {
    let mut names = vec![0; 1 << 16];
    let length = rustix::fs::llistxattr(path, &mut names[..])?;
    let mut found = BTreeMap::new();
    for name in names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let name = OsString::from_vec(name.to_vec());
        let mut value = vec![0; 1 << 16];
        let length = rustix::fs::lgetxattr(path, &name, &mut value[..])?;
        value.truncate(length);
        found.insert(name.to_string_lossy().into_owned(), value);
    }
    Ok(found)
}

/// # Panics
/// When they are not the same, with the differences.
#[track_caller]
pub fn assert_same(found: &Tree, wanted: &Tree) {
    let mut differences = Vec::new();
    for (name, leaf) in wanted {
        match found.get(name) {
            None => differences.push(format!("{name:?} is missing")),
            Some(other) if other != leaf => differences.push(format!("{name:?} is\n  {other:?}, not\n  {leaf:?}")),
            Some(_) => {}
        }
    }
    let strays = found.keys().filter(|name| !wanted.contains_key(*name));
    differences.extend(strays.map(|name| format!("{name:?} should not be there")));
    assert!(differences.is_empty(), "{} differences:\n{}", differences.len(), differences.join("\n"));
}
