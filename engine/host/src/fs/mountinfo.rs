//! The mounts in `/proc/self/mountinfo`: for the sweep, for recovery, and to find cgroup hierarchies.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// One mount of this mount namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountEntry {
    pub id: u64,
    pub parent: u64,
    /// The mounted part of the file system: `/` unless it is a bind of a part.
    pub root: PathBuf,
    pub target: PathBuf,
    pub options: String,
    /// `shared:N`, `master:N`, …
    pub propagation: Vec<String>,
    pub fs_type: String,
    pub source: OsString,
    pub super_options: String,
}

/// The mounts at or below any of `prefixes`, in mount order: to unmount them, go backwards.
pub fn mounts_below(prefixes: &[&Path]) -> io::Result<Vec<MountEntry>> {
    let mut mounts = parse(&fs::read("/proc/self/mountinfo")?);
    mounts.retain(|mount| prefixes.iter().any(|prefix| mount.target.starts_with(prefix)));
    Ok(mounts)
}

/// Reads the text of a mountinfo file. A line that is no mount is passed over: one odd mount must not hide the others.
pub fn parse(text: &[u8]) -> Vec<MountEntry> {
    text.split(|byte| *byte == b'\n').filter_map(parse_line).collect()
}

fn parse_line(line: &[u8]) -> Option<MountEntry> {
    let mut fields = line.split(|byte| *byte == b' ');
    let id = number(fields.next()?)?;
    let parent = number(fields.next()?)?;
    let _device = fields.next()?;
    let root = unescape(fields.next()?);
    let target = unescape(fields.next()?);
    let options = text(fields.next()?);
    let propagation = fields.by_ref().take_while(|field| *field != b"-").map(text).collect();
    let fs_type = text(fields.next()?);
    let source = unescape(fields.next()?);
    let super_options = text(fields.next().unwrap_or_default());
    Some(MountEntry {
        id,
        parent,
        root: root.into(),
        target: target.into(),
        options,
        propagation,
        fs_type,
        source,
        super_options,
    })
}

fn number(field: &[u8]) -> Option<u64> {
    std::str::from_utf8(field).ok()?.parse().ok()
}

fn text(field: &[u8]) -> String {
    unescape(field).to_string_lossy().into_owned()
}

/// Undoes the kernel's `\ooo` for space, tab, newline and backslash.
fn unescape(field: &[u8]) -> OsString {
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&first, tail)) = rest.split_first() {
        match tail {
            [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', after @ ..] if first == b'\\' => {
                out.push(((a - b'0') << 6) | ((b - b'0') << 3) | (c - b'0'));
                rest = after;
            }
            _ => {
                out.push(first);
                rest = tail;
            }
        }
    }
    OsString::from_vec(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_with_and_without_optional_fields() {
        let mounts = parse(
            b"36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 shared:7 - ext3 /dev/root rw,errors=continue\n\
              37 35 0:5 / /plain rw - tmpfs none rw\n",
        );
        assert_eq!(mounts.len(), 2);
        assert_eq!(mounts[0].id, 36);
        assert_eq!(mounts[0].parent, 35);
        assert_eq!(mounts[0].root, Path::new("/mnt1"));
        assert_eq!(mounts[0].target, Path::new("/mnt2"));
        assert_eq!(mounts[0].propagation, ["master:1", "shared:7"]);
        assert_eq!(mounts[0].fs_type, "ext3");
        assert_eq!(mounts[0].super_options, "rw,errors=continue");
        assert!(mounts[1].propagation.is_empty());
        assert_eq!(mounts[1].fs_type, "tmpfs");
    }

    #[test]
    fn octal_escapes_are_undone_and_others_kept() {
        let mounts = parse(b"1 2 0:5 / /a\\040b\\011c\\012d\\134e\\9 rw - tmpfs a\\040b rw\n");
        assert_eq!(mounts[0].target, Path::new("/a b\tc\nd\\e\\9"));
        assert_eq!(mounts[0].source, "a b");
    }

    #[test]
    fn malformed_lines_hide_no_other() {
        let mounts = parse(b"\nx y z\n1 2 0:5 / /ok rw - tmpfs none rw\n1 2 0:5 / /cut rw\n\xff\n");
        assert_eq!(mounts.iter().map(|mount| mount.target.clone()).collect::<Vec<_>>(), [PathBuf::from("/ok")]);
    }
}
