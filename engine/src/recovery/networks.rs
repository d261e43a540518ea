//! Networks after a start of the daemon: attachments are read into memory, detaching that was put off goes on, and
//! orphaned namespaces are unpinned. All else is done by the release of containers.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::cancel;
use crate::cause::chain;
use crate::engine::Engine;
use crate::network::{addresses, netns};
use crate::node::Trust;

/// How long reading the records of all containers may take; a read that takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// Reads the attachments of all containers. To be called before containers are compared. Starts wait for it, since they
/// must know the ports in use. Containers that are not verified yet are left alone by all operations, so no attachment
/// is read that was released meanwhile.
pub(super) async fn remember(engine: &Arc<Engine>) {
    let of = engine.clone();
    let reading = cancel::blocking(move |cancel| {
        // Also of containers without a recorded network: the attachment of an interrupted start has its ports all the
        // same.
        for (id, entity) in of.containers.snapshot().iter().filter(|(_, entity)| !entity.verified) {
            let place = of.node.bundle(&entity.state).network();
            of.networks.reads(&place.record);
            let read = place.read();
            if cancel.is_cancelled() {
                return;
            }
            match read {
                Ok(Some(record)) => of.networks.remember(&id.to_string(), record),
                Ok(None) => {}
                Err(error) => of.node.warn(format!("container {}: {}", id.short(), chain(&error))),
            }
        }
    });
    match tokio::time::timeout(PATIENCE, reading).await {
        Ok(Ok(())) => {}
        Ok(Err(panic)) => engine.node.warn(format!("containers' networks were not read: {panic}")),
        // The containers themselves are compared all the same.
        Err(_) => {
            return engine.node.warn(format!(
                "containers' networks were not read within {} s: the file system of `{}` may not answer; no container is \
                 attached to a network before the daemon is started again",
                PATIENCE.as_secs(),
                engine.node.layout.graph.display()
            ));
        }
    }
    let of = engine.clone();
    let resuming = tokio::task::spawn_blocking(move || {
        of.networks.reads(of.networks.pending.dir());
        of.networks.pending.resume(&of.networks.settings)
    });
    match resuming.await {
        Ok(problems) => {
            for problem in problems {
                engine.node.warn(format!("a network is not given back: {}", chain(&problem)));
            }
        }
        Err(panic) => engine.node.warn(format!("what is to be given back of networks was not read: {panic}")),
    }
    engine.networks.set_known();
}

/// Removes namespaces of this engine that no record names: neither a container's, nor one that was put off. Only for a
/// whole store.
pub(super) async fn sweep(engine: &Arc<Engine>) {
    if engine.node.trust() != Trust::Whole {
        return;
    }
    let of = engine.clone();
    let sweeping = tokio::task::spawn_blocking(move || {
        // Listed before records are read: a record is there from before its namespace until after it.
        let pinned = of.networks.pinned().unwrap_or_else(|error| {
            of.node.warn(format!("network namespaces are not swept: {}", chain(&error)));
            vec![]
        });
        for (path, owner) in pinned {
            // In this order: a record that is put off is known as such before it leaves its container.
            if is_recorded(&of, &path, &owner) || of.networks.pending.needs(&path) {
                continue;
            }
            of.node.warn(format!("network namespace `{}` belongs to no container that runs: removed", path.display()));
            if let Err(error) = netns::remove(&path) {
                of.node.warn(format!("the sweep left something: {}", chain(&error)));
            }
        }
    });
    if let Err(panic) = sweeping.await {
        engine.node.warn(format!("the sweep of network namespaces ended abnormally: {panic}"));
    }
    let of = engine.clone();
    let sweeping = tokio::task::spawn_blocking(move || {
        for warning in addresses::sweep(&of.networks.addresses, |attachment| is_attached(&of, attachment)) {
            of.node.warn(warning);
        }
    });
    if let Err(panic) = sweeping.await {
        engine.node.warn(format!("the sweep of addresses ended abnormally: {panic}"));
    }
}

/// Whether a record names the attachment: a container's, or one that is put off or given up. A record that cannot be
/// read may name it, and so may the files of an unknown container.
pub(super) fn is_attached(engine: &Engine, attachment: &str) -> bool {
    let text = attachment.split('-').next().unwrap_or_default();
    let entity = text.parse().ok().and_then(|id| engine.containers.get(&id));
    let of_container = match entity.map(|entity| engine.node.bundle(&entity.state).network().read()) {
        Some(Ok(record)) => record.is_some_and(|record| record.container == attachment),
        Some(Err(_)) => true,
        None => engine.containers.has_unknown(text),
    };
    // In this order: a record that is put off is there before it leaves its container.
    of_container || engine.networks.pending.has_file_of(attachment)
}

/// Whether a container with an id that begins with `owner` has recorded this namespace. A record that cannot be read
/// may name it, and so may the files of an unknown container.
pub(super) fn is_recorded(engine: &Engine, path: &Path, owner: &str) -> bool {
    let containers = engine.containers.snapshot();
    let mut owners = containers.values().filter(|entity| entity.state.id.to_string().starts_with(owner));
    let recorded = owners.any(|entity| match engine.node.bundle(&entity.state).network().read() {
        Ok(record) => record.is_some_and(|record| netns::is_same_pin(&record.netns, path)),
        Err(_) => true,
    });
    recorded || engine.containers.has_unknown(owner)
}
