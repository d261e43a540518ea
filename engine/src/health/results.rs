//! The results of the last probes of one run: in memory, and in a small file beside the bundle, for the next daemon and
//! for requests after the end of the run.

use std::collections::VecDeque;
use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::domain::id::StartId;
use crate::domain::text::cut;
use crate::rootfs::{WriteError, write_atomically};

/// The number of results that are kept.
const MAX_RESULTS: usize = 5;
/// Bytes of a probe's output that are kept.
pub(super) const OUTPUT_LIMIT: usize = 4096;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Results {
    /// The run.
    start: u64,
    /// The health by these results: `starting`, `healthy`, `unhealthy`.
    #[serde(default)]
    pub status: String,
    /// Failures in a row, as far as they count.
    pub streak: u32,
    /// The newest is the last.
    pub log: VecDeque<ProbeResult>,
}

/// One probe. Times are nanoseconds since the epoch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ProbeResult {
    pub start: u64,
    pub end: u64,
    /// -1 when there is no exit code.
    pub code: i64,
    pub output: String,
    /// `false` for an error of the engine, not of the container.
    pub counts: bool,
}

impl Results {
    pub(crate) fn new(start: StartId) -> Self {
        Self { start: start.0, status: String::new(), streak: 0, log: VecDeque::new() }
    }

    /// The results of this run from the file; `None` when it has none, or cannot be read.
    pub(crate) fn read(path: &Path, start: StartId) -> Option<Self> {
        let kept = fs::read(path).ok().and_then(|bytes| serde_json::from_slice::<Self>(&bytes).ok());
        kept.filter(|kept| kept.start == start.0)
    }

    /// Whether these results belong to this run.
    pub(crate) fn belong_to(&self, start: StartId) -> bool {
        self.start == start.0
    }

    /// Written without a sync: no decision depends on the results of an earlier run.
    pub(crate) fn write(&self, path: &Path) -> Result<(), WriteError> {
        let bytes = serde_json::to_vec(self).unwrap_or_default();
        write_atomically(path, &bytes, 0o600, false)
    }

    pub(crate) fn add(&mut self, result: ProbeResult, failure_counts: bool) {
        if result.counts && result.code == 0 {
            self.streak = 0;
        } else if failure_counts {
            self.streak = self.streak.saturating_add(1);
        }
        if self.log.len() >= MAX_RESULTS {
            self.log.pop_front();
        }
        self.log.push_back(result);
    }
}

/// The part of the output that is kept.
pub(super) fn shortened(output: &str) -> String {
    cut(output, OUTPUT_LIMIT).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_results_are_kept_and_read_again_for_the_same_run() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("health.json");
        let mut results = Results::new(StartId(7));
        for number in 0..8 {
            let output = shortened(&"x".repeat(10_000));
            results.add(ProbeResult { start: number, end: number, code: 1, output, counts: true }, true);
        }
        assert_eq!((results.streak, results.log.len(), results.log[0].start), (8, MAX_RESULTS, 3));
        assert_eq!(results.log[0].output.len(), OUTPUT_LIMIT);
        results.write(&path).unwrap();
        assert_eq!(Results::read(&path, StartId(7)), Some(results));
        assert_eq!(Results::read(&path, StartId(8)), None);
        fs::write(&path, "torn").unwrap();
        assert_eq!(Results::read(&path, StartId(7)), None);
    }
}
