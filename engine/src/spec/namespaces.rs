//! A container's own namespaces, and those that it joins.

use std::path::PathBuf;

use crate::definition::{Namespaces, Network, Sharing};

use super::{Host, Joined, SpecError, oci, utf8};

/// The host's namespace is expressed by a missing entry: no path to it is needed, and none would be allowed everywhere.
pub(super) fn plan<'a>(
    namespaces: &Namespaces,
    host: &Host,
    joined: &'a Joined,
) -> Result<Vec<oci::Namespace<'a>>, SpecError> {
    let network = match &namespaces.network {
        Network::None => Sharing::Own,
        Network::Host => Sharing::Host,
        Network::Container(id) => Sharing::Container(id.clone()),
        // The named network's namespace was made and pinned before.
        Network::Named(_) => Sharing::Own,
    };
    let kinds = [
        ("pid", &namespaces.pid, &joined.pid),
        ("network", &network, &joined.network),
        ("ipc", &namespaces.ipc, &joined.ipc),
        ("uts", &namespaces.uts, &joined.uts),
        ("cgroup", &namespaces.cgroup, &joined.cgroup),
    ];
    let mut list = vec![oci::Namespace { kind: "mount", path: None }];
    for (kind, sharing, path) in kinds {
        if kind == "cgroup" && !host.features.cgroup_namespace {
            continue;
        }
        match sharing {
            Sharing::Own if kind == "network" && matches!(namespaces.network, Network::Named(_)) => {
                list.push(oci::Namespace { kind, path: Some(join(kind, "its networks", path)?) });
            }
            Sharing::Own => list.push(oci::Namespace { kind, path: None }),
            Sharing::Host => {}
            Sharing::Container(id) => list.push(oci::Namespace { kind, path: Some(join(kind, id, path)?) }),
        }
    }
    Ok(list)
}

fn join<'a>(kind: &'static str, id: &str, path: &'a Option<PathBuf>) -> Result<&'a str, SpecError> {
    utf8(path.as_deref().ok_or_else(|| SpecError::NotJoinable { kind, container: id.to_owned() })?)
}
