//! Claims of replies beside the journal: limits that were set, files in volumes, counters.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Deadline for the process of a write whose client is gone: until then it may still write.
const LATE: Duration = Duration::from_secs(60);

#[derive(Debug, Default)]
pub(crate) struct Claims(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    memory: HashMap<String, Vec<i64>>,
    files: HashMap<String, File>,
    counters: HashMap<(String, u64), u64>,
    stuck: HashMap<String, usize>,
    done: BTreeMap<&'static str, (usize, usize)>,
}

#[derive(Debug, Default)]
struct File {
    written: String,
    perhaps: Vec<(Instant, String)>,
}

impl Claims {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A limit of memory was set, or perhaps.
    pub(crate) fn memory_set(&self, id: &str, bytes: i64, surely: bool) {
        let mut inner = self.inner();
        let values = inner.memory.entry(id.to_owned()).or_insert_with(|| vec![super::recipe::MEMORY]);
        if surely {
            values.clear();
        }
        values.push(bytes);
    }

    /// The possible limits.
    pub(crate) fn memory(&self, id: &str) -> Vec<i64> {
        self.inner().memory.get(id).cloned().unwrap_or_else(|| vec![super::recipe::MEMORY])
    }

    /// A volume's file was written, or perhaps.
    pub(crate) fn file_written(&self, file: &str, content: &str, surely: bool) {
        let mut inner = self.inner();
        let known = inner.files.entry(file.to_owned()).or_default();
        if surely {
            content.clone_into(&mut known.written);
            known.perhaps.retain(|(at, _)| at.elapsed() < LATE);
        } else {
            known.perhaps.push((Instant::now(), content.to_owned()));
        }
    }

    /// The reason why the file cannot have this content.
    pub(crate) fn file_is_wrong(&self, file: &str, content: &str) -> Option<String> {
        let inner = self.inner();
        let empty = File::default();
        let known = inner.files.get(file).unwrap_or(&empty);
        let fits = known.written == content || known.perhaps.iter().any(|(_, perhaps)| perhaps == content);
        (!fits)
            .then(|| format!("`{file}` is `{content}`, written was `{}`, perhaps {:?}", known.written, known.perhaps))
    }

    /// A counter of one run of a container; the value before, when it has gone back.
    pub(crate) fn counted(&self, id: &str, run: u64, value: u64) -> Option<u64> {
        let mut inner = self.inner();
        let before = inner.counters.entry((id.to_owned(), run)).or_default();
        let gone_back = (*before > value).then_some(*before);
        *before = value.max(*before);
        gone_back
    }

    /// A container was found to stay in a transient state, after this many states.
    pub(crate) fn stuck(&self, id: &str, states: usize) {
        self.inner().stuck.insert(id.to_owned(), states);
    }

    pub(crate) fn is_stuck(&self, id: &str, states: usize) -> bool {
        self.inner().stuck.get(id) == Some(&states)
    }

    pub(crate) fn done(&self, op: &'static str, succeeded: bool) {
        let mut inner = self.inner();
        let (yes, no) = inner.done.entry(op).or_default();
        if succeeded { *yes += 1 } else { *no += 1 }
    }

    /// How many operations succeeded, and did not.
    pub(crate) fn counts(&self) -> String {
        let inner = self.inner();
        let (yes, no) = inner.done.values().fold((0, 0), |(a, b), (yes, no)| (a + yes, b + no));
        let each: Vec<String> = inner.done.iter().map(|(op, (yes, no))| format!("{op} {yes}+{no}")).collect();
        format!("{yes} succeeded and {no} refused or cut off ({})", each.join(", "))
    }
}
