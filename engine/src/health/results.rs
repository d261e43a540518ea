//! What came of the last probes of one run: in memory, and in a small file beside the bundle, for the next daemon and for whoever
//! asks after the end.

use std::collections::VecDeque;
use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::domain::id::StartId;
use crate::domain::text::cut;
use crate::rootfs::{WriteError, write_atomically};

/// Probes that are kept.
const KEPT: usize = 5;
/// Bytes of a probe's output that are kept.
pub const OUTPUT_LIMIT: usize = 4096;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Results {
    /// Of the run that they are of.
    start: u64,
    /// What they say: `starting`, `healthy`, `unhealthy`.
    #[serde(default)]
    pub status: String,
    /// Failures in a row, as far as they count.
    pub streak: u32,
    /// The newest is the last.
    pub log: VecDeque<Probed>,
}

/// One probe. Times are nanoseconds since the epoch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probed {
    pub start: u64,
    pub end: u64,
    /// -1 when there is none.
    pub code: i64,
    pub output: String,
    /// `false` when the trouble was not the container's.
    pub counts: bool,
}

impl Results {
    pub fn new(start: StartId) -> Self {
        Self { start: start.0, status: String::new(), streak: 0, log: VecDeque::new() }
    }

    /// Those of this run, if any were left.
    pub fn read(path: &Path, start: StartId) -> Option<Self> {
        let kept = fs::read(path).ok().and_then(|bytes| serde_json::from_slice::<Self>(&bytes).ok());
        kept.filter(|kept| kept.start == start.0)
    }

    /// Whether they are of this run.
    pub fn are_of(&self, start: StartId) -> bool {
        self.start == start.0
    }

    /// Not synced: nothing is decided by what is left of a run.
    pub fn write(&self, path: &Path) -> Result<(), WriteError> {
        let bytes = serde_json::to_vec(self).unwrap_or_default();
        write_atomically(path, &bytes, 0o600, false)
    }

    pub fn add(&mut self, probed: Probed, failure_counts: bool) {
        if probed.counts && probed.code == 0 {
            self.streak = 0;
        } else if failure_counts {
            self.streak = self.streak.saturating_add(1);
        }
        if self.log.len() >= KEPT {
            self.log.pop_front();
        }
        self.log.push_back(probed);
    }
}

/// With what is kept of it.
pub fn shortened(output: &str) -> String {
    cut(output, OUTPUT_LIMIT).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_are_kept_and_read_again_by_whoever_is_of_the_same_run() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("health.json");
        let mut results = Results::new(StartId(7));
        for number in 0..8 {
            let output = shortened(&"x".repeat(10_000));
            results.add(Probed { start: number, end: number, code: 1, output, counts: true }, true);
        }
        assert_eq!((results.streak, results.log.len(), results.log[0].start), (8, KEPT, 3));
        assert_eq!(results.log[0].output.len(), OUTPUT_LIMIT);
        results.write(&path).unwrap();
        assert_eq!(Results::read(&path, StartId(7)), Some(results));
        assert_eq!(Results::read(&path, StartId(8)), None);
        fs::write(&path, "torn").unwrap();
        assert_eq!(Results::read(&path, StartId(7)), None);
    }
}
