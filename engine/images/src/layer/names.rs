//! Names in archives: what they become beneath the layer's root, and what they mean.

use super::Problem;

/// The longest name the kernel takes, and the longest component of one.
const LONGEST: usize = 4095;
const LONGEST_COMPONENT: usize = 255;

const WHITEOUT: &[u8] = b".wh.";
const WHITEOUT_METADATA: &[u8] = b".wh..wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";

/// The name without its empty parts: slashes in front, at the end and twice, and `.` components. Empty for the root
/// itself.
pub fn normalise(name: &[u8]) -> Result<Vec<u8>, Problem> {
    if name.is_empty() {
        return Err(Problem::NoName);
    }
    if name.contains(&0) {
        return Err(Problem::ZeroByte);
    }
    let mut path = Vec::with_capacity(name.len());
    for component in name.split(|byte| *byte == b'/') {
        match component {
            b"" | b"." => continue,
            b".." => return Err(Problem::Upwards),
            _ if component.len() > LONGEST_COMPONENT => return Err(Problem::LongName),
            _ => {}
        }
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(component);
    }
    if path.len() > LONGEST { Err(Problem::LongName) } else { Ok(path) }
}

/// The directory that something lies in, empty for the root, and its name there.
pub fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (&[], path),
    }
}

pub fn join(parent: &[u8], name: &[u8]) -> Vec<u8> {
    match parent {
        [] => name.to_vec(),
        _ => [parent, b"/", name].concat(),
    }
}

/// The meaning of a normalised name.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Meaning<'a> {
    /// An ordinary file.
    Plain,
    /// Hides the file of this name in the same directory of layers below.
    Whiteout(&'a [u8]),
    /// Hides all files of the directory in layers below.
    Opaque,
    /// Metadata of an AUFS that the layer was packed from; without meaning for an overlay.
    Metadata,
}

pub(super) fn meaning(path: &[u8]) -> Result<Meaning<'_>, Problem> {
    let (parent, name) = split(path);
    if parent.split(|byte| *byte == b'/').any(|component| component.starts_with(WHITEOUT_METADATA)) {
        return Ok(Meaning::Metadata);
    }
    if parent.split(|byte| *byte == b'/').any(|component| component.starts_with(WHITEOUT)) {
        return Err(Problem::WithinWhiteout);
    }
    if name == OPAQUE {
        return Ok(Meaning::Opaque);
    }
    if name.starts_with(WHITEOUT_METADATA) {
        return Ok(Meaning::Metadata);
    }
    match name.strip_prefix(WHITEOUT) {
        None => Ok(Meaning::Plain),
        Some(b"" | b"." | b"..") => Err(Problem::EmptyWhiteout),
        Some(hidden) => Ok(Meaning::Whiteout(hidden)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lose_their_empty_parts() {
        for (name, path) in [
            ("a", "a"),
            ("/a", "a"),
            ("./a//b/.", "a/b"),
            (".", ""),
            ("/", ""),
            ("././", ""),
            ("...", "..."),
            ("a/..b", "a/..b"),
            ("line\nfeed ", "line\nfeed "),
        ] {
            assert_eq!(normalise(name.as_bytes()).unwrap(), path.as_bytes(), "{name:?}");
        }
        assert_eq!(normalise(b"\xff/\x80").unwrap(), b"\xff/\x80");
        assert!(normalise(&[b'a'; 255]).is_ok());
    }

    #[test]
    fn names_that_cannot_be_are_refused() {
        assert!(matches!(normalise(b""), Err(Problem::NoName)));
        for name in ["..", "../a", "a/../b", "/..", "a/.."] {
            assert!(matches!(normalise(name.as_bytes()), Err(Problem::Upwards)), "{name}");
        }
        assert!(matches!(normalise(b"a\0b"), Err(Problem::ZeroByte)));
        assert!(matches!(normalise(&[b'a'; 256]), Err(Problem::LongName)));
        assert!(matches!(normalise(&b"a/".repeat(3000)), Err(Problem::LongName)));
    }

    #[test]
    fn whiteouts_are_distinguished() {
        for (path, expected) in [
            ("a/b", Meaning::Plain),
            ("a/.wha", Meaning::Plain),
            ("a/.wh.b", Meaning::Whiteout(b"b")),
            (".wh....", Meaning::Whiteout(b"...")),
            (".wh..wh..opq", Meaning::Opaque),
            ("a/.wh..wh..opq", Meaning::Opaque),
            (".wh..wh.aufs", Meaning::Metadata),
            (".wh..wh.plnk/17.3", Meaning::Metadata),
        ] {
            assert_eq!(meaning(path.as_bytes()).unwrap(), expected, "{path}");
        }
        for path in [".wh.", "a/.wh..", ".wh..."] {
            assert!(matches!(meaning(path.as_bytes()), Err(Problem::EmptyWhiteout)), "{path}");
        }
        assert!(matches!(meaning(b".wh.a/b"), Err(Problem::WithinWhiteout)));
    }
}
