//! The facts about a whole layer: `layer.json`.

use std::fs;
use std::io::Read;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{FACTS, LayerError};
use engine_domain::id::Digest;

/// More than that is no `layer.json`.
const LONGEST: u64 = 64 << 10;

/// Digest and sizes of a whole layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Facts {
    /// SHA-256 of the tar, uncompressed.
    #[serde(with = "as_text")]
    pub diff_id: Digest,
    /// Bytes of the tar, uncompressed.
    pub tar_size: u64,
    /// Bytes of the contents of files; the holes of sparse files and hard links cost nothing.
    pub size: u64,
    /// Files, directories and whatever else the archive named.
    pub entries: u64,
}

mod as_text {
    use serde::{Deserialize, Deserializer, Serializer, de};

    use super::Digest;

    pub(super) fn serialize<S: Serializer>(digest: &Digest, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(digest)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Digest, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(|_| de::Error::custom("not a digest"))
    }
}

/// The facts of the whole layer in this directory.
pub fn read_facts(dir: &Path) -> Result<Facts, LayerError> {
    let path = dir.join(FACTS);
    let mut text = Vec::new();
    let read = fs::File::open(&path).and_then(|file| file.take(LONGEST).read_to_end(&mut text));
    if let Err(source) = read {
        return Err(LayerError::Open { path, source });
    }
    serde_json::from_slice(&text).map_err(|error| LayerError::Facts { path, problem: error.to_string() })
}

pub(super) fn write(dir: &Path, facts: &Facts) -> Result<(), LayerError> {
    let path = dir.join(FACTS);
    let text = serde_json::to_vec(facts).expect("numbers and a digest can always be written");
    fs::write(&path, text).map_err(|source| LayerError::write(&path, source))
}
