//! Which further layer an image needs: a note for each of the few that need one.

use std::fs;
use std::io;
use std::path::PathBuf;

use super::{ImageStore, StoreError, failed};
use engine_domain::id::Digest;
use engine_host::fs::write_atomically;

impl ImageStore {
    fn cover_note(&self, image: &Digest) -> PathBuf {
        self.dirs().covers().join(image.hex())
    }

    /// Notes the image's cover durably, or that it has none. Blocks.
    pub fn put_cover(&self, image: &Digest, cover: Option<&Digest>) -> Result<(), StoreError> {
        let path = self.cover_note(image);
        match cover {
            Some(cover) => write_atomically(&path, cover.to_string().as_bytes(), 0o600, true)
                .map_err(|error| failed("write", &path)(error.source)),
            None => match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove", &path)(error)),
                _ => Ok(()),
            },
        }
    }

    /// The image's cover. Blocks.
    pub fn cover(&self, image: &Digest) -> Result<Option<Digest>, StoreError> {
        let path = self.cover_note(image);
        match fs::read_to_string(&path) {
            Ok(text) => match text.parse() {
                Ok(cover) => Ok(Some(cover)),
                Err(_) => Err(failed("read", &path)(io::ErrorKind::InvalidData.into())),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed("read", &path)(error)),
        }
    }

    /// The images that have a note. Blocks.
    pub fn covered(&self) -> Result<Vec<Digest>, StoreError> {
        let dir = self.dirs().covers();
        let entries = fs::read_dir(&dir).map_err(failed("list", &dir))?;
        Ok(entries.flatten().filter_map(|entry| Digest::from_hex(entry.file_name().to_str()?).ok()).collect())
    }
}
