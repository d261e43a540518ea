//! Warnings for the operator: in the log, and kept for `isula info`.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The newest are kept.
const LIMIT: usize = 100;

#[derive(Debug, Default)]
pub struct Warnings(Mutex<VecDeque<String>>);

impl Warnings {
    /// Logs it, and keeps it unless the same one is kept already: a repeated fault must not grow the daemon.
    pub fn add(&self, message: String) {
        tracing::warn!("{message}");
        let mut kept = self.lock();
        if !kept.contains(&message) {
            if kept.len() >= LIMIT {
                kept.pop_front();
            }
            kept.push_back(message);
        }
    }

    /// From the oldest to the newest.
    pub fn list(&self) -> Vec<String> {
        self.lock().iter().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_are_kept_and_each_once() {
        let warnings = Warnings::default();
        for n in 0..LIMIT + 5 {
            warnings.add(format!("w{n}"));
            warnings.add(format!("w{n}"));
        }
        let kept = warnings.list();
        assert_eq!((kept.len(), kept[0].as_str(), kept[LIMIT - 1].as_str()), (LIMIT, "w5", "w104"));
    }
}
