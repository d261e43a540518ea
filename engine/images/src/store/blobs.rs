//! Manifests and configs: small documents, each a file named by its digest.

use std::fs;
use std::io::Read;
use std::sync::atomic::Ordering;

use sha2::Digest as _;

use super::{Dirs, ImageStore, StoreError, failed};
use engine_domain::id::Digest;
use engine_host::fs::write_atomically;

/// Configs are the largest documents there are.
const LIMIT: u64 = 8 << 20;

impl ImageStore {
    /// Stores a document and returns its digest. Document and name are on disk then. Blocks.
    pub fn put_blob(&self, bytes: &[u8]) -> Result<Digest, StoreError> {
        let digest = Digest(sha2::Sha256::digest(bytes).into());
        let path = self.dirs().blob(&digest);
        // A file of this name was whole when it was renamed, but a disk may have damaged it since.
        if self.blob(&digest).is_ok() {
            return Ok(digest);
        }
        let known = path.metadata().map_or(0, |facts| facts.len());
        write_atomically(&path, bytes, 0o600, true).map_err(|error| failed("write", &path)(error.source))?;
        self.blob_bytes.fetch_sub(known, Ordering::Relaxed);
        self.blob_bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        Ok(digest)
    }

    /// A document, verified by its digest. Blocks.
    pub fn blob(&self, digest: &Digest) -> Result<Vec<u8>, StoreError> {
        let path = self.dirs().blob(digest);
        let file = fs::File::open(&path).map_err(failed("open", &path))?;
        let mut bytes = Vec::new();
        file.take(LIMIT + 1).read_to_end(&mut bytes).map_err(failed("read", &path))?;
        if bytes.len() as u64 > LIMIT {
            return Err(StoreError::TooLarge { path, limit: LIMIT });
        }
        let found = Digest(sha2::Sha256::digest(&bytes).into());
        if found == *digest { Ok(bytes) } else { Err(StoreError::Altered { path, found }) }
    }

    /// Forgets a document; one that is gone is fine. Blocks.
    pub fn remove_blob(&self, digest: &Digest) -> Result<u64, StoreError> {
        let path = self.dirs().blob(digest);
        let size = path.metadata().map_or(0, |facts| facts.len());
        match fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed("remove", &path)(error)),
            _ => {}
        }
        self.blob_bytes.fetch_sub(size, Ordering::Relaxed);
        Ok(size)
    }

    /// The documents there are. Blocks.
    pub fn blobs(&self) -> Result<Vec<Digest>, StoreError> {
        let dir = self.dirs().blobs();
        let entries = fs::read_dir(&dir).map_err(failed("list", &dir))?;
        Ok(entries.flatten().filter_map(|entry| Digest::from_hex(entry.file_name().to_str()?).ok()).collect())
    }
}

/// Bytes of all documents; half written ones of a crash are removed.
pub(super) fn total(dirs: &Dirs) -> Result<u64, StoreError> {
    let dir = dirs.blobs();
    let mut total = 0;
    for entry in fs::read_dir(&dir).map_err(failed("list", &dir))?.flatten() {
        let named = entry.file_name().to_str().is_some_and(|name| Digest::from_hex(name).is_ok());
        match (named, entry.metadata()) {
            (true, Ok(facts)) => total += facts.len(),
            (false, _) if entry.file_name().to_string_lossy().ends_with(".tmp") => {
                let _ = fs::remove_file(entry.path());
            }
            _ => {}
        }
    }
    Ok(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_is_kept_under_its_digest_and_counted_once() {
        let dir = tempfile::tempdir().unwrap();
        let store = ImageStore::new(dir.path().join("images"));
        store.open().unwrap();
        let digest = store.put_blob(b"{}").unwrap();
        assert_eq!(digest.to_string(), "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a");
        assert_eq!((store.put_blob(b"{}").unwrap(), store.bytes()), (digest, 2));
        assert_eq!(store.blob(&digest).unwrap(), b"{}");
        assert_eq!((store.remove_blob(&digest).unwrap(), store.bytes()), (2, 0));
        assert_eq!((store.remove_blob(&digest).unwrap(), store.blobs().unwrap()), (0, vec![]));
    }

    #[test]
    fn an_altered_document_is_detected_and_written_again() {
        let dir = tempfile::tempdir().unwrap();
        let store = ImageStore::new(dir.path().join("images"));
        store.open().unwrap();
        let digest = store.put_blob(b"whole").unwrap();
        fs::write(store.dirs().blob(&digest), b"wh0le").unwrap();
        assert!(matches!(store.blob(&digest), Err(StoreError::Altered { .. })));
        store.put_blob(b"whole").unwrap();
        assert_eq!((store.blob(&digest).unwrap().as_slice(), store.bytes()), (b"whole".as_slice(), 5));
    }
}
