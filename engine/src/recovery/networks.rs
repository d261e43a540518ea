//! Networks after a start of the daemon: who is attached is remembered, detaching that was put off goes on, and namespaces
//! that belong to nobody are unpinned. All else is a release as any other.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::abandon;
use crate::cause::chain;
use crate::engine::{Engine, Trust};
use crate::network::{addresses, netns};

/// How long the records of all containers may take: what takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// To be called before containers are compared. Starts of others wait for it: they must know which ports are taken. What was
/// not compared yet is left alone by everybody, so nothing is remembered that was given back meanwhile.
pub(super) async fn remember(engine: &Arc<Engine>) {
    let of = engine.clone();
    let reading = abandon::blocking(move |owner| {
        // Also of those whose events tell of no network: the attachment of an interrupted start has its ports all the same.
        for (id, entity) in of.containers.snapshot().iter().filter(|(_, entity)| !entity.verified) {
            let place = of.bundle(&entity.state).network();
            of.networks.reads(&place.record);
            let read = place.read();
            if owner.has_left() {
                return;
            }
            match read {
                Ok(Some(record)) => of.networks.remember(&id.to_string(), record),
                Ok(None) => {}
                Err(error) => of.warn(format!("container {}: {}", id.short(), chain(&error))),
            }
        }
    });
    match tokio::time::timeout(PATIENCE, reading).await {
        Ok(Ok(())) => {}
        Ok(Err(panic)) => engine.warn(format!("containers' networks were not read: {panic}")),
        // The containers themselves are compared all the same.
        Err(_) => {
            return engine.warn(format!(
                "containers' networks were not read within {} s: the file system of `{}` may not answer; no container is \
                 attached to a network before the daemon is started again",
                PATIENCE.as_secs(),
                engine.layout.graph.display()
            ));
        }
    }
    let of = engine.clone();
    let resuming = tokio::task::spawn_blocking(move || {
        of.networks.reads(of.networks.pending.dir());
        of.networks.pending.resume(&of.networks.settings)
    });
    match resuming.await {
        Ok(troubles) => {
            for trouble in troubles {
                engine.warn(format!("a network is not given back: {}", chain(&trouble)));
            }
        }
        Err(panic) => engine.warn(format!("what is to be given back of networks was not read: {panic}")),
    }
    engine.networks.all_are_known();
}

/// Namespaces with our mark in their names that no record names: neither a container's, nor one of what is put off. Only of a
/// whole store.
pub(super) async fn sweep(engine: &Arc<Engine>) {
    if engine.trust() != Trust::Whole {
        return;
    }
    let of = engine.clone();
    let sweeping = tokio::task::spawn_blocking(move || {
        // Listed before records are read: a record is there from before its namespace until after it.
        let pinned = of.networks.pinned().unwrap_or_else(|error| {
            of.warn(format!("network namespaces are not swept: {}", chain(&error)));
            vec![]
        });
        for (path, owner) in pinned {
            // In this order: a record that is put off is known there before it leaves its container.
            if is_recorded(&of, &path, &owner) || of.networks.pending.needs(&path) {
                continue;
            }
            of.warn(format!("network namespace `{}` belongs to no container that runs: removed", path.display()));
            if let Err(error) = netns::remove(&path) {
                of.warn(format!("the sweep left something: {}", chain(&error)));
            }
        }
    });
    if let Err(panic) = sweeping.await {
        engine.warn(format!("the sweep of network namespaces ended abnormally: {panic}"));
    }
    let of = engine.clone();
    let sweeping = tokio::task::spawn_blocking(move || {
        for told in addresses::sweep(&of.networks.addresses, |attachment| is_attached(&of, attachment)) {
            of.warn(told);
        }
    });
    if let Err(panic) = sweeping.await {
        engine.warn(format!("the sweep of addresses ended abnormally: {panic}"));
    }
}

/// Whether a record tells of the attachment: a container's, or one that is put off or given up. What cannot be read may, and
/// what an unknown container has on disk.
pub(super) fn is_attached(engine: &Engine, attachment: &str) -> bool {
    let text = attachment.split('-').next().unwrap_or_default();
    let entity = text.parse().ok().and_then(|id| engine.containers.get(&id));
    let of_container = match entity.map(|entity| engine.bundle(&entity.state).network().read()) {
        Some(Ok(record)) => record.is_some_and(|record| record.container == attachment),
        Some(Err(_)) => true,
        None => super::has_unknown(engine, text),
    };
    // In this order: a record that is put off is there before it leaves its container.
    of_container || engine.networks.pending.has_file_of(attachment)
}

/// By a container whose id begins so. A record that cannot be read may name it, and so may what an unknown one has on disk.
pub(super) fn is_recorded(engine: &Engine, path: &Path, owner: &str) -> bool {
    let containers = engine.containers.snapshot();
    let mut owners = containers.values().filter(|entity| entity.state.id.to_string().starts_with(owner));
    let recorded = owners.any(|entity| match engine.bundle(&entity.state).network().read() {
        Ok(record) => record.is_some_and(|record| netns::is_same_pin(&record.netns, path)),
        Err(_) => true,
    });
    recorded || super::has_unknown(engine, owner)
}
