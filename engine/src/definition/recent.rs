//! A cache of the definitions read last. A start, an exec or a health probe reads its container's several times within
//! a moment; all others stay in their files, so that memory does not grow with the size or number of definitions.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use super::Definition;
use crate::domain::id::Digest;

/// Bytes of all files with cached definitions.
const BYTES: usize = 256 << 10;

/// The key is the digest, which identifies the container too, because the file contains the container's id.
#[derive(Debug, Default)]
pub(crate) struct Recent {
    kept: Mutex<VecDeque<Known>>,
}

#[derive(Debug)]
struct Known {
    digest: Digest,
    definition: Arc<Definition>,
    bytes: usize,
}

impl Recent {
    pub(crate) fn get(&self, digest: &Digest) -> Option<Arc<Definition>> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let at = kept.iter().position(|known| known.digest == *digest)?;
        // The one used last goes to the end.
        let known = kept.remove(at)?;
        let definition = known.definition.clone();
        kept.push_back(known);
        Some(definition)
    }

    /// `bytes`: the length of its file.
    pub(crate) fn put(&self, digest: Digest, definition: Arc<Definition>, bytes: usize) {
        if bytes > BYTES {
            return;
        }
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|known| known.digest != digest);
        kept.push_back(Known { digest, definition, bytes });
        let mut total: usize = kept.iter().map(|known| known.bytes).sum();
        while total > BYTES
            && let Some(oldest) = kept.pop_front()
        {
            total -= oldest.bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definitions_used_last_stay_within_the_bound() {
        let recent = Recent::default();
        let definition = Arc::new(crate::spec::tests::definition());
        let digest = |byte| Digest([byte; 32]);
        for byte in 0..4 {
            recent.put(digest(byte), definition.clone(), BYTES / 4);
        }
        assert!(recent.get(&digest(0)).is_some());
        recent.put(digest(4), definition.clone(), BYTES / 4);
        assert!(recent.get(&digest(1)).is_none(), "the one that was not used for longest goes");
        assert!(recent.get(&digest(0)).is_some() && recent.get(&digest(4)).is_some());
        recent.put(digest(5), definition.clone(), BYTES + 1);
        assert!(recent.get(&digest(5)).is_none() && recent.get(&digest(0)).is_some(), "a large one is not kept at all");
        drop(recent);
        assert_eq!(Arc::strong_count(&definition), 1);
    }
}
