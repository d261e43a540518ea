//! Directories that a layer needs and has no entry for: something lies in them. Owner, mode and times of such a
//! directory are those of the layers below, which this layer does not know; the code that stacks the layers copies them
//! (`image/cover.rs`). Each name ends with a zero byte, and the root has none.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Read};
use std::path::Path;

use super::LayerError;

const IMPLIED: &str = "implied";
/// The limit of `tree.rs` for names in memory, and so the most that is written.
const LONGEST: u64 = 64 << 20;

/// The implied directories of the whole layer in this directory.
pub fn read(dir: &Path) -> Result<Vec<Vec<u8>>, LayerError> {
    let path = dir.join(IMPLIED);
    let mut bytes = Vec::new();
    match fs::File::open(&path).and_then(|file| file.take(LONGEST).read_to_end(&mut bytes)) {
        // All of them are described.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(vec![]),
        Err(source) => return Err(LayerError::Open { path, source }),
        Ok(length) if length as u64 == LONGEST || bytes.last() != Some(&0) => {
            return Err(LayerError::Open { path, source: io::ErrorKind::InvalidData.into() });
        }
        Ok(_) => {}
    }
    bytes.pop();
    Ok(bytes.split(|byte| *byte == 0).map(<[u8]>::to_vec).collect())
}

pub(super) fn write(dir: &Path, implied: &BTreeSet<Vec<u8>>) -> Result<(), LayerError> {
    if implied.is_empty() {
        return Ok(());
    }
    let path = dir.join(IMPLIED);
    let bytes: Vec<u8> = implied.iter().flat_map(|name| name.iter().copied().chain([0])).collect();
    fs::write(&path, bytes).map_err(|source| LayerError::write(&path, source))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_were_written() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(read(dir.path()).unwrap(), Vec::<Vec<u8>>::new());
        let names = BTreeSet::from([b"".to_vec(), b"a".to_vec(), b"a/\n\xff".to_vec()]);
        write(dir.path(), &names).unwrap();
        assert_eq!(read(dir.path()).unwrap(), names.into_iter().collect::<Vec<_>>());
        write(dir.path(), &BTreeSet::from([vec![]])).unwrap();
        assert_eq!(read(dir.path()).unwrap(), [Vec::<u8>::new()]);
    }
}
