//! The removal of a volume: the intent is recorded, its directory is moved away and deleted, then the outcome is
//! recorded. A removal that a crash interrupts is finished by recovery; a failed one can be asked for again.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures_util::StreamExt;

use super::doubt::in_doubt;
use super::leases::Claim;
use super::users::{User, Uses};
use super::{VolumeError, files};
use crate::cause::chain;
use crate::domain::id::{ContainerId, VolumeName};
use crate::domain::volume::{Command, Phase, Volume};
use crate::engine::Engine;
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

/// Removes an unused volume, with its data. Goes on also when the caller goes away.
pub(crate) async fn remove(engine: &Arc<Engine>, name: &VolumeName, context: &Context) -> Result<(), VolumeError> {
    remove_with(engine, name, None, context).await
}

/// Removes those of a container's volumes that were made for it, when the container itself is being removed. One that
/// another container uses too stays. May be repeated from anywhere; all are tried, and the first error is returned.
pub(crate) async fn remove_anonymous(
    engine: &Arc<Engine>,
    container: ContainerId,
    names: impl IntoIterator<Item = VolumeName>,
    context: &Context,
) -> Result<(), VolumeError> {
    let is_anonymous =
        |name: &VolumeName| engine.volumes.records.get(name).is_some_and(|entity| entity.state.anonymous);
    // In the same order in all removals: each claim is held while the next one is waited for.
    let names: BTreeSet<_> = names.into_iter().filter(is_anonymous).collect();
    if names.is_empty() {
        return Ok(());
    }
    let (owned, context) = (engine.clone(), context.clone());
    let removing = async move {
        let (mut claims, mut claimed) = (Vec::with_capacity(names.len()), Vec::with_capacity(names.len()));
        let mut outcome = Ok(());
        for name in names {
            match owned.volumes.leases.claim(&name).await {
                Ok(claim) => {
                    claims.push(claim);
                    claimed.push(name);
                }
                Err(VolumeError::InUse { .. }) => {}
                Err(error) => outcome = outcome.and(Err(error)),
            }
        }
        // Once for all of them, and after the last claim: it reads every definition.
        let reading = owned.clone();
        let uses = tokio::task::spawn_blocking(move || Uses::of_all_but(&reading, Some(container)));
        let uses = uses.await.map_err(|panic| abandoned(&owned, panic))?;
        let (owned, context) = (&owned, &context);
        let each = futures_util::stream::iter(claimed).map(|name| {
            let users = uses.of(&name);
            async move { remove_unused(owned, &name, users, context).await }
        });
        let removed: Vec<_> = each.buffer_unordered(AT_ONCE).collect().await;
        drop(claims);
        removed.into_iter().fold(outcome, |outcome, removed| match removed {
            Ok(()) | Err(VolumeError::InUse { .. } | VolumeError::NoSuchVolume { .. }) => outcome,
            Err(error) => outcome.and(Err(error)),
        })
    };
    engine.node.tasks.spawn(contained(removing)).await.map_err(|panic| abandoned(engine, panic))?
}

/// Removes the volumes that are wanted gone, that no container uses and, unless `all`, that are anonymous.
pub(crate) async fn prune(
    engine: &Arc<Engine>,
    all: bool,
    wanted: impl Fn(&Volume) -> bool,
    context: &Context,
) -> Reclaimed {
    let mut reclaimed = Reclaimed::default();
    let owned = engine.clone();
    // Once for all: it reads every definition. Whether one is used by now is looked at again when it is removed.
    let Ok(uses) = tokio::task::spawn_blocking(move || Uses::of_all_but(&owned, None)).await else { return reclaimed };
    for (name, entity) in engine.volumes.records.snapshot().iter() {
        // Most are in use: that is cheaper to know than their size.
        if !(all || entity.state.anonymous) || !wanted(&entity.state) || !uses.of(name).is_empty() {
            continue;
        }
        let dir = engine.node.layout.volume(name);
        let Ok(bytes) = tokio::task::spawn_blocking(move || files::bytes(&dir)).await else { continue };
        match remove(engine, name, context).await {
            Ok(()) => {
                reclaimed.names.push(name.clone());
                reclaimed.bytes = reclaimed.bytes.saturating_add(bytes);
            }
            // A creation or another removal came first.
            Err(VolumeError::InUse { .. } | VolumeError::NoSuchVolume { .. }) => {}
            Err(error) => engine.node.warn(chain(&error)),
        }
    }
    reclaimed
}

/// Finishes interrupted removals after a start of the daemon.
pub(crate) async fn finish_removals(engine: &Arc<Engine>) {
    let context = Context::new(Actor::Recovery);
    let owned = engine.clone();
    let reading = tokio::task::spawn_blocking(move || in_doubt(&owned));
    let doubtful = match reading.await.unwrap_or_else(|panic| Err(panic.to_string())) {
        Ok(doubtful) => doubtful,
        Err(problem) => return engine.node.warn(format!("removals of volumes are not finished: {problem}")),
    };
    for (name, entity) in engine.volumes.records.snapshot().iter() {
        if entity.state.phase != Phase::Removing {
            continue;
        }
        if doubtful.contains(name) {
            engine.node.warn(format!(
                "volume {name} was to be removed before the store lost its end, and may be a later one: it is kept; \
                 `isula volume rm {name}` removes it"
            ));
            continue;
        }
        match remove(engine, name, &context).await {
            Ok(()) | Err(VolumeError::NoSuchVolume { .. }) => {}
            Err(error) => engine.node.warn(format!("the removal of a volume is not finished: {}", chain(&error))),
        }
    }
}

async fn remove_with(
    engine: &Arc<Engine>,
    name: &VolumeName,
    leaving: Option<ContainerId>,
    context: &Context,
) -> Result<(), VolumeError> {
    let (owned, name, context) = (engine.clone(), name.clone(), context.clone());
    let removing = async move {
        let claim = owned.volumes.leases.claim(&name).await?;
        remove_claimed(&owned, &claim, &name, leaving, &context).await
    };
    // On its own: a caller that goes away must not leave the directory half deleted until the next start.
    engine.node.tasks.spawn(contained(removing)).await.map_err(|panic| abandoned(engine, panic))?
}

fn abandoned(engine: &Engine, panic: tokio::task::JoinError) -> VolumeError {
    let source = std::io::Error::other(panic);
    VolumeError::Io { action: "finish the removal below", path: engine.node.layout.volumes(), source }
}

async fn remove_claimed(
    engine: &Arc<Engine>,
    _claim: &Claim<'_>,
    name: &VolumeName,
    leaving: Option<ContainerId>,
    context: &Context,
) -> Result<(), VolumeError> {
    let (owned, volume) = (engine.clone(), name.clone());
    let users = super::blocking(engine, name, move || Ok(Uses::of_all_but(&owned, leaving).of(&volume))).await?;
    remove_unused(engine, name, users, context).await
}

/// Removes a claimed volume, unless it has `users`, which are those that were found after the claim.
async fn remove_unused(
    engine: &Arc<Engine>,
    name: &VolumeName,
    users: Vec<User>,
    context: &Context,
) -> Result<(), VolumeError> {
    let no_such = || VolumeError::NoSuchVolume { name: name.clone() };
    let phase = engine.volumes.records.get(name).ok_or_else(no_such)?.state.phase;
    // A recorded removal had no users; but a store that has lost its end may have its record and not that of a later
    // volume.
    if !users.is_empty() {
        return Err(VolumeError::InUse { name: name.clone(), users });
    }
    if phase == Phase::Ready {
        let (owned, volume) = (engine.clone(), name.clone());
        // A removal that cannot succeed is better refused.
        super::blocking(engine, name, move || files::check_mounts(&owned.node.layout, &volume)).await?;
    }
    turn(engine, name, context, &Command::Remove).await?;
    failpoint::hit(failpoint::VOLUME_REMOVE_AFTER_INTENT);
    let (layout, volume) = (engine.node.layout.clone(), name.clone());
    super::blocking(engine, name, move || files::delete(&layout, &volume)).await?;
    failpoint::hit(failpoint::VOLUME_REMOVE_DELETED);
    turn(engine, name, context, &Command::ReportRemoved).await
}

async fn turn(
    engine: &Arc<Engine>,
    name: &VolumeName,
    context: &Context,
    command: &Command,
) -> Result<(), VolumeError> {
    engine
        .volumes
        .records
        .turn(name, context, command)
        .await
        .map(drop)
        .map_err(|error| VolumeError::of_turn(error, name))
}
