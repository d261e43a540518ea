//! Create: the files are made durable, then the container is recorded. No process is started, and before the record
//! nothing is made but files of one directory with a random name, and volumes: files, and volumes without a name, that
//! a crash leaves are swept.

mod health;
mod image;
mod network;
mod resolve_image;
mod run;
mod spec;
#[cfg(test)]
mod tests;
mod validate;
mod volumes;

pub(crate) use run::{AttachedRun, run, run_attached};
pub(crate) use spec::{ContainerSpec, HealthcheckSpec, LogSpec, MountSpec, PortSpec};

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::StreamExt;
use store::AppendError;

use super::tasks::{blocking, uncancelled};
use super::{ContainerError, Verb, sizes};
use crate::cancel::CancelToken;
use crate::clock;
use crate::definition::{self, Definition};
use crate::domain::container::{Card, Command, Container, Rejection};
use crate::domain::id::{ContainerId, Digest, Name, VolumeName};
use crate::engine::Engine;
use crate::failpoint;
use crate::image::ImageLease;
use crate::journal::record::Context;
use crate::layout::Bundle;
use crate::ledger::{TurnError, TurnOutcome};
use crate::rootfs::{self, Mounts};
use crate::spec::files::{self, HostNames, NetworkSettings};
use crate::volume;
use validate::References;
use volumes::volumes_of;

/// Volumes that are made at once for one container, which may have thousands.
const VOLUMES_AT_ONCE: usize = 32;

/// A container that was recorded.
#[derive(Debug)]
pub(crate) struct Created {
    pub id: ContainerId,
    pub warnings: Vec<String>,
}

/// Creates a container. A caller that gives up before the record leaves nothing behind.
pub(crate) async fn create(
    engine: &Arc<Engine>,
    spec: ContainerSpec,
    context: &Context,
) -> Result<Created, ContainerError> {
    let caller = Arc::new(());
    let (engine, context, cancel) = (engine.clone(), context.clone(), CancelToken::of(&caller));
    // A dropped call drops `caller`, for which the creation looks until it is recorded, and undoes what was made.
    let created = uncancelled(async move {
        let prepared = prepare(&engine, spec, &cancel, &context).await?;
        let created = Created { id: prepared.id, warnings: prepared.warnings.clone() };
        record(&engine, prepared, &[], &cancel, &context).await?;
        failpoint::hit(failpoint::CREATE_DONE);
        Ok(created)
    });
    let created = created.await;
    drop(caller);
    created
}

/// Checks the specification, reserves the name, writes the files and makes the volumes. Work that depends on its length
/// is done on threads that may block, and not at all once the caller has gone.
async fn prepare<'a>(
    engine: &'a Arc<Engine>,
    mut spec: ContainerSpec,
    caller: &CancelToken,
    context: &Context,
) -> Result<Prepared<'a>, ContainerError> {
    sizes::creation(&spec)?;
    let id = new_id()?;
    let name = match spec.name.as_str() {
        "" => id.to_string().parse::<Name>(),
        given => given.parse(),
    };
    let name = name.map_err(|_| ContainerError::InvalidName { name: spec.name.clone() })?;
    let (image, image_lease) = match spec.image.as_str() {
        "" | "none" => (None, None),
        reference => {
            resolve_image::image_for_create(engine, reference).await.map(|(image, lease)| (Some(image), Some(lease)))?
        }
    };
    let inherited = volumes::inherited(engine, std::mem::take(&mut spec.volumes_from)).await?;
    let names = network::names(&spec.network);
    let network_lease = engine.networks.uses.lease(&names)?;
    let networks = network::confs_for(engine, &names).await?;
    let references = References { image, inherited, networks };
    let (definition, warnings) = blocking({
        let (engine, name, caller) = (engine.clone(), name.clone(), caller.clone());
        move || {
            still_wanted(&caller)?;
            validate::definition(&engine, id, &name, spec, references)
        }
    })
    .await?;
    engine.node.runtime(&definition.runtime)?;
    let reservation = Reservation::take(engine, &name, id)?;
    let definition = Arc::new(definition);
    let volumes = volumes_of(&definition);
    let volume_lease = engine.volumes.lease(volumes.iter().map(|(name, _)| name.clone())).await?;
    let (card, bundle, bytes) = blocking({
        let (engine, definition, caller) = (engine.clone(), definition.clone(), caller.clone());
        move || {
            still_wanted(&caller)?;
            write_files(&engine, id, name, &definition)
        }
    })
    .await?;
    let leases = Leases { _image: image_lease, _volumes: volume_lease, _networks: network_lease };
    let prepared = Prepared { id, definition, bytes, card, bundle, warnings, reservation, leases };
    // After the definition, which names the volumes to remove after a crash.
    if let Err(error) = make_volumes(engine, volumes, caller, context).await {
        undo(engine, prepared, context).await;
        return Err(error);
    }
    Ok(prepared)
}

/// Makes several volumes at once: their records share the journal's syncs.
async fn make_volumes(
    engine: &Arc<Engine>,
    volumes: Vec<(VolumeName, bool)>,
    caller: &CancelToken,
    context: &Context,
) -> Result<(), ContainerError> {
    let each = futures_util::stream::iter(volumes).map(|(name, anonymous)| async move {
        still_wanted(caller)?;
        engine.volumes.ensure(&name, anonymous, BTreeMap::new(), context).await?;
        Ok::<_, ContainerError>(())
    });
    // All tasks end before this call does: the undo must not race with them.
    let made: Vec<_> = each.buffer_unordered(VOLUMES_AT_ONCE).collect().await;
    made.into_iter().collect()
}

/// Records the container, and further commands in the same step; undone instead, when the caller has gone by now.
async fn record(
    engine: &Arc<Engine>,
    prepared: Prepared<'_>,
    further: &[Command],
    caller: &CancelToken,
    context: &Context,
) -> Result<TurnOutcome<Container>, ContainerError> {
    failpoint::hit(failpoint::CREATE_BEFORE_INTENT);
    if let Err(gone) = still_wanted(caller) {
        undo(engine, prepared, context).await;
        return Err(gone);
    }
    let (id, card) = (prepared.id, prepared.card.clone());
    if !further.is_empty() {
        // The start in the same record needs it at once.
        engine.containers.cache_definition(card.definition, prepared.definition.clone(), prepared.bytes);
    }
    let mut commands = vec![Command::Create { id, card }];
    commands.extend_from_slice(further);
    let recorded = engine.containers.turn_all(&id, context, &commands).await;
    match &recorded {
        Err(error) if nothing_recorded(error) => undo(engine, prepared, context).await,
        Ok(_) => {
            // As a read of the definition would.
            if let Some(entity) = engine.containers.get(&id).filter(|_| !further.is_empty()) {
                entity.remember_labels(&prepared.definition.labels);
            }
            note_use(engine, prepared.definition.rootfs.image());
        }
        Err(_) => {}
    }
    recorded.map_err(|error| ContainerError::of_turn(error, Verb::Create, &id.to_string()))
}

/// Undoes a creation that was not recorded. The files are removed last, since they name the rest.
async fn undo(engine: &Arc<Engine>, prepared: Prepared<'_>, context: &Context) {
    let Prepared { id, definition, bundle, leases, reservation, .. } = prepared;
    drop(leases);
    engine.volumes.take_back(id, &definition, context).await;
    let _ = tokio::task::spawn_blocking(move || rootfs::remove_tree(bundle.path(), Mounts::Detach)).await;
    drop(reservation);
}

/// Records the time of the image's use, for lists and prunes; in the background and best effort.
fn note_use(engine: &Arc<Engine>, image: Option<Digest>) {
    let Some(id) = image else { return };
    let of = engine.clone();
    engine.node.tasks.spawn(async move {
        if let Err(error) = of.images.ledger().save_use(&id, clock::now()).await {
            tracing::warn!(image_id = %id.short(), %error, "cannot note that the image was used");
        }
    });
}

/// An error when the client has gone: nothing is recorded yet, and the client could not learn of the container.
fn still_wanted(caller: &CancelToken) -> Result<(), ContainerError> {
    if caller.is_cancelled() { Err(ContainerError::CallerGone) } else { Ok(()) }
}

/// Whether an error proves that nothing was recorded. A journal that failed during the write may have recorded it: then
/// the files must stay.
fn nothing_recorded(error: &TurnError<Rejection>) -> bool {
    match error {
        TurnError::Rejected(_) => true,
        TurnError::Journal(error) => !matches!(error, AppendError::Failed { .. } | AppendError::Closed),
    }
}

/// A container that is complete except for its record.
struct Prepared<'a> {
    id: ContainerId,
    definition: Arc<Definition>,
    /// The length of the definition's file.
    bytes: usize,
    card: Card,
    bundle: Bundle,
    warnings: Vec<String>,
    reservation: Reservation,
    leases: Leases<'a>,
}

/// Keeps the image, volumes and networks of the container until it is recorded as their user.
struct Leases<'a> {
    _image: Option<ImageLease>,
    _volumes: volume::Lease<'a>,
    _networks: crate::network::uses::Lease<'a>,
}

/// A reserved name, released on drop unless its container was recorded.
struct Reservation {
    engine: Arc<Engine>,
    name: Name,
    id: ContainerId,
}

impl Reservation {
    fn take(engine: &Arc<Engine>, name: &Name, id: ContainerId) -> Result<Self, ContainerError> {
        engine
            .containers
            .reserve_name(name, id)
            .map_err(|holder| ContainerError::NameTaken { name: name.clone(), holder })?;
        Ok(Self { engine: engine.clone(), name: name.clone(), id })
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if self.engine.containers.get(&self.id).is_none() {
            self.engine.containers.release_name(&self.name, self.id);
        }
    }
}

/// Makes the bundle's directory durable with the definition in it, whose length is returned, and the card with the
/// definition's digest. Blocks.
fn write_files(
    engine: &Engine,
    id: ContainerId,
    name: Name,
    definition: &Definition,
) -> Result<(Card, Bundle, usize), ContainerError> {
    failpoint::hit(failpoint::CREATE_BEFORE_FILES);
    rootfs::check(&engine.node.layout.graph, &definition.rootfs)?;
    let bundle = engine.node.layout.bundle(&definition.runtime, &id);
    let written = fill(&bundle, definition);
    if written.is_err() {
        let _ = rootfs::remove_tree(bundle.path(), Mounts::Detach);
    }
    let (digest, bytes) = written?;
    Ok((definition.card(name, digest, clock::now()), bundle, bytes))
}

fn fill(bundle: &Bundle, definition: &Definition) -> Result<(Digest, usize), ContainerError> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new()
        .mode(0o700)
        .recursive(true)
        .create(bundle.path())
        .map_err(|source| ContainerError::Bundle { path: bundle.path().to_owned(), source })?;
    // Also for a container in the network of another, which uses that one's hosts and resolv.conf, but its own
    // hostname.
    HostNames::read().and_then(|names| files::write(bundle.path(), definition, &names, &NetworkSettings::default()))?;
    // The definition is last: its sync makes the other files durable too, so a directory with a definition is complete.
    Ok(definition::write(&bundle.definition(), definition)?)
}

fn new_id() -> Result<ContainerId, ContainerError> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(ContainerError::NoId)?;
    Ok(ContainerId::from_bytes(bytes))
}
