//! A container's networks: attached before its first process, released after its last.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::cause::chain;
use crate::definition::{Named, Network};
use crate::domain::container::{Command, Container, Phase};
use crate::domain::id::{ContainerId, StartId};
use crate::effects::ContainerEffects;
use crate::failpoint;
use crate::journal::record::{Actor, Context};
use crate::network::attach::{self, Order, Place, Wanted};
use crate::network::conf::Confs;
use crate::network::detach::{DETACH_DEADLINE, detach};
use crate::network::port::Published;
use crate::network::record::Record;
use crate::network::result::Dns;
use crate::network::{self, NetworkError, bridge};
use crate::records::Entity;
use crate::spec::files::NetworkSettings;

use super::deadlines::PORTS_PATIENCE;
use super::launch::LaunchError;

/// The networks of a start: their namespace, and the files' contents that follow from them.
#[derive(Debug)]
pub(super) struct Attached {
    pub netns: PathBuf,
    pub gives: NetworkSettings,
}

/// `None` for a container without networks. After an error, networks that were attached before it are released with the
/// rest of the start.
pub(super) async fn attach(
    effects: &Arc<ContainerEffects>,
    entity: &Arc<Entity>,
    start: StartId,
    context: &Context,
) -> Result<Option<Attached>, LaunchError> {
    let definition = match effects.containers.cached_definition(entity) {
        Some(definition) => definition,
        None => {
            let (reader, read) = (effects.clone(), entity.clone());
            let reading = tokio::task::spawn_blocking(move || reader.containers.definition(&read)).await;
            reading.map_err(|panic| NetworkError::Task { message: panic.to_string() })??
        }
    };
    let Network::Named(named) = &definition.namespaces.network else { return Ok(None) };
    let id = entity.state.id;
    let networks = &effects.networks;
    let wanted = wanted(effects, named).await?;
    networks.known().await?;
    let ports = take_ports(effects, id, &named.ports).await?;
    let mark = network::mark()?;
    let order = Order {
        owner: format!("container {}", id.short()),
        // Unique to this attachment: the DEL of an earlier one may come late.
        container: format!("{id}-{}-{mark}", start.0),
        netns: networks.netns(&id.to_string(), start.0, &mark),
        networks: wanted,
        ports,
    };
    let place = effects.node.bundle(&entity.state).network();
    let record = attach::attach(&networks.settings, &networks.first_runs, &place, order).await?;
    let attached = Attached { netns: record.netns.clone(), gives: gives(&record) };
    for (network, addresses) in record.addresses() {
        let report = Command::ReportNetworkAttached { start, network, addresses };
        effects.containers.report_recorded(&id, context, report).await;
    }
    networks.pending.retry_changed(&record);
    networks.remember(&id.to_string(), record);
    failpoint::hit(failpoint::NET_ATTACHED);
    Ok(Some(attached))
}

/// Reserves the ports. Ports of a container that has exited are waited for, since it is about to release them.
async fn take_ports(
    effects: &Arc<ContainerEffects>,
    id: ContainerId,
    wanted: &[Published],
) -> Result<Vec<Published>, NetworkError> {
    let end = tokio::time::Instant::now() + PORTS_PATIENCE;
    loop {
        let (owner, wanted) = (effects.clone(), wanted.to_vec());
        // Blocks: each port is bound for a moment.
        let taking = tokio::task::spawn_blocking(move || owner.networks.ports.take(&id.to_string(), &wanted));
        match taking.await.map_err(|panic| NetworkError::Task { message: panic.to_string() })? {
            Err(NetworkError::PortTaken { holder, .. })
                if releases_ports_soon(effects, &holder) && end > tokio::time::Instant::now() =>
            {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            outcome => return outcome,
        }
    }
}

fn releases_ports_soon(effects: &ContainerEffects, holder: &str) -> bool {
    let entity = holder.parse().ok().and_then(|id| effects.containers.get(&id));
    entity.is_none_or(|entity| match &entity.state.phase {
        Phase::Exited(_) | Phase::Restarting(_) | Phase::Removing(_) => true,
        Phase::Created
        | Phase::Starting(_)
        | Phase::Running(_)
        | Phase::Pausing(_)
        | Phase::Paused(_)
        | Phase::Resuming(_) => false,
    })
}

async fn wanted(effects: &Arc<ContainerEffects>, named: &Named) -> Result<Vec<Wanted>, NetworkError> {
    let (dir, named) = (effects.networks.settings.conf_dir.clone(), named.clone());
    let reading = tokio::task::spawn_blocking(move || {
        let confs = Confs::read(&dir);
        let each = named.networks.iter().enumerate().map(|(index, name)| {
            let conf = bridge::find(&confs, name)?.conf.clone();
            let ip = named.ip.filter(|_| index == 0);
            Ok(Wanted { conf, ifname: format!("eth{index}"), ip })
        });
        each.collect()
    });
    reading.await.map_err(|panic| NetworkError::Task { message: panic.to_string() })?
}

fn gives(record: &Record) -> NetworkSettings {
    let attached: Vec<_> = record.networks.iter().map(|attachment| attachment.attached()).collect();
    // The DNS settings of the first network that has any.
    let dns = attached.iter().map(|attached| &attached.dns).find(|dns| **dns != Dns::default());
    NetworkSettings {
        addresses: attached.iter().flat_map(|attached| &attached.addresses).map(|address| address.ip).collect(),
        dns: dns.cloned().unwrap_or_default(),
    }
}

/// Releases the networks of the last start. When a plugin fails now, its detaching is put off and retried later, so
/// that it does not delay the release. The error is one that could not even be put off.
pub(super) async fn give_back(effects: &Arc<ContainerEffects>, container: &Container) -> Option<String> {
    let networks = &effects.networks;
    let (id, place) = (container.id, effects.node.bundle(container).network());
    // Most containers have no networks: nothing to wait for.
    if container.networks.is_empty() && !Record::is_at(&place.record).await {
        networks.forget(&id.to_string());
        return None;
    }
    if let Err(error) = detach(&networks.settings, &place, Some(DETACH_DEADLINE)).await {
        let error = put_off(effects, id, &place, chain(&error)).await;
        if error.is_some() {
            // The container keeps the attachment and its ports.
            return error;
        }
    }
    networks.forget(&id.to_string());
    let entity = effects.containers.get(&id);
    let recorded = entity.as_ref().map_or(&container.networks, |entity| &entity.state.networks);
    let starts: BTreeSet<u64> = recorded.iter().map(|attachment| attachment.start.0).collect();
    for start in starts {
        let report = Command::ReportNetworkDetached { start: StartId(start) };
        effects.containers.report_recorded(&id, &Context::new(Actor::Engine), report).await;
        failpoint::hit(failpoint::NET_DETACHED);
    }
    None
}

async fn put_off(effects: &Arc<ContainerEffects>, id: ContainerId, place: &Place, problem: String) -> Option<String> {
    let networks = &effects.networks;
    tracing::warn!(container_id = %id.short(), problem, "its network is not given back; it will be tried again");
    let taken = networks.pending.put_off(&networks.settings, place, &id.to_string(), problem).await;
    failpoint::hit(failpoint::NET_PUT_OFF);
    taken.err().map(|error| format!("its network is not given back: {}", chain(&error)))
}
