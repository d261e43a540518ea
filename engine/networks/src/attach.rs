//! Attaching to networks. Everything is recorded before it is done, so that `detach` undoes all of it from any point.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::chain::Chain;
use super::first::{FirstRuns, Shape};
use super::port::Published;
use super::record::{Attachment, Record};
use super::result::Attached;
use super::{NetworkConf, NetworkError, PluginError, Settings, netns, plugin, reach, steady};
use engine_host::cancel::{self, CancelToken};
use engine_host::failpoint;

/// Longest all plugins of all networks of one attachment may take.
pub const ATTACH_DEADLINE: Duration = Duration::from_secs(150);

/// The files that record an attachment.
#[derive(Debug, Clone)]
pub struct Place {
    /// The prefix of the names of attachments that are recorded here.
    pub prefix: String,
    pub record: PathBuf,
    /// The input of the plugin that runs, which locks it.
    pub busy: PathBuf,
}

impl Place {
    /// The record in this place; the record of another container is an error. Blocks.
    pub fn read(&self) -> Result<Option<Record>, NetworkError> {
        let record = Record::read(&self.record)?;
        if let Some(record) = &record
            && !record.container.starts_with(&self.prefix)
        {
            let problem = format!("it is of `{}`", record.container);
            return Err(NetworkError::RecordContent { path: self.record.clone(), problem });
        }
        Ok(record)
    }
}

/// A container's place in networks, as it is to be.
#[derive(Debug)]
pub struct Order {
    pub owner: String,
    /// The id for plugins. Not to be used again: a postponed DEL may still come.
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

/// The present step, for the error after a deadline.
#[derive(Debug, Default)]
pub(super) struct Step(Mutex<String>);

impl Step {
    pub(crate) fn set(&self, step: String) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = step;
    }

    pub(crate) fn set_plugin(&self, kind: &str, network: &str) {
        self.set(format!("plugin `{kind}` of network {network} is at work"));
    }

    pub(crate) fn text(&self) -> String {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Makes the namespace and attaches it. After an error, or a crash, the caller undoes all by `detach`.
pub async fn attach(
    settings: &Settings,
    first_runs: &FirstRuns,
    place: &Place,
    order: Order,
) -> Result<Record, NetworkError> {
    let step = Step::default();
    let attaching = tokio::time::timeout(ATTACH_DEADLINE, attach_all(settings, first_runs, place, order, &step));
    attaching.await.map_err(|_| NetworkError::Slow { seconds: ATTACH_DEADLINE.as_secs(), step: step.text() })?
}

async fn attach_all(
    settings: &Settings,
    first_runs: &FirstRuns,
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
            seen: vec![],
        });
    }
    if !ports.is_empty() {
        let networks = order.networks.iter().map(|wanted| wanted.conf.name.as_str()).collect::<Vec<_>>().join(", ");
        return Err(NetworkError::NoPorts { network: networks });
    }
    step.set(format!("`{}` is written and `{}` made", place.record.display(), record.netns.display()));
    let mut record = blocking({
        let (record_path, record, bin_dirs) = (place.record.clone(), record, settings.bin_dirs.clone());
        let confs: Vec<_> = order.networks.iter().map(|wanted| wanted.conf.clone()).collect();
        move |cancel| {
            // Before anything is done: the DEL of a missing plugin would have to be postponed.
            for conf in &confs {
                find_all(conf, &bin_dirs)?;
            }
            still_wanted(cancel)?;
            record.write(&record_path)?;
            failpoint::hit(failpoint::NET_RECORDED);
            netns::make(&record.netns)?;
            failpoint::hit(failpoint::NET_PINNED);
            if cancel.is_cancelled() {
                // `detach` may have run before the namespace was made.
                netns::remove(&record.netns)?;
            }
            Ok(record)
        }
    })
    .await?;
    for (index, wanted) in order.networks.iter().enumerate() {
        record = add(settings, first_runs, place, record, (index, wanted), step).await?;
    }
    failpoint::hit(failpoint::NET_ADDED);
    Ok(record)
}

/// Looks up all plugins, those that manage addresses for others included.
fn find_all(conf: &NetworkConf, bin_dirs: &[PathBuf]) -> Result<(), NetworkError> {
    let kinds = conf.plugins.iter().flat_map(|plugin| [Some(plugin.kind.as_str()), plugin.ipam()]).flatten();
    let found = kinds.into_iter().try_for_each(|kind| plugin::find(kind, bin_dirs).map(drop));
    found.map_err(|source| NetworkError::Plugin { network: conf.name.clone(), source })
}

async fn add(
    settings: &Settings,
    first_runs: &FirstRuns,
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
        step.set_plugin(&plugin.kind, network);
        let permit = first_runs.permit(Shape::of(network, plugin, &attachment.capability_args)).await;
        steady::keep(plugin).await;
        let result = match chain.add(plugin, record.networks[index].result.as_ref()).await {
            Ok(result) => result,
            Err(source) => {
                // The failed plugin may have made the bridge.
                steady::keep(plugin).await;
                return Err(failed(source));
            }
        };
        permit.succeeded();
        // Before the next plugin runs: its work is undone by this record.
        record.networks[index].result = Some(result);
        let (path, written) = (place.record.clone(), record.clone());
        blocking(move |cancel| {
            still_wanted(cancel)?;
            written.write(&path)
        })
        .await?;
        failpoint::hit(failpoint::NET_PLUGIN_ADDED);
    }
    check(&record.networks[index], wanted)?;
    if attachment.capability_args.contains_key("portMappings") {
        reach::check(&record.ports, &wanted.conf, &record.networks[index].attached())?;
    }
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
            answer: format!("said `{}`", engine_domain::text::cut(&result.to_string(), 400)),
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

/// A caller that has given up undoes the attachment: nothing may be added behind its back.
pub(super) fn still_wanted(cancel: &CancelToken) -> Result<(), NetworkError> {
    if cancel.is_cancelled() {
        return Err(NetworkError::Task { message: "its caller has gone".to_owned() });
    }
    Ok(())
}

pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce(&CancelToken) -> Result<T, NetworkError> + Send + 'static,
) -> Result<T, NetworkError> {
    let done = cancel::blocking(work).await;
    done.unwrap_or_else(|panic| Err(NetworkError::Task { message: panic.to_string() }))
}
