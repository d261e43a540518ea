//! Kernel parameters of a container: only those that belong to a namespace, and only to one of its own.

use std::collections::BTreeMap;

use crate::definition::{Definition, Network, Sharing};

use super::SpecError;

/// The keys below `kernel.` that belong to the ipc namespace.
const IPC: [&str; 8] = ["msgmax", "msgmnb", "msgmni", "sem", "shmall", "shmmax", "shmmni", "shm_rmid_forced"];

/// Checks the keys; `None` when there are none.
pub(super) fn plan(definition: &Definition) -> Result<Option<&BTreeMap<String, String>>, SpecError> {
    let sysctls = &definition.security.sysctls;
    let namespaces = &definition.namespaces;
    for key in sysctls.keys() {
        let (namespace, own) = match owner(key) {
            None => return Err(SpecError::GlobalSysctl { key: key.clone() }),
            Some(Owner::Ipc) => ("ipc", namespaces.ipc == Sharing::Own),
            Some(Owner::Uts) => ("uts", namespaces.uts == Sharing::Own),
            // The network of another container counts as its own, as in a sandbox; the runtime writes through it.
            Some(Owner::Network) => ("network", namespaces.network != Network::Host),
        };
        if !own {
            return Err(SpecError::SharedSysctl { key: key.clone(), namespace });
        }
    }
    Ok((!sysctls.is_empty()).then_some(sysctls))
}

enum Owner {
    Ipc,
    Uts,
    Network,
}

/// The namespace a key belongs to. Both spellings are in use, `net.ipv4.x` and `net/ipv4/x`; one that climbs out of its
/// directory belongs to none.
fn owner(key: &str) -> Option<Owner> {
    let dotted = key.replace('/', ".");
    if dotted.split('.').any(str::is_empty) {
        return None;
    }
    let (first, rest) = dotted.split_once('.')?;
    match first {
        "kernel" if IPC.contains(&rest) => Some(Owner::Ipc),
        "kernel" if rest == "domainname" => Some(Owner::Uts),
        "fs" if rest.starts_with("mqueue.") => Some(Owner::Ipc),
        "net" => Some(Owner::Network),
        _ => None,
    }
}
