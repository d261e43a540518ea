//! Attaching to networks and detaching from them. Everything is recorded before it is done, so that `detach` undoes all of
//! it from any point, however often.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::chain::Chain;
use super::first::{Firsts, Shape};
use super::plugin::Idle;
use super::port::Published;
use super::record::{Attachment, Record};
use super::result::Attached;
use super::{NetworkConf, NetworkError, PluginError, Settings, netns, plugin, steady};
use crate::abandon::{self, Owner};
use crate::failpoint;

/// Longest all plugins of all networks of one attachment may take.
pub const ATTACH_DEADLINE: Duration = Duration::from_secs(150);
/// The same for detaching while somebody waits; what takes longer is put off.
pub const DETACH_DEADLINE: Duration = Duration::from_secs(90);
/// Beyond that: the end of a killed plugin, and files.
pub const DETACH_SLACK: Duration = Duration::from_secs(30);

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

/// What is being done, for whoever hears that it takes too long.
#[derive(Debug, Default)]
struct Step(Mutex<String>);

impl Step {
    fn is(&self, what: String) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = what;
    }

    fn is_plugin(&self, kind: &str, network: &str) {
        self.is(format!("plugin `{kind}` of network {network} is at work"));
    }

    fn text(&self) -> String {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Makes the namespace and attaches it. Whoever gets an error, or none because of a crash, calls `detach`.
pub async fn attach(settings: &Settings, firsts: &Firsts, place: &Place, order: Order) -> Result<Record, NetworkError> {
    let step = Step::default();
    let attaching = tokio::time::timeout(ATTACH_DEADLINE, attach_all(settings, firsts, place, order, &step));
    attaching.await.map_err(|_| NetworkError::Slow { seconds: ATTACH_DEADLINE.as_secs(), step: step.text() })?
}

async fn attach_all(
    settings: &Settings,
    firsts: &Firsts,
    place: &Place,
    order: Order,
    step: &Step,
) -> Result<Record, NetworkError> {
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
    step.is(format!("`{}` is written and `{}` made", place.record.display(), record.netns.display()));
    let mut record = blocking({
        let (record_path, record, bin_dirs) = (place.record.clone(), record, settings.bin_dirs.clone());
        let confs: Vec<_> = order.networks.iter().map(|wanted| wanted.conf.clone()).collect();
        move |owner| {
            // Before anything is done: what a missing plugin cannot undo would be put off.
            for conf in &confs {
                find_all(conf, &bin_dirs)?;
            }
            still_wanted(owner)?;
            record.write(&record_path)?;
            failpoint::hit(failpoint::NET_RECORDED);
            netns::make(&record.netns)?;
            failpoint::hit(failpoint::NET_PINNED);
            if owner.has_left() {
                // Whoever undoes the attachment may have been here before.
                netns::remove(&record.netns)?;
            }
            Ok(record)
        }
    })
    .await?;
    for (index, wanted) in order.networks.iter().enumerate() {
        record = add(settings, firsts, place, record, (index, wanted), step).await?;
    }
    failpoint::hit(failpoint::NET_ADDED);
    Ok(record)
}

fn find_all(conf: &NetworkConf, bin_dirs: &[PathBuf]) -> Result<(), NetworkError> {
    let found = conf.plugins.iter().try_for_each(|plugin| plugin::find(&plugin.kind, bin_dirs).map(drop));
    found.map_err(|source| NetworkError::Plugin { network: conf.name.clone(), source })
}

async fn add(
    settings: &Settings,
    firsts: &Firsts,
    place: &Place,
    record: Record,
    (index, wanted): (usize, &Wanted),
    step: &Step,
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
    let mut record = record;
    for plugin in &wanted.conf.plugins {
        step.is_plugin(&plugin.kind, network);
        let turn = firsts.turn(&plugin.kind, Shape::of(network, plugin, &attachment.capability_args)).await;
        steady::keep(plugin).await;
        let result = match chain.add(plugin, record.networks[index].result.as_ref()).await {
            Ok(result) => result,
            Err(source) => {
                // It may have made the bridge.
                steady::keep(plugin).await;
                return Err(failed(source));
            }
        };
        turn.succeeded();
        // Before the next one runs: what it does is undone by this.
        record.networks[index].result = Some(result);
        let (path, written) = (place.record.clone(), record.clone());
        blocking(move |owner| {
            still_wanted(owner)?;
            written.write(&path)
        })
        .await?;
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
/// record stays, for another attempt. With a `budget` each plugin has its share of what is left of it, at most the deadline
/// of one execution: one that hangs takes nothing from the others.
pub async fn detach(settings: &Settings, place: &Place, budget: Option<Duration>) -> Result<(), NetworkError> {
    let step = Step::default();
    let Some(budget) = budget else { return detach_all(settings, place, None, &step).await };
    let limit = budget + DETACH_SLACK;
    let detaching = tokio::time::timeout(limit, detach_all(settings, place, Some(Instant::now() + budget), &step));
    detaching.await.map_err(|_| NetworkError::SlowDetach { seconds: limit.as_secs(), step: step.text() })?
}

async fn detach_all(settings: &Settings, place: &Place, end: Option<Instant>, step: &Step) -> Result<(), NetworkError> {
    step.is(format!("`{}` is read", place.record.display()));
    let path = place.record.clone();
    let read = blocking(move |_| {
        let record = Record::read(&path)?;
        Ok(record.map(|record| (netns::is_pinned(&record.netns), record)))
    });
    if let Some((pinned, mut record)) = read.await? {
        let patience = settings.deadline.min(ORPHAN_PATIENCE);
        step.is(format!("a plugin of an earlier attempt has `{}` locked", place.busy.display()));
        let idle = plugin::await_idle(&place.busy, patience).await;
        if let Idle::No { by } = idle.map_err(NetworkError::io("lock", &place.busy))? {
            let networks: Vec<_> = record.networks.iter().map(|attachment| attachment.network.as_str()).collect();
            return Err(NetworkError::Busy { networks: networks.join(", "), call: place.busy.clone(), by });
        }
        let deleted = del(settings, place, &mut record, (pinned, end), step).await;
        step.is(format!("`{}` is removed", record.netns.display()));
        if let Err(error) = deleted {
            // What of it still stands: whether its ports are free is up to the plugin that has published them.
            let path = place.record.clone();
            blocking(move |owner| {
                still_wanted(owner)?;
                record.write(&path)
            })
            .await?;
            return Err(error);
        }
        failpoint::hit(failpoint::NET_DELETED);
        blocking(move |_| netns::remove(&record.netns)).await?;
        failpoint::hit(failpoint::NET_UNPINNED);
    }
    let place = place.clone();
    blocking(move |owner| {
        still_wanted(owner)?;
        remove_files(&place)
    })
    .await
}

/// Every plugin of every network is asked, also after one has failed; the first failure is told. Ports that are given back
/// leave the record.
async fn del(
    settings: &Settings,
    place: &Place,
    record: &mut Record,
    (pinned, end): (bool, Option<Instant>),
    step: &Step,
) -> Result<(), NetworkError> {
    let netns = pinned.then(|| record.netns.clone());
    let mut first = None;
    let mut confs = Vec::new();
    for attachment in record.networks.iter().rev() {
        match attachment.conf(&place.record) {
            Ok(conf) => confs.push((attachment, conf)),
            Err(error) => {
                first.get_or_insert(error);
            }
        }
    }
    let mut left: usize = confs.iter().map(|(_, conf)| conf.plugins.len()).sum();
    let mut published = confs.len() != record.networks.len();
    for (attachment, conf) in &confs {
        for plugin in conf.plugins.iter().rev() {
            step.is_plugin(&plugin.kind, &attachment.network);
            let share = end.map(|end| end.saturating_duration_since(Instant::now()) / u32::try_from(left).unwrap_or(1));
            left -= 1;
            let chain = Chain {
                conf,
                container: &record.container,
                netns: netns.as_deref(),
                ifname: &attachment.ifname,
                args: &attachment.args,
                capability_args: &attachment.capability_args,
                bin_dirs: &settings.bin_dirs,
                deadline: share.map_or(settings.deadline, |share| share.min(settings.deadline)),
                busy: &place.busy,
            };
            if let Err(source) = chain.del(plugin, attachment.result.as_ref()).await {
                published |= plugin.takes("portMappings") && attachment.capability_args.contains_key("portMappings");
                first.get_or_insert(NetworkError::Plugin { network: attachment.network.clone(), source });
            }
        }
    }
    if !published {
        record.ports.clear();
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

/// Whoever has given up undoes what there is: nothing is to be added behind its back.
fn still_wanted(owner: &Owner) -> Result<(), NetworkError> {
    if owner.has_left() {
        return Err(NetworkError::Task { message: "nobody waits for it any more".to_owned() });
    }
    Ok(())
}

pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce(&Owner) -> Result<T, NetworkError> + Send + 'static,
) -> Result<T, NetworkError> {
    let done = abandon::blocking(work).await;
    done.unwrap_or_else(|panic| Err(NetworkError::Task { message: panic.to_string() }))
}
