//! The file of a definition, and the files of pending updates beside it.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use sha2::Digest as _;

use super::Definition;
use crate::domain::id::Digest;
use crate::rootfs::write_atomically;

/// Why a container's definition cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DefinitionError {
    #[error("cannot write the container's definition `{path}`")]
    Write { path: PathBuf, source: io::Error },
    #[error("cannot read the container's definition `{path}`")]
    Read { path: PathBuf, source: io::Error },
    #[error(
        "the container's definition `{path}` is not the one that was recorded at its creation; restore it or remove the container"
    )]
    Altered { path: PathBuf },
    #[error("the container's definition `{path}` is not valid")]
    Parse { path: PathBuf, source: serde_json::Error },
}

/// Writes the definition (0600) durably, its directory's entry included. Returns the digest for the journal, and the
/// length of the file.
pub(crate) fn write(path: &Path, definition: &Definition) -> Result<(Digest, usize), DefinitionError> {
    let failed = |source| DefinitionError::Write { path: path.to_owned(), source };
    let bytes = serde_json::to_vec(definition).map_err(|error| failed(error.into()))?;
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(failed)?;
    file.write_all(&bytes).map_err(failed)?;
    // The directory was made for this container just before: its own entry in the parent matters as much. On a file
    // system where one sync covers the file and both entries, the next two cost nothing.
    file.sync_all().map_err(failed)?;
    for dir in path.ancestors().skip(1).take(2) {
        fs::File::open(dir).and_then(|dir| dir.sync_all()).map_err(failed)?;
    }
    Ok((digest(&bytes), bytes.len()))
}

/// Reads a definition without a recorded digest to check it against, and returns its own.
pub(crate) fn read_unverified(path: &Path) -> Result<(Definition, Digest), DefinitionError> {
    let bytes = fs::read(path).map_err(|source| DefinitionError::Read { path: path.to_owned(), source })?;
    let definition =
        serde_json::from_slice(&bytes).map_err(|source| DefinitionError::Parse { path: path.to_owned(), source })?;
    Ok((definition, digest(&bytes)))
}

/// Reads the definition with the digest `expected`: the one at `path`, or one that an update has put beside it. Also
/// returns the length of the file. Fails if no file has that digest.
pub(crate) fn read(path: &Path, expected: &Digest) -> Result<(Definition, usize), DefinitionError> {
    let bytes = fs::read(path).map_err(|source| DefinitionError::Read { path: path.to_owned(), source })?;
    let other = || fs::read(pending_path(path, expected)).ok().filter(|bytes| digest(bytes) == *expected);
    let bytes = match digest(&bytes) == *expected {
        true => bytes,
        false => other().ok_or_else(|| DefinitionError::Altered { path: path.to_owned() })?,
    };
    let definition =
        serde_json::from_slice(&bytes).map_err(|source| DefinitionError::Parse { path: path.to_owned(), source })?;
    Ok((definition, bytes.len()))
}

/// Writes an update's definition (0600) durably beside the present one.
pub(crate) fn write_pending(path: &Path, definition: &Definition) -> Result<Digest, DefinitionError> {
    let failed = |source| DefinitionError::Write { path: path.to_owned(), source };
    let bytes = serde_json::to_vec(definition).map_err(|error| failed(error.into()))?;
    let digest = digest(&bytes);
    write_atomically(&pending_path(path, &digest), &bytes, 0o600, true).map_err(|error| failed(error.source))?;
    Ok(digest)
}

/// Moves the definition with the digest `present` to `path`, if it lies beside it, and removes all others beside it but
/// the `wanted` one. May be repeated after any interruption; `path` always is a whole definition.
pub(crate) fn settle(path: &Path, present: &Digest, wanted: Option<&Digest>) -> Result<(), DefinitionError> {
    let failed = |source| DefinitionError::Write { path: path.to_owned(), source };
    let dir = path.parent().unwrap_or(path);
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(failed)?,
    };
    let (of_present, of_wanted) = (pending_path(path, present), wanted.map(|digest| pending_path(path, digest)));
    for entry in entries {
        let found = entry.map_err(failed)?.path();
        if found == of_present {
            fs::rename(&found, path).and_then(|()| fs::File::open(dir)?.sync_all()).map_err(failed)?;
        } else if is_pending(path, &found) && Some(&found) != of_wanted.as_ref() {
            fs::remove_file(&found).map_err(failed)?;
        }
    }
    Ok(())
}

/// `definition-<digest>.json`
fn pending_path(path: &Path, digest: &Digest) -> PathBuf {
    path.with_file_name(format!("{BESIDE}{}.json", digest.hex()))
}

const BESIDE: &str = "definition-";

fn is_pending(path: &Path, other: &Path) -> bool {
    other != path && other.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(BESIDE))
}

fn digest(bytes: &[u8]) -> Digest {
    Digest(sha2::Sha256::digest(bytes).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container_log::{LogFile, LogFormat};
    use crate::definition::{Log, Restart};

    #[test]
    fn an_update_lies_beside_until_it_is_settled() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("definition.json");
        let old = crate::spec::tests::definition();
        let (first, _) = write(&path, &old).unwrap();
        let with = |stop_timeout| Definition { stop_timeout, ..old.clone() };
        let (second, third) = (write_pending(&path, &with(1)).unwrap(), write_pending(&path, &with(2)).unwrap());
        for (digest, stop_timeout) in [(first, old.stop_timeout), (second, 1), (third, 2)] {
            assert_eq!(read(&path, &digest).unwrap().0.stop_timeout, stop_timeout);
        }
        // While an update is pending, its definition stays.
        settle(&path, &first, Some(&second)).unwrap();
        assert!(read(&path, &second).is_ok() && matches!(read(&path, &third), Err(DefinitionError::Altered { .. })));
        for _ in 0..2 {
            settle(&path, &second, None).unwrap();
            assert_eq!(read(&path, &second).unwrap().0.stop_timeout, 1);
            assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        }
        assert!(matches!(read(&path, &first), Err(DefinitionError::Altered { .. })));
    }

    #[test]
    fn a_file_of_before_restart_policies_is_read() {
        let mut value = serde_json::to_value(crate::spec::tests::definition()).unwrap();
        value.as_object_mut().unwrap().remove("restart");
        let read: Definition = serde_json::from_value(value).unwrap();
        assert_eq!(read.restart, Restart::No);
    }

    #[test]
    fn each_log_is_read_back_with_its_file() {
        let own = || PathBuf::from("/b/console.log");
        let file = |path: &str, format| Some(LogFile { path: path.into(), format });
        for (log, json, expected) in [
            (Log::None, r#"{"driver":"none"}"#, None),
            (
                Log::JsonFile { max_size: 9, max_files: 2 },
                r#"{"driver":"json-file","max_size":9,"max_files":2}"#,
                file("/b/console.log", LogFormat::JsonFile),
            ),
            (
                Log::Cri { path: "/p/0.log".into() },
                r#"{"driver":"cri","path":"/p/0.log"}"#,
                file("/p/0.log", LogFormat::Cri),
            ),
        ] {
            assert_eq!(serde_json::to_string(&log).unwrap(), json);
            assert_eq!(serde_json::from_str::<Log>(json).unwrap(), log);
            assert_eq!(log.file(own()), expected, "{json}");
        }
    }
}
