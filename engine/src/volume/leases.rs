//! Leases and claims of volumes: a creation that is about to use one and a removal exclude each other.
//!
//! A creation leases its volumes until its container is recorded; from then on the container is found as their user. A
//! removal claims its volume and looks for users after that. So a removal has seen every user there is.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use super::{User, VolumeError};
use crate::domain::id::VolumeName;

/// A removal of much data takes long; after this a waiting caller gets the refusal.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Debug, Default)]
pub(super) struct Leases {
    state: Mutex<State>,
    released: Notify,
}

#[derive(Debug, Default)]
struct State {
    leased: HashMap<VolumeName, usize>,
    claimed: HashSet<VolumeName>,
}

/// Volumes that are not removed while this is held.
#[derive(Debug)]
#[must_use = "the lease ends when it is dropped"]
pub(crate) struct Lease<'a> {
    leases: &'a Leases,
    names: Vec<VolumeName>,
}

/// A volume that no new creation uses while this is held.
#[derive(Debug)]
pub(super) struct Claim<'a> {
    leases: &'a Leases,
    name: VolumeName,
}

impl Leases {
    pub(super) async fn lease(&self, names: Vec<VolumeName>) -> Result<Lease<'_>, VolumeError> {
        self.wait(|| {
            let mut state = self.lock();
            if let Some(name) = names.iter().find(|name| state.claimed.contains(*name)) {
                return Err(VolumeError::BeingRemoved { name: name.clone() });
            }
            for name in &names {
                *state.leased.entry(name.clone()).or_default() += 1;
            }
            Ok(Lease { leases: self, names: names.clone() })
        })
        .await
    }

    /// A claim for a removal: refused while a creation holds a lease, waits for another removal.
    pub(super) async fn claim(&self, name: &VolumeName) -> Result<Claim<'_>, VolumeError> {
        self.wait(|| {
            let mut state = self.lock();
            if state.leased.contains_key(name) {
                return Err(VolumeError::InUse { name: name.clone(), users: vec![User::Creation] });
            }
            if !state.claimed.insert(name.clone()) {
                return Err(VolumeError::BeingRemoved { name: name.clone() });
            }
            Ok(Claim { leases: self, name: name.clone() })
        })
        .await
    }

    /// Tries again when a claim is given back; the last refusal when patience ends.
    async fn wait<T>(&self, attempt: impl Fn() -> Result<T, VolumeError>) -> Result<T, VolumeError> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let released = self.released.notified();
            tokio::pin!(released);
            released.as_mut().enable();
            // Enabled before looking: a release in between is not missed.
            match attempt() {
                Err(refusal @ VolumeError::BeingRemoved { .. }) => {
                    timeout_at(deadline, released).await.map_err(|_| refusal)?;
                }
                settled => return settled,
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        let mut state = self.leases.lock();
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

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        self.leases.lock().claimed.remove(&self.name);
        self.leases.released.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> VolumeName {
        text.parse().unwrap()
    }

    #[tokio::test]
    async fn a_leased_volume_is_not_claimed() {
        let leases = Leases::default();
        let one = leases.lease(vec![name("a"), name("b"), name("a")]).await.unwrap();
        let other = leases.lease(vec![name("a")]).await.unwrap();
        drop(one);
        assert!(matches!(leases.claim(&name("a")).await, Err(VolumeError::InUse { .. })));
        drop(leases.claim(&name("b")).await.unwrap());
        drop(other);
        drop(leases.claim(&name("a")).await.unwrap());
    }

    #[tokio::test]
    async fn a_lease_waits_for_a_removal_and_keeps_out_the_next() {
        let leases = Leases::default();
        let claim = leases.claim(&name("a")).await.unwrap();
        drop(leases.lease(vec![name("b")]).await.unwrap());
        let mut waiting = std::pin::pin!(leases.lease(vec![name("b"), name("a")]));
        assert!(at_once(waiting.as_mut()).await.is_none(), "it is being removed");
        drop(claim);
        let lease = waiting.await.unwrap();
        assert!(matches!(leases.claim(&name("a")).await, Err(VolumeError::InUse { .. })));
        drop(lease);
    }

    /// The output of the future if it is ready at once.
    async fn at_once<T>(future: std::pin::Pin<&mut impl Future<Output = T>>) -> Option<T> {
        tokio::select! {
            biased;
            given = future => Some(given),
            () = std::future::ready(()) => None,
        }
    }
}
