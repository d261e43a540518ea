//! The removal of a volume: the intent is recorded, its directory is moved away and deleted, then the outcome is
//! recorded. A removal that a crash interrupts is finished by recovery; a failed one can be asked for again.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures_util::StreamExt;

use super::users::{User, Uses};
use super::{VolumeError, Volumes, files};
use crate::cause::chain;
use crate::domain::id::{ContainerId, VolumeName};
use crate::domain::volume::{Command, Phase, Volume};
use crate::failpoint;
use crate::journal::record::{Actor, Context};
use crate::panics::contained;

/// Removed at once of one container, which may have thousands: their records share the journal's syncs.
const AT_ONCE: usize = 16;

/// The outcome of a prune.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Reclaimed {
    pub names: Vec<VolumeName>,
    /// Given back to the disk.
    pub bytes: u64,
}

impl Volumes {
    /// Removes an unused volume, with its data. Goes on also when the caller goes away.
    pub(crate) async fn remove(self: &Arc<Self>, name: &VolumeName, context: &Context) -> Result<(), VolumeError> {
        let (owned, name, context) = (self.clone(), name.clone(), context.clone());
        let removing = async move {
            let _claim = owned.leases.claim(&name).await?;
            let (containers, volume) = (owned.containers.clone(), name.clone());
            let looking = owned.blocking(&name, move || Ok(Uses::of_all_but(&containers, None).of(&volume)));
            let users = looking.await?;
            owned.remove_unused(&name, users, &context).await
        };
        // On its own: a caller that goes away must not leave the directory half deleted until the next start.
        self.node.tasks.spawn(contained(removing)).await.map_err(|panic| self.abandoned(panic))?
    }

    /// Removes those of a container's volumes that were made for it, when the container itself is being removed. One that
    /// another container uses too stays. May be repeated from anywhere; all are tried, and the first error is returned.
    pub(super) async fn remove_anonymous(
        self: &Arc<Self>,
        container: ContainerId,
        names: impl IntoIterator<Item = VolumeName>,
        context: &Context,
    ) -> Result<(), VolumeError> {
        let is_anonymous = |name: &VolumeName| self.ledger.get(name).is_some_and(|entity| entity.state.anonymous);
        // In the same order in all removals: each claim is held while the next one is waited for.
        let names: BTreeSet<_> = names.into_iter().filter(is_anonymous).collect();
        if names.is_empty() {
            return Ok(());
        }
        let (owned, context) = (self.clone(), context.clone());
        let removing = async move {
            let (mut claims, mut claimed) = (Vec::with_capacity(names.len()), Vec::with_capacity(names.len()));
            let mut outcome = Ok(());
            for name in names {
                match owned.leases.claim(&name).await {
                    Ok(claim) => {
                        claims.push(claim);
                        claimed.push(name);
                    }
                    Err(VolumeError::InUse { .. }) => {}
                    Err(error) => outcome = outcome.and(Err(error)),
                }
            }
            // Once for all of them, and after the last claim: it reads every definition.
            let containers = owned.containers.clone();
            let uses = tokio::task::spawn_blocking(move || Uses::of_all_but(&containers, Some(container)));
            let uses = uses.await.map_err(|panic| owned.abandoned(panic))?;
            let (owned, context) = (&owned, &context);
            let each = futures_util::stream::iter(claimed).map(|name| {
                let users = uses.of(&name);
                async move { owned.remove_unused(&name, users, context).await }
            });
            let removed: Vec<_> = each.buffer_unordered(AT_ONCE).collect().await;
            drop(claims);
            removed.into_iter().fold(outcome, |outcome, removed| match removed {
                Ok(()) | Err(VolumeError::InUse { .. } | VolumeError::NoSuchVolume { .. }) => outcome,
                Err(error) => outcome.and(Err(error)),
            })
        };
        self.node.tasks.spawn(contained(removing)).await.map_err(|panic| self.abandoned(panic))?
    }

    /// Removes the volumes that are wanted gone, that no container uses and, unless `all`, that are anonymous.
    pub(crate) async fn prune(
        self: &Arc<Self>,
        all: bool,
        wanted: impl Fn(&Volume) -> bool,
        context: &Context,
    ) -> Reclaimed {
        let mut reclaimed = Reclaimed::default();
        let containers = self.containers.clone();
        // Once for all: it reads every definition. Whether one is used by now is looked at again when it is removed.
        let Ok(uses) = tokio::task::spawn_blocking(move || Uses::of_all_but(&containers, None)).await else {
            return reclaimed;
        };
        for (name, entity) in self.ledger.snapshot().iter() {
            // Most are in use: that is cheaper to know than their size.
            if !(all || entity.state.anonymous) || !wanted(&entity.state) || !uses.of(name).is_empty() {
                continue;
            }
            let dir = self.node.layout.volume(name);
            let Ok(bytes) = tokio::task::spawn_blocking(move || files::bytes(&dir)).await else { continue };
            match self.remove(name, context).await {
                Ok(()) => {
                    reclaimed.names.push(name.clone());
                    reclaimed.bytes = reclaimed.bytes.saturating_add(bytes);
                }
                // A creation or another removal came first.
                Err(VolumeError::InUse { .. } | VolumeError::NoSuchVolume { .. }) => {}
                Err(error) => self.node.warn(chain(&error)),
            }
        }
        reclaimed
    }

    /// Finishes interrupted removals after a start of the daemon.
    pub(crate) async fn finish_removals(self: &Arc<Self>) {
        let context = Context::new(Actor::Recovery);
        let owned = self.clone();
        let reading = tokio::task::spawn_blocking(move || owned.in_doubt());
        let doubtful = match reading.await.unwrap_or_else(|panic| Err(panic.to_string())) {
            Ok(doubtful) => doubtful,
            Err(problem) => return self.node.warn(format!("removals of volumes are not finished: {problem}")),
        };
        for (name, entity) in self.ledger.snapshot().iter() {
            if entity.state.phase != Phase::Removing {
                continue;
            }
            if doubtful.contains(name) {
                self.node.warn(format!(
                    "volume {name} was to be removed before the store lost its end, and may be a later one: it is kept; \
                     `isula volume rm {name}` removes it"
                ));
                continue;
            }
            match self.remove(name, &context).await {
                Ok(()) | Err(VolumeError::NoSuchVolume { .. }) => {}
                Err(error) => self.node.warn(format!("the removal of a volume is not finished: {}", chain(&error))),
            }
        }
    }

    fn abandoned(&self, panic: tokio::task::JoinError) -> VolumeError {
        let source = std::io::Error::other(panic);
        VolumeError::Io { action: "finish the removal below", path: self.node.layout.volumes(), source }
    }

    /// Removes a claimed volume, unless it has `users`, which are those that were found after the claim.
    async fn remove_unused(&self, name: &VolumeName, users: Vec<User>, context: &Context) -> Result<(), VolumeError> {
        let no_such = || VolumeError::NoSuchVolume { name: name.clone() };
        let phase = self.ledger.get(name).ok_or_else(no_such)?.state.phase;
        // A recorded removal had no users; but a store that has lost its end may have its record and not that of a later
        // volume.
        if !users.is_empty() {
            return Err(VolumeError::InUse { name: name.clone(), users });
        }
        if phase == Phase::Ready {
            let (layout, volume) = (self.node.layout.clone(), name.clone());
            // A removal that cannot succeed is better refused.
            self.blocking(name, move || files::check_mounts(&layout, &volume)).await?;
        }
        self.turn(name, context, &Command::Remove).await?;
        failpoint::hit(failpoint::VOLUME_REMOVE_AFTER_INTENT);
        let (layout, volume) = (self.node.layout.clone(), name.clone());
        self.blocking(name, move || files::delete(&layout, &volume)).await?;
        failpoint::hit(failpoint::VOLUME_REMOVE_DELETED);
        self.turn(name, context, &Command::ReportRemoved).await
    }

    async fn turn(&self, name: &VolumeName, context: &Context, command: &Command) -> Result<(), VolumeError> {
        self.ledger.turn(name, context, command).await.map(drop).map_err(|error| VolumeError::of_turn(error, name))
    }
}
