//! Lists in which a later entry replaces an earlier one of the same name. In linear time, because a request decides on
//! the length of such a list.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::hash::Hash;

/// The last entry of each key, in order.
pub fn latest<T, K: Eq + Hash + ?Sized>(list: Vec<T>, key: impl Fn(&T) -> &K) -> Vec<T> {
    let mut seen = HashSet::with_capacity(list.len());
    let mut keep: Vec<bool> = list.iter().rev().map(|entry| seen.insert(key(entry))).collect();
    let mut list = list;
    list.retain(|_| keep.pop().unwrap_or(true));
    list
}

/// Variables, `KEY=VALUE` each, in the order in which their names came first.
#[derive(Debug, Default)]
pub struct Environment<'a> {
    /// `None` in the place of a removed one.
    entries: Vec<Option<Cow<'a, str>>>,
    places: HashMap<String, usize>,
}

impl<'a> Environment<'a> {
    /// Replaces the one with the same name.
    pub fn put(&mut self, entry: impl Into<Cow<'a, str>>) {
        let entry = entry.into();
        match self.places.get(name_of(&entry)) {
            Some(place) => self.entries[*place] = Some(entry),
            None => {
                self.places.insert(name_of(&entry).to_owned(), self.entries.len());
                self.entries.push(Some(entry));
            }
        }
    }

    pub fn remove(&mut self, name: &str) {
        if let Some(place) = self.places.remove(name) {
            self.entries[place] = None;
        }
    }

    pub fn into_entries(self) -> impl Iterator<Item = Cow<'a, str>> {
        self.entries.into_iter().flatten()
    }
}

/// The part before the first `=`, or all of it.
pub fn name_of(entry: &str) -> &str {
    entry.split_once('=').map_or(entry, |(name, _)| name)
}

/// Measures growth, for tests of linear time.
#[cfg(any(test, feature = "testing"))]
#[allow(clippy::unwrap_used, reason = "only tests use it")]
pub mod cost {
    /// How much more of this thread's time `work` takes for four times as much. Linear work is at 4, quadratic at 16;
    /// the least of some attempts, so that a cache that another process has emptied does not count.
    pub fn growth(many: usize, work: impl Fn(usize)) -> f64 {
        let spent = |count| {
            let before = on_cpu();
            work(count);
            (on_cpu() - before) as f64
        };
        work(many / 4);
        (0..4).map(|_| spent(many) / spent(many / 4)).fold(f64::INFINITY, f64::min)
    }

    fn on_cpu() -> u64 {
        let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
        text.split_whitespace().next().unwrap().parse().unwrap()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_of_a_key_stays_where_it_was() {
        let list = vec![("a", 1), ("b", 2), ("a", 3), ("c", 4), ("b", 5)];
        assert_eq!(latest(list, |entry| entry.0), [("a", 3), ("c", 4), ("b", 5)]);
        assert_eq!(latest(Vec::<&str>::new(), |entry| *entry), Vec::<&str>::new());
    }

    #[test]
    fn a_variable_is_replaced_in_place_and_comes_last_after_it_was_removed() {
        let mut environment = Environment::default();
        for entry in ["A=1", "B=2", "A=3=4", "C"] {
            environment.put(entry);
        }
        environment.remove("B");
        environment.remove("absent");
        environment.put("B=5".to_owned());
        assert_eq!(environment.into_entries().collect::<Vec<_>>(), ["A=3=4", "C", "B=5"]);
    }
}
