//! Remove: refused while a container's definition names the network, or may name it, and while an attachment to it is
//! pending release.

use std::sync::Arc;

use crate::api::native::{ApiError, Native};
use crate::definition::Network;
use crate::engine::Engine;
use crate::network::{NetworkError, bridge};

impl Native {
    pub(super) async fn remove_network(self, name: String) -> Result<(), ApiError> {
        self.may_change_networks()?;
        let engine = self.engine.clone();
        // Attachments that an earlier daemon could not release use it too. Waited for before the lock, which creations
        // need.
        engine.networks.known().await?;
        let _alone = engine.networks.changes.lock().await;
        // No creation begins to use the network from here on, and those that began before are seen.
        let _removal = engine.networks.uses.begin_removal(&name)?;
        let of = engine.clone();
        let removing = tokio::task::spawn_blocking(move || {
            refuse_while_used(&of, &name)?;
            bridge::remove(&of.networks.settings, &of.networks.addresses, &name)?;
            of.networks.first_runs.forget(&name);
            tracing::info!(network = name, "network removed");
            Ok(())
        });
        removing.await.map_err(|panic| ApiError::failed(panic.to_string()))?
    }
}

/// Refuses while definitions of containers or pending releases name the network. Blocks on the disk.
fn refuse_while_used(engine: &Arc<Engine>, name: &str) -> Result<(), NetworkError> {
    let mut users = engine.networks.pending.users(name);
    for (id, entity) in engine.containers.snapshot().iter() {
        match engine.containers.definition_uncached(entity) {
            Ok(definition) => match &definition.namespaces.network {
                Network::Named(named) if named.networks.iter().any(|network| network == name) => {
                    users.push(format!("container {} ({})", entity.state.card.name, id.short()));
                }
                Network::Named(_) | Network::None | Network::Host | Network::Container(_) => {}
            },
            // The container was removed meanwhile, and its definition with it.
            Err(_) if engine.containers.get(id).is_none() => {}
            Err(_) => {
                users.push(format!("perhaps container {}, whose definition cannot be read", id.short()));
            }
        }
    }
    if users.is_empty() { Ok(()) } else { Err(NetworkError::InUse { name: name.to_owned(), users: users.join(", ") }) }
}
