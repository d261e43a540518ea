//! The system call filter of a container: the engine's own profile, the user's, or none.

mod custom;
mod profile;

use std::sync::Arc;

use crate::definition::{Seccomp, Security};

use super::capabilities::CapabilitySet;
use super::{Host, oci};

pub(crate) use custom::ProfileError;

/// Far above the number of different profiles on a machine; it bounds the memory that callers can make the daemon use.
const MOST_CACHED: usize = 64;

/// The filter, or `None` for none: when unconfined, when privileged, and, with a warning, when the kernel has no
/// filters.
pub(super) fn plan(
    security: &Security,
    capabilities: CapabilitySet,
    host: &Host,
    warnings: &mut Vec<String>,
) -> Result<Option<Arc<oci::Seccomp>>, ProfileError> {
    match &security.seccomp {
        Seccomp::Unconfined => Ok(None),
        // A profile asked for by name applies to a privileged container too.
        Seccomp::Profile(json) => {
            if !host.features.seccomp {
                return Err(ProfileError::NoKernelSupport);
            }
            Ok(Some(Arc::new(custom::translate(json, capabilities, host.architecture, host.kernel)?)))
        }
        Seccomp::Default if security.privileged => Ok(None),
        Seccomp::Default if !host.features.seccomp => {
            warnings.push("Your kernel does not support seccomp. The container runs without a profile.".to_owned());
            Ok(None)
        }
        Seccomp::Default => Ok(Some(cached(capabilities, host))),
    }
}

/// Nearly all containers have the same capabilities, so one expansion serves them all.
fn cached(capabilities: CapabilitySet, host: &Host) -> Arc<oci::Seccomp> {
    // Only these capabilities decide on the entry: the others would make copies of it.
    let deciding = capabilities & profile::deciding();
    let mut cache = host.seccomp_cache.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    if cache.len() >= MOST_CACHED && !cache.contains_key(&deciding) {
        cache.clear();
    }
    let expand = || Arc::new(profile::expand(deciding, host.architecture, host.foreign, host.kernel));
    Arc::clone(cache.entry(deciding).or_insert_with(expand))
}

#[cfg(test)]
mod tests;
