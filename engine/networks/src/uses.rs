//! Leases of networks: a creation under way that uses one and a removal exclude each other.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::NetworkError;

#[derive(Debug, Default)]
pub struct Uses {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    leased: HashMap<String, usize>,
    being_removed: HashSet<String>,
}

/// Keeps networks from being removed until it is dropped.
#[derive(Debug)]
pub struct Lease<'a> {
    uses: &'a Uses,
    names: Vec<String>,
}

/// Refuses new leases of a network until it is dropped.
#[derive(Debug)]
pub struct Removal<'a> {
    uses: &'a Uses,
    name: String,
}

impl Uses {
    pub fn lease(&self, names: &[String]) -> Result<Lease<'_>, NetworkError> {
        let mut state = self.lock();
        if let Some(name) = names.iter().find(|name| state.being_removed.contains(*name)) {
            return Err(NetworkError::BeingRemoved { name: name.clone() });
        }
        for name in names {
            *state.leased.entry(name.clone()).or_default() += 1;
        }
        Ok(Lease { uses: self, names: names.to_vec() })
    }

    pub fn begin_removal(&self, name: &str) -> Result<Removal<'_>, NetworkError> {
        let mut state = self.lock();
        if state.leased.contains_key(name) {
            let users = "a container that is being created".to_owned();
            return Err(NetworkError::InUse { name: name.to_owned(), users });
        }
        if !state.being_removed.insert(name.to_owned()) {
            return Err(NetworkError::BeingRemoved { name: name.to_owned() });
        }
        Ok(Removal { uses: self, name: name.to_owned() })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        let mut state = self.uses.lock();
        for name in &self.names {
            if let Some(count) = state.leased.get_mut(name) {
                *count -= 1;
                if *count == 0 {
                    state.leased.remove(name);
                }
            }
        }
    }
}

impl Drop for Removal<'_> {
    fn drop(&mut self) {
        self.uses.lock().being_removed.remove(&self.name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn creations_and_a_removal_exclude_each_other() {
        let uses = Uses::default();
        let names = ["a".to_owned(), "b".to_owned()];
        let one = uses.lease(&names).unwrap();
        let other = uses.lease(&names[..1]).unwrap();
        drop(one);
        assert!(uses.begin_removal("a").unwrap_err().to_string().contains("being created"));
        let being_removed = uses.begin_removal("b").unwrap();
        assert_eq!(uses.lease(&names).unwrap_err().to_string(), "network b is being removed");
        assert!(uses.begin_removal("b").is_err());
        drop((other, being_removed));
        uses.begin_removal("a").unwrap();
        uses.lease(&names).unwrap();
    }
}
