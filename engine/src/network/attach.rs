//! Attaching to networks and detaching from them. Everything is recorded before it is done, so that `detach` undoes all of
//! it from any point, however often.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::chain::Chain;
use super::port::Published;
use super::record::{Attachment, Record};
use super::result::Attached;
use super::{NetworkConf, NetworkError, PluginError, Settings, netns, plugin};
use crate::failpoint;

/// Longest all plugins of all networks of one attachment may take.
pub const ATTACH_DEADLINE: Duration = Duration::from_secs(150);
/// The same for detaching; what takes longer is put off.
pub const DETACH_DEADLINE: Duration = Duration::from_secs(90);

/// A plugin of an earlier daemon has this much more time: it may end in a moment.
const ORPHAN_PATIENCE: Duration = Duration::from_secs(30);

/// Where an attachment is recorded.
#[derive(Debug, Clone)]
pub struct Place {
    pub record: PathBuf,
    /// The input of the plugin that runs, which locks it.
    pub busy: PathBuf,
}

/// What is to be attached.
#[derive(Debug)]
pub struct Order {
    pub owner: String,
    /// Told to plugins. Not to be used again: a DEL that was put off may still come.
    pub container: String,
    pub netns: PathBuf,
    pub networks: Vec<Wanted>,
    pub ports: Vec<Published>,
}

#[derive(Debug)]
pub struct Wanted {
    pub conf: NetworkConf,
    pub ifname: String,
    /// `None` is any.
    pub ip: Option<IpAddr>,
}

/// Makes the namespace and attaches it. Whoever gets an error, or none because of a crash, calls `detach`.
pub async fn attach(settings: &Settings, place: &Place, order: Order) -> Result<Record, NetworkError> {
    let attaching = tokio::time::timeout(ATTACH_DEADLINE, attach_all(settings, place, order));
    attaching.await.map_err(|_| NetworkError::Slow { seconds: ATTACH_DEADLINE.as_secs() })?
}

async fn attach_all(settings: &Settings, place: &Place, order: Order) -> Result<Record, NetworkError> {
    let mut record = Record::new(order.owner, order.container, order.netns, order.ports);
    // Ports are published once, in the first network that can.
    let mut ports: Vec<Value> = record.ports.iter().map(Published::mapping).collect();
    for wanted in &order.networks {
        let mut capability_args = Map::new();
        if !ports.is_empty() && wanted.conf.takes("portMappings") {
            capability_args.insert("portMappings".to_owned(), std::mem::take(&mut ports).into());
        }
        let mut args = String::new();
        if let Some(ip) = wanted.ip {
            if wanted.conf.takes("ips") {
                capability_args.insert("ips".to_owned(), json!([ip.to_string()]));
            } else {
                args = format!("IgnoreUnknown=1;IP={ip}");
            }
        }
        record.networks.push(Attachment {
            network: wanted.conf.name.clone(),
            ifname: wanted.ifname.clone(),
            list: wanted.conf.list.clone(),
            args,
            capability_args,
            result: None,
        });
    }
    if !ports.is_empty() {
        let networks = order.networks.iter().map(|wanted| wanted.conf.name.as_str()).collect::<Vec<_>>().join(", ");
        return Err(NetworkError::NoPorts { network: networks });
    }
    let mut record = blocking({
        let (record_path, record) = (place.record.clone(), record);
        move || {
            record.write(&record_path, true)?;
            failpoint::hit(failpoint::NET_RECORDED);
            netns::make(&record.netns)?;
            failpoint::hit(failpoint::NET_PINNED);
            Ok(record)
        }
    })
    .await?;
    for (index, wanted) in order.networks.iter().enumerate() {
        record = add(settings, place, record, index, wanted).await?;
    }
    failpoint::hit(failpoint::NET_ADDED);
    Ok(record)
}

async fn add(
    settings: &Settings,
    place: &Place,
    record: Record,
    index: usize,
    wanted: &Wanted,
) -> Result<Record, NetworkError> {
    let network = &wanted.conf.name;
    let attachment = record.networks[index].clone();
    let (container, netns) = (record.container.clone(), record.netns.clone());
    let chain = Chain {
        conf: &wanted.conf,
        container: &container,
        netns: Some(&netns),
        ifname: &attachment.ifname,
        args: &attachment.args,
        capability_args: &attachment.capability_args,
        bin_dirs: &settings.bin_dirs,
        deadline: settings.deadline,
        busy: &place.busy,
    };
    let failed = |source| NetworkError::Plugin { network: network.clone(), source };
    chain.find_all().map_err(failed)?;
    let mut record = record;
    for plugin in &wanted.conf.plugins {
        let result = chain.add(plugin, record.networks[index].result.as_ref()).await.map_err(failed)?;
        // Before the next one runs: what it does is undone by this.
        record.networks[index].result = Some(result);
        let (path, written) = (place.record.clone(), record.clone());
        blocking(move || written.write(&path, false)).await?;
        failpoint::hit(failpoint::NET_PLUGIN_ADDED);
    }
    check(&record.networks[index], wanted)?;
    Ok(record)
}

/// A result must be readable, and have the address that was asked for.
fn check(attachment: &Attachment, wanted: &Wanted) -> Result<(), NetworkError> {
    let plugin = || wanted.conf.plugins.last().map(|plugin| plugin.kind.clone()).unwrap_or_default();
    let result = attachment.result.clone().unwrap_or_default();
    let attached = Attached::of(&result, &attachment.ifname).map_err(|problem| NetworkError::Plugin {
        network: attachment.network.clone(),
        source: PluginError::Nonsense {
            kind: plugin(),
            verb: plugin::Verb::Add.word(),
            problem,
            said: format!("said `{}`", crate::domain::text::cut(&result.to_string(), 400)),
        },
    })?;
    match wanted.ip {
        Some(ip) if attached.addresses.iter().all(|address| address.ip != ip) => {
            let given: Vec<_> = attached.addresses.iter().map(|address| address.ip.to_string()).collect();
            Err(NetworkError::WrongAddress {
                network: attachment.network.clone(),
                plugin: plugin(),
                given: if given.is_empty() { "none".to_owned() } else { given.join(", ") },
                wanted: ip.to_string(),
            })
        }
        Some(_) | None => Ok(()),
    }
}

/// Undoes what the record tells, in reverse, and removes it with the namespace. Nothing recorded is fine. With an error the
/// record stays, for another attempt.
pub async fn detach(settings: &Settings, place: &Place) -> Result<(), NetworkError> {
    let detaching = tokio::time::timeout(DETACH_DEADLINE, detach_all(settings, place));
    detaching.await.map_err(|_| NetworkError::Slow { seconds: DETACH_DEADLINE.as_secs() })?
}

async fn detach_all(settings: &Settings, place: &Place) -> Result<(), NetworkError> {
    let path = place.record.clone();
    let read = blocking(move || Record::read(&path)).await?;
    if let Some(record) = read {
        let patience = settings.deadline.min(ORPHAN_PATIENCE);
        if !plugin::await_idle(&place.busy, patience).await.map_err(NetworkError::io("lock", &place.busy))? {
            return Err(NetworkError::Busy);
        }
        del(settings, place, &record).await?;
        failpoint::hit(failpoint::NET_DELETED);
        blocking(move || netns::remove(&record.netns)).await?;
        failpoint::hit(failpoint::NET_UNPINNED);
    }
    let place = place.clone();
    blocking(move || remove_files(&place)).await
}

/// Every plugin of every network is asked, also after one has failed; the first failure is told.
async fn del(settings: &Settings, place: &Place, record: &Record) -> Result<(), NetworkError> {
    let netns = netns::is_pinned(&record.netns).then_some(record.netns.as_path());
    let mut first = None;
    for attachment in record.networks.iter().rev() {
        let conf = match attachment.conf(&place.record) {
            Ok(conf) => conf,
            Err(error) => {
                first.get_or_insert(error);
                continue;
            }
        };
        let chain = Chain {
            conf: &conf,
            container: &record.container,
            netns,
            ifname: &attachment.ifname,
            args: &attachment.args,
            capability_args: &attachment.capability_args,
            bin_dirs: &settings.bin_dirs,
            deadline: settings.deadline,
            busy: &place.busy,
        };
        for source in chain.del(attachment.result.as_ref()).await {
            first.get_or_insert(NetworkError::Plugin { network: attachment.network.clone(), source });
        }
    }
    first.map_or(Ok(()), Err)
}

fn remove_files(place: &Place) -> Result<(), NetworkError> {
    for path in [&place.record, &place.busy] {
        remove_file(path)?;
    }
    Ok(())
}

pub(super) fn remove_file(path: &Path) -> Result<(), NetworkError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        removed => removed.map_err(NetworkError::io("remove", path)),
    }
}

pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, NetworkError> + Send + 'static,
) -> Result<T, NetworkError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|panic| Err(NetworkError::Task { message: panic.to_string() }))
}
