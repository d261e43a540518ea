//! The path of one container's cgroup, as a type that cannot name anything else: everything in that cgroup is killed
//! when the container is released.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Below the hierarchies' mount points: absolute, without `..`, and its last part is a container's id (or systemd's
/// scope of it). So it is never the root, a parent that containers share, nor another container's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GroupPath(String);

/// Why a note of a container's cgroup is not valid.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoteError {
    #[error("cannot read `{path}`, the note of the container's cgroup")]
    Read { path: PathBuf, source: io::Error },
    #[error("`{path}`, the note of the container's cgroup, is {found}")]
    Foreign { path: PathBuf, found: &'static str },
}

impl GroupPath {
    /// `None` when the text is not the cgroup of the container with this id.
    pub(crate) fn of(text: &str, id: &str) -> Option<Self> {
        let named = !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        let parts = || text.strip_prefix('/').unwrap_or_default().split('/');
        let plain = parts().all(|part| !matches!(part, "" | "." | "..") && !part.chars().any(char::is_control));
        let last = parts().next_back().unwrap_or_default();
        let own = last == id || last.strip_prefix("isulad-").and_then(|rest| rest.strip_suffix(".scope")) == Some(id);
        (named && plain && own).then(|| Self(text.to_owned()))
    }

    /// Reads the note of a start; `None` when there is none.
    pub(crate) fn read(path: &Path, id: &str) -> Result<Option<Self>, NoteError> {
        let bytes = match fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(NoteError::Read { path: path.to_owned(), source }),
        };
        let foreign = |found| NoteError::Foreign { path: path.to_owned(), found };
        match std::str::from_utf8(&bytes).ok().and_then(|text| Self::of(text, id)) {
            Some(group) => Ok(Some(group)),
            None if bytes.is_empty() => Err(foreign("empty")),
            None if bytes.iter().all(|byte| *byte == 0) => Err(foreign("full of zeros")),
            None => Err(foreign("cut, damaged or another container's")),
        }
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// The cgroup's directory in the hierarchy that is mounted at `root`.
    pub(crate) fn below(&self, root: &Path) -> PathBuf {
        root.join(self.0.trim_start_matches('/'))
    }

    /// The path of a cgroup that a test has made.
    #[cfg(test)]
    pub(crate) fn unchecked(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl fmt::Display for GroupPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    const OTHER: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab";

    fn read(bytes: &[u8]) -> Result<Option<GroupPath>, NoteError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cgroup");
        fs::write(&path, bytes).unwrap();
        GroupPath::read(&path, ID)
    }

    #[test]
    fn a_note_written_by_a_start_is_read() {
        for text in [format!("/isulad/{ID}"), format!("/{ID}"), format!("/a.slice/a-b.slice/isulad-{ID}.scope")] {
            assert_eq!(read(text.as_bytes()).unwrap().unwrap().as_str(), text);
        }
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(GroupPath::read(&dir.path().join("cgroup"), ID).unwrap(), None);
        assert!(matches!(GroupPath::read(dir.path(), ID), Err(NoteError::Read { .. })));
    }

    #[test]
    fn an_empty_cut_or_zeroed_note_is_no_cgroup() {
        for text in [format!("/isulad/{ID}"), format!("/system.slice/isulad-{ID}.scope")] {
            for end in 0..text.len() {
                assert!(read(&text.as_bytes()[..end]).is_err(), "cut at {end}");
                let mut torn = text.clone().into_bytes();
                torn[end..].fill(0);
                assert!(read(&torn).is_err(), "zeroed from {end}");
            }
        }
    }

    #[test]
    fn the_root_a_parent_and_another_containers_are_foreign() {
        for text in [
            "".to_owned(),
            "/".to_owned(),
            "//".to_owned(),
            ".".to_owned(),
            "..".to_owned(),
            "/isulad".to_owned(),
            "/isulad/".to_owned(),
            "/isulad/shims".to_owned(),
            "/system.slice".to_owned(),
            "/system.slice/isulad.service".to_owned(),
            format!("/isulad/{OTHER}"),
            format!("/system.slice/isulad-{OTHER}.scope"),
            format!("isulad/{ID}"),
            format!("//{ID}"),
            format!("/isulad//{ID}"),
            format!("/isulad/../{ID}"),
            format!("/./{ID}"),
            format!("/isulad/{ID}/"),
            format!("/isulad/{ID}/.."),
            format!("/isulad/{ID}/deeper"),
            format!("/isulad/{ID}\n"),
            format!("/isu\0lad/{ID}"),
        ] {
            assert!(matches!(read(text.as_bytes()), Err(NoteError::Foreign { .. })), "{text:?}");
        }
        assert!(read(&[0xff; 80]).is_err());
        for id in ["", "/", "..", ".", "a/b"] {
            assert_eq!(GroupPath::of(&format!("/isulad/{id}"), id), None, "{id:?}");
        }
    }

    #[test]
    fn an_unusable_note_is_named_in_the_error() {
        let error = read(b"").unwrap_err().to_string();
        assert!(error.contains("/cgroup`") && error.ends_with("is empty"), "{error}");
        assert!(read(&[0; 9]).unwrap_err().to_string().ends_with("is full of zeros"));
    }
}
