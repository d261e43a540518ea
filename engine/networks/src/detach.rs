//! Detaching from networks, by the record of the attachment: all of it is undone, from any point and however often. A
//! network that is given back leaves the record, so that one that is not keeps only itself.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;

use tokio::time::Instant;

use super::attach::{Place, Step, blocking, still_wanted};
use super::chain::Chain;
use super::conf::{Confs, NetworkConf, PluginConf};
use super::plugin::Idle;
use super::record::{Attachment, Record};
use super::{NetworkError, PluginError, Settings, netns, plugin};
use engine_host::cause::chain;
use engine_host::failpoint;

/// Longest all plugins of all networks of one attachment may take while a caller waits; after it the rest is postponed.
pub const DETACH_DEADLINE: Duration = Duration::from_secs(90);
/// The time beyond the deadline for the end of a killed plugin, and for files.
pub const DETACH_SLACK: Duration = Duration::from_secs(30);

/// A plugin of an earlier daemon has this much more time: it may end in a moment.
const ORPHAN_PATIENCE: Duration = Duration::from_secs(30);

/// From this attempt on, a failure that was there every time does not count as passing any more.
const LASTING: usize = 5;

/// Undoes the recorded attachment, in reverse, and removes the record with the namespace. A missing record is fine.
/// With an error the record stays, for another attempt. With a `budget` each plugin has its share of the time that is
/// left, at most the deadline of one execution: one that hangs takes nothing from the others.
pub async fn detach(settings: &Settings, place: &Place, budget: Option<Duration>) -> Result<(), NetworkError> {
    let end = budget.map(|budget| Instant::now() + budget);
    let detaching = Detaching { settings, place, end, attempt: 0, step: Step::default() };
    let Some(budget) = budget else { return detaching.all().await };
    let limit = budget + DETACH_SLACK;
    let all = tokio::time::timeout(limit, detaching.all());
    all.await.map_err(|_| NetworkError::SlowDetach { seconds: limit.as_secs(), step: detaching.step.text() })?
}

/// The same after `attempt` failures. A plugin that fails by the configuration of the attachment is run again by the
/// present one of the same network, see `Detaching::corrected`: the operator may have corrected it.
pub async fn detach_again(settings: &Settings, place: &Place, attempt: usize) -> Result<(), NetworkError> {
    Detaching { settings, place, end: None, attempt, step: Step::default() }.all().await
}

struct Detaching<'a> {
    settings: &'a Settings,
    place: &'a Place,
    end: Option<Instant>,
    /// The number of failed attempts before this one.
    attempt: usize,
    step: Step,
}

/// The state of the namespace that was attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Namespace {
    Pinned,
    /// Pinned, and interfaces that it lacked are there again.
    Completed,
    /// Gone. Another one is in its place, for plugins that look there for the addresses to give back.
    Replaced,
    Gone,
    /// Outside of the directory for namespaces: another `netns-dir` was configured when it was made, or the record was
    /// tampered with.
    Elsewhere,
}

impl Namespace {
    fn is_pinned(self) -> bool {
        matches!(self, Self::Pinned | Self::Completed)
    }

    /// Blocks.
    fn unpin(self, path: &Path) -> Result<(), NetworkError> {
        match self {
            Self::Pinned | Self::Completed | Self::Replaced | Self::Gone => netns::remove(path),
            Self::Elsewhere => Ok(()),
        }
    }
}

impl Detaching<'_> {
    async fn all(&self) -> Result<(), NetworkError> {
        let place = self.place;
        self.step.set(format!("`{}` is read", place.record.display()));
        let read_from = place.clone();
        if let Some(record) = blocking(move |_| read_from.read()).await? {
            self.await_idle(&record).await?;
            self.step.set(format!("`{}` is looked at", record.netns.display()));
            let (settings, path) = (self.settings.clone(), place.record.clone());
            let looking = blocking(move |owner| {
                let mut record = record;
                if note_addresses(&settings, &mut record) {
                    still_wanted(owner)?;
                    record.write(&path)?;
                }
                Ok((namespace_of(&settings, &record), record))
            });
            let (namespace, mut record) = looking.await?;
            let deleted = self.del(&mut record, namespace).await;
            self.step.set(format!("`{}` is removed", record.netns.display()));
            if let Err(error) = deleted {
                // The record keeps the networks that failed, and the ports unless the plugin that has published them
                // succeeded.
                let path = place.record.clone();
                blocking(move |owner| {
                    still_wanted(owner)?;
                    record.write(&path)?;
                    if namespace.is_pinned() { Ok(()) } else { namespace.unpin(&record.netns) }
                })
                .await?;
                return Err(error);
            }
            failpoint::hit(failpoint::NET_DELETED);
            blocking(move |_| namespace.unpin(&record.netns)).await?;
            failpoint::hit(failpoint::NET_UNPINNED);
        }
        let place = place.clone();
        blocking(move |owner| {
            still_wanted(owner)?;
            remove_files(&place)
        })
        .await
    }

    async fn await_idle(&self, record: &Record) -> Result<(), NetworkError> {
        let busy = &self.place.busy;
        self.step.set(format!("a plugin of an earlier attempt has `{}` locked", busy.display()));
        let idle = plugin::await_idle(busy, self.settings.deadline.min(ORPHAN_PATIENCE)).await;
        match idle.map_err(NetworkError::io("lock", busy))? {
            Idle::Yes => Ok(()),
            Idle::No { by } => {
                let networks: Vec<_> = record.networks.iter().map(|attachment| attachment.network.as_str()).collect();
                Err(NetworkError::Busy { networks: networks.join(", "), call: busy.clone(), by })
            }
        }
    }

    /// Runs every plugin of every network, also after one has failed; the first failure is returned. Networks and ports
    /// that are given back leave the record.
    async fn del(&self, record: &mut Record, namespace: Namespace) -> Result<(), NetworkError> {
        let (mut first, mut failed) = (None, BTreeSet::new());
        let mut confs = Vec::new();
        for (index, attachment) in record.networks.iter().enumerate().rev() {
            match attachment.conf(&self.place.record) {
                Ok(conf) => confs.push((index, attachment, conf)),
                Err(error) => {
                    failed.insert(index);
                    first.get_or_insert(error);
                }
            }
        }
        let mut left: usize = confs.iter().map(|(_, _, conf)| conf.plugins.len()).sum();
        let mut published = !failed.is_empty();
        for (index, attachment, conf) in &confs {
            for nth in (0..conf.plugins.len()).rev() {
                let plugin = &conf.plugins[nth];
                self.step.set_plugin(&plugin.kind, &attachment.network);
                let now = Instant::now();
                let share = self.end.map(|end| end.saturating_duration_since(now) / u32::try_from(left).unwrap_or(1));
                left -= 1;
                let call = Call { record, attachment, namespace, deadline: share };
                if let Err(source) = self.del_one(&call, conf, nth).await {
                    published |=
                        plugin.takes("portMappings") && attachment.capability_args.contains_key("portMappings");
                    failed.insert(*index);
                    first.get_or_insert(NetworkError::Plugin { network: attachment.network.clone(), source });
                }
            }
        }
        drop(confs);
        if !published {
            record.ports.clear();
        }
        let mut index = 0..;
        record.networks.retain(|_| index.next().is_some_and(|index| failed.contains(&index)));
        first.map_or(Ok(()), Err)
    }

    /// By the configuration of the attachment first; by the present one where that has failed, and may be used.
    async fn del_one(&self, call: &Call<'_>, conf: &NetworkConf, nth: usize) -> Result<(), PluginError> {
        let Err(problem) = self.ask(call, conf, &conf.plugins[nth]).await else { return Ok(()) };
        if self.attempt == 0 {
            return Err(problem);
        }
        let dir = self.settings.conf_dir.clone();
        // A directory that cannot be read has no configuration to use.
        let present = blocking(move |_| Ok(Confs::read(&dir))).await.unwrap_or_default();
        let Some((present, plugin)) = self.corrected(&present, call.attachment, conf, nth) else { return Err(problem) };
        self.ask(call, present, plugin).await.map_err(|_| {
            // The operator needs the failure by the attachment's own configuration.
            tracing::warn!(network = conf.name, plugin = plugin.kind, "DEL fails by the present configuration too");
            problem
        })?;
        tracing::warn!(network = conf.name, plugin = plugin.kind, "given back by the network's present configuration");
        Ok(())
    }

    /// The plugin in the same position of the network's present configuration, if they differ. An address must be given
    /// back where it was taken. So the present configuration is used for attachments without a result, whose own one
    /// may never have been right; and for others when the failure lasts, and addresses are managed as before.
    fn corrected<'a>(
        &self,
        confs: &'a Confs,
        attachment: &Attachment,
        recorded: &NetworkConf,
        nth: usize,
    ) -> Option<(&'a NetworkConf, &'a PluginConf)> {
        let present = &confs.by_name.get(&attachment.network)?.conf;
        let plugin = &recorded.plugins[nth];
        let before = recorded.plugins[..nth].iter().filter(|other| other.kind == plugin.kind).count();
        let other = present.plugins.iter().filter(|other| other.kind == plugin.kind).nth(before)?;
        let differs = other.raw != plugin.raw || present.version != recorded.version;
        let same_addresses = other.raw.get("ipam") == plugin.raw.get("ipam");
        let safe = attachment.result.is_none() || (same_addresses && self.attempt >= LASTING);
        (differs && safe).then_some((present, other))
    }

    /// One plugin's DEL. For one that masquerades, a namespace that is gone is replaced; without any it does the rest.
    async fn ask(&self, call: &Call<'_>, conf: &NetworkConf, plugin: &PluginConf) -> Result<(), PluginError> {
        let replaced = call.namespace == Namespace::Replaced && masquerades(plugin);
        let completed = call.namespace == Namespace::Completed && masquerades(plugin);
        let netns = call.record.netns.as_path();
        let netns = if replaced || call.namespace.is_pinned() { Some(netns) } else { None };
        match self.chain(call, conf, netns).del(plugin, call.attachment.result.as_ref()).await {
            // The rules were gone as well, which it does not expect. It has taken the interface away: now there is
            // none.
            Err(PluginError::Refused { .. }) if completed => {
                self.chain(call, conf, netns).del(plugin, call.attachment.result.as_ref()).await
            }
            Err(error) if replaced => {
                tracing::warn!(network = conf.name, error = chain(&error), "masquerading may be left");
                self.chain(call, conf, None).del(plugin, call.attachment.result.as_ref()).await
            }
            outcome => outcome,
        }
    }

    fn chain<'b>(&'b self, call: &Call<'b>, conf: &'b NetworkConf, netns: Option<&'b Path>) -> Chain<'b> {
        let deadline = self.settings.deadline;
        Chain {
            conf,
            container: &call.record.container,
            netns,
            ifname: &call.attachment.ifname,
            args: &call.attachment.args,
            capability_args: &call.attachment.capability_args,
            bin_dirs: &self.settings.bin_dirs,
            deadline: call.deadline.map_or(deadline, |share| share.min(deadline)),
            busy: &self.place.busy,
        }
    }
}

/// The attachment and namespace of a DEL.
struct Call<'a> {
    record: &'a Record,
    attachment: &'a Attachment,
    namespace: Namespace,
    /// The plugin's share of the budget; at most the deadline of one execution counts.
    deadline: Option<Duration>,
}

/// Whether the plugin's DEL finds rules of the firewall by the addresses in the namespace.
fn masquerades(plugin: &PluginConf) -> bool {
    plugin.raw.get("ipMasq") == Some(&true.into())
}

/// Notes the addresses of interfaces without a result, by which a plugin finds its rules: a DEL that is cut short may take
/// the interface away before them. Returns whether there are any that were not noted. Blocks.
fn note_addresses(settings: &Settings, record: &mut Record) -> bool {
    if !settings.may_pin(&record.netns) || !netns::is_pinned(&record.netns) {
        return false;
    }
    let mut noted = false;
    for attachment in record.networks.iter_mut().filter(|it| it.result.is_none() && it.seen.is_empty()) {
        if is_masqueraded(attachment) {
            // Where it cannot be looked at, DEL finds what it can.
            attachment.seen = netns::addresses_of(&record.netns, &attachment.ifname).unwrap_or_default();
            noted |= !attachment.seen.is_empty();
        }
    }
    noted
}

fn is_masqueraded(attachment: &Attachment) -> bool {
    NetworkConf::of_list(attachment.list.clone()).is_ok_and(|conf| conf.plugins.iter().any(masquerades))
}

/// Replaces a namespace that is gone if that is of use: it was unmounted, or the host was restarted. One that is
/// there gets back the interfaces that an interrupted DEL has taken away before the rules that it finds by them. One
/// that is not in the configured directory is left alone. Blocks.
fn namespace_of(settings: &Settings, record: &Record) -> Namespace {
    if !settings.may_pin(&record.netns) {
        tracing::warn!(
            owner = record.owner,
            "network namespace `{}` is not below `netns-dir` `{}`: DEL runs without it, and it is not unmounted",
            record.netns.display(),
            settings.netns_dir.display()
        );
        return Namespace::Elsewhere;
    }
    let links = record.networks.iter().filter(|attachment| is_masqueraded(attachment)).filter_map(|attachment| {
        let addresses = attachment.interface_addresses();
        (!addresses.is_empty()).then(|| (attachment.ifname.clone(), addresses))
    });
    let links: netns::Links = links.collect();
    let pinned = netns::is_pinned(&record.netns);
    if links.is_empty() {
        return if pinned { Namespace::Pinned } else { Namespace::Gone };
    }
    let furnished = if pinned {
        netns::complete(&record.netns, links)
            .map(|lacking| if lacking { Namespace::Completed } else { Namespace::Pinned })
    } else {
        netns::replace(&record.netns, links).map(|()| Namespace::Replaced)
    };
    furnished.unwrap_or_else(|error| {
        tracing::warn!(owner = record.owner, error = chain(&error), "masquerading may be left");
        if pinned { Namespace::Pinned } else { Namespace::Gone }
    })
}

fn remove_files(place: &Place) -> Result<(), NetworkError> {
    for path in [&place.record, &place.busy] {
        remove_file(path)?;
    }
    Ok(())
}

pub(super) fn remove_file(path: &Path) -> Result<(), NetworkError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        removed => removed.map_err(NetworkError::io("remove", path)),
    }
}
