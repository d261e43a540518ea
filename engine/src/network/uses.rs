//! Who is about to use a network, and which is about to go: a creation under way and a removal exclude each other.

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
    going: HashSet<String>,
}

/// Keeps networks from being removed until it is dropped.
#[derive(Debug)]
pub struct Lease<'a> {
    uses: &'a Uses,
    names: Vec<String>,
}

/// Keeps a network from being used by anybody new until it is dropped.
#[derive(Debug)]
pub struct Going<'a> {
    uses: &'a Uses,
    name: String,
}

impl Uses {
    pub fn lease(&self, names: &[String]) -> Result<Lease<'_>, NetworkError> {
        let mut state = self.lock();
        if let Some(name) = names.iter().find(|name| state.going.contains(*name)) {
            return Err(NetworkError::BeingRemoved { name: name.clone() });
        }
        for name in names {
            *state.leased.entry(name.clone()).or_default() += 1;
        }
        Ok(Lease { uses: self, names: names.to_vec() })
    }

    pub fn go(&self, name: &str) -> Result<Going<'_>, NetworkError> {
        let mut state = self.lock();
        if state.leased.contains_key(name) {
            let users = "a container that is being created".to_owned();
            return Err(NetworkError::InUse { name: name.to_owned(), users });
        }
        if !state.going.insert(name.to_owned()) {
            return Err(NetworkError::BeingRemoved { name: name.to_owned() });
        }
        Ok(Going { uses: self, name: name.to_owned() })
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

impl Drop for Going<'_> {
    fn drop(&mut self) {
        self.uses.lock().going.remove(&self.name);
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
        assert!(uses.go("a").unwrap_err().to_string().contains("being created"));
        let going = uses.go("b").unwrap();
        assert_eq!(uses.lease(&names).unwrap_err().to_string(), "network b is being removed");
        assert!(uses.go("b").is_err());
        drop((other, going));
        uses.go("a").unwrap();
        uses.lease(&names).unwrap();
    }
}
