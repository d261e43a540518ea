//! Create: the files are made durable, then the container is recorded. No process is started, and before the record
//! nothing is made but files of one directory with a random name, and volumes: files, and volumes without a name, that
//! a crash leaves are swept.

use std::collections::BTreeMap;
use std::sync::Arc;

use cri_api::isula::v1::{CreateRequest, CreateResponse, RunResponse, StartFailure};
use futures_util::StreamExt;
use store::AppendError;

use super::validate::{self, References};
use super::volumes::volumes_of;
use super::{invalid_name, network, start_failure};
use crate::api::native::{ApiError, Native, limits};
use crate::cancel::CancelToken;
use crate::clock;
use crate::containers::{AskedCommand, ContainerError, Verb, start_outcome, started_by};
use crate::definition::{self, Definition};
use crate::domain::container::{Card, Command, Container, Rejection};
use crate::domain::id::{ContainerId, Digest, Name, VolumeName};
use crate::effects;
use crate::engine::Engine;
use crate::failpoint;
use crate::image::ImageLease;
use crate::journal::record::Context;
use crate::layout::Bundle;
use crate::ledger::{TurnError, TurnOutcome};
use crate::rootfs::{self, Mounts};
use crate::spec::files::{self, HostNames, NetworkSettings};
use crate::volume;

/// Volumes that are made at once for one container, which may have thousands.
const VOLUMES_AT_ONCE: usize = 32;

impl Native {
    pub(super) async fn create_container(
        &self,
        request: CreateRequest,
        caller: &CancelToken,
        context: &Context,
    ) -> Result<CreateResponse, ApiError> {
        let prepared = self.prepare(request, caller, context).await?;
        let (id, warnings) = (prepared.id, prepared.warnings.clone());
        self.record(prepared, &[], caller, context).await?;
        failpoint::hit(failpoint::CREATE_DONE);
        Ok(CreateResponse { id: id.to_string(), warnings })
    }

    /// Creates and starts in one record: one sync less between the request and the runtime.
    pub(super) async fn run_container(
        &self,
        request: CreateRequest,
        caller: &CancelToken,
        context: &Context,
    ) -> Result<RunResponse, ApiError> {
        let prepared = self.prepare(request, caller, context).await?;
        let (id, mut warnings) = (prepared.id, prepared.warnings.clone());
        let changes = self.engine.containers.listen(id);
        let start = Command::Start { boot: self.engine.boot, at: clock::now() };
        let turned = self.record(prepared, &[start], caller, context).await?;
        let entity = self.engine.containers.get(&id);
        let mut asked = AskedCommand::of(turned, changes);
        let failure = match asked.events.iter().find_map(started_by) {
            Some(start) => match start_outcome(&mut asked, start).await {
                Some(outcome) => outcome.err().map(start_failure),
                None => Some(StartFailure { message: "the start has no outcome yet".to_owned(), exit_code: 125 }),
            },
            None => None,
        };
        warnings.extend(entity.map_or_else(Vec::new, |entity| entity.take_warnings()));
        Ok(RunResponse { id: id.to_string(), warnings, failure })
    }

    /// Checks the request, reserves the name, writes the files and makes the volumes. Work that depends on the
    /// request's length is done on threads that may block, and not at all once the caller has gone.
    pub(in crate::api::native) async fn prepare(
        &self,
        mut request: CreateRequest,
        caller: &CancelToken,
        context: &Context,
    ) -> Result<Prepared<'_>, ApiError> {
        limits::create(&request)?;
        let id = new_id()?;
        let name = match request.name.as_str() {
            "" => id.to_string().parse::<Name>(),
            given => given.parse(),
        };
        let name = name.map_err(|_| invalid_name(&request.name))?;
        let (image, image_lease) = match request.image.as_str() {
            "" | "none" => (None, None),
            reference => self.image_for_create(reference).await.map(|(image, lease)| (Some(image), Some(lease)))?,
        };
        let inherited = self.inherited(std::mem::take(&mut request.volumes_from)).await?;
        let names = network::names(&request.network);
        let network_lease = self.engine.networks.uses.lease(&names)?;
        let networks = self.confs_for(&names).await?;
        let references = References { image, inherited, networks };
        let validating = tokio::task::spawn_blocking({
            let (engine, name, caller) = (self.engine.clone(), name.clone(), caller.clone());
            move || {
                still_wanted(&caller)?;
                validate::definition(&engine, id, &name, request, references)
            }
        });
        let (definition, warnings) = validating.await.map_err(|panic| ApiError::failed(panic.to_string()))??;
        self.engine.runtime(&definition.runtime)?;
        let reservation = Reservation::take(&self.engine, &name, id)?;
        let definition = Arc::new(definition);
        let volumes = volumes_of(&definition);
        let volume_lease = self.engine.volumes.lease(volumes.iter().map(|(name, _)| name.clone())).await?;
        let writing = tokio::task::spawn_blocking({
            let (engine, definition, caller) = (self.engine.clone(), definition.clone(), caller.clone());
            move || {
                still_wanted(&caller)?;
                write_files(&engine, id, name, &definition)
            }
        });
        let (card, bundle) = writing.await.map_err(|panic| ApiError::failed(panic.to_string()))??;
        let leases = Leases { _image: image_lease, _volumes: volume_lease, _networks: network_lease };
        let prepared = Prepared { id, definition, card, bundle, warnings, reservation, leases };
        // After the definition, which names the volumes to remove after a crash.
        if let Err(error) = self.make_volumes(volumes, caller, context).await {
            self.undo(prepared, context).await;
            return Err(error);
        }
        Ok(prepared)
    }

    /// Makes several volumes at once: their records share the journal's syncs.
    async fn make_volumes(
        &self,
        volumes: Vec<(VolumeName, bool)>,
        caller: &CancelToken,
        context: &Context,
    ) -> Result<(), ApiError> {
        let each = futures_util::stream::iter(volumes).map(|(name, anonymous)| async move {
            still_wanted(caller)?;
            volume::ensure(&self.engine, &name, anonymous, BTreeMap::new(), context).await?;
            Ok::<_, ApiError>(())
        });
        // All tasks end before this call does: the undo must not race with them.
        let made: Vec<_> = each.buffer_unordered(VOLUMES_AT_ONCE).collect().await;
        made.into_iter().collect()
    }

    /// Records the container, and further commands in the same step; undone instead, when the caller has gone by now.
    pub(in crate::api::native) async fn record(
        &self,
        prepared: Prepared<'_>,
        further: &[Command],
        caller: &CancelToken,
        context: &Context,
    ) -> Result<TurnOutcome<Container>, ApiError> {
        failpoint::hit(failpoint::CREATE_BEFORE_INTENT);
        if let Err(gone) = still_wanted(caller) {
            self.undo(prepared, context).await;
            return Err(gone);
        }
        let (id, card) = (prepared.id, prepared.card.clone());
        let mut commands = vec![Command::Create { id, card }];
        commands.extend_from_slice(further);
        let recorded = self.engine.containers.turn_all(&id, context, &commands).await;
        match &recorded {
            Err(error) if nothing_recorded(error) => self.undo(prepared, context).await,
            Ok(_) => self.note_use(prepared.definition.rootfs.image()),
            Err(_) => {}
        }
        recorded.map_err(|error| ContainerError::of_turn(error, Verb::Create, &id.to_string()).into())
    }

    /// Undoes a creation that was not recorded. The files are removed last, since they name the rest.
    async fn undo(&self, prepared: Prepared<'_>, context: &Context) {
        let Prepared { id, definition, bundle, leases, reservation, .. } = prepared;
        drop(leases);
        effects::take_back(&self.engine, id, &definition, context).await;
        let _ = tokio::task::spawn_blocking(move || rootfs::remove_tree(bundle.path(), Mounts::Detach)).await;
        drop(reservation);
    }

    /// Records the time of the image's use, for lists and prunes; in the background and best effort.
    fn note_use(&self, image: Option<Digest>) {
        let Some(id) = image else { return };
        let engine = self.engine.clone();
        self.engine.tasks.spawn(async move {
            if let Err(error) = engine.images.save_use(&id, clock::now()).await {
                tracing::warn!(image_id = %id.short(), %error, "cannot note that the image was used");
            }
        });
    }
}

/// An error when the client has gone: nothing is recorded yet, and the client could not learn of the container.
fn still_wanted(caller: &CancelToken) -> Result<(), ApiError> {
    if caller.is_cancelled() {
        Err(ApiError::failed("the client has gone before the container was created"))
    } else {
        Ok(())
    }
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
pub(in crate::api::native) struct Prepared<'a> {
    pub id: ContainerId,
    definition: Arc<Definition>,
    pub card: Card,
    bundle: Bundle,
    pub warnings: Vec<String>,
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
    fn take(engine: &Arc<Engine>, name: &Name, id: ContainerId) -> Result<Self, ApiError> {
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

/// Makes the bundle's directory durable with the definition in it, and the card with the definition's digest. Blocks.
fn write_files(
    engine: &Engine,
    id: ContainerId,
    name: Name,
    definition: &Definition,
) -> Result<(Card, Bundle), ApiError> {
    failpoint::hit(failpoint::CREATE_BEFORE_FILES);
    rootfs::check(&engine.layout.graph, &definition.rootfs)
        .map_err(|error| ApiError::invalid(crate::cause::chain(&error)))?;
    let bundle = engine.layout.bundle(&definition.runtime, &id);
    let written = fill(&bundle, definition);
    if written.is_err() {
        let _ = rootfs::remove_tree(bundle.path(), Mounts::Detach);
    }
    Ok((definition.card(name, written?, clock::now()), bundle))
}

fn fill(bundle: &Bundle, definition: &Definition) -> Result<crate::domain::id::Digest, ApiError> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new()
        .mode(0o700)
        .recursive(true)
        .create(bundle.path())
        .map_err(|error| ApiError::failed(format!("cannot make `{}`: {error}", bundle.path().display())))?;
    // Also for a container in the network of another, which uses that one's hosts and resolv.conf, but its own
    // hostname.
    HostNames::read()
        .and_then(|names| files::write(bundle.path(), definition, &names, &NetworkSettings::default()))
        .map_err(|error| ApiError::failed(crate::cause::chain(&error)))?;
    // The definition is last: its sync makes the other files durable too, so a directory with a definition is complete.
    Ok(definition::write(&bundle.definition(), definition)?)
}

fn new_id() -> Result<ContainerId, ApiError> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|error| ApiError::failed(format!("cannot make an id: {error}")))?;
    Ok(ContainerId::from_bytes(bytes))
}
