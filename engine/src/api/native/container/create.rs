//! Create: its files made durable, then the container recorded. Nothing runs, and nothing but files of one directory with
//! a random name is made before the record: what a crash leaves of them is swept.

use std::sync::Arc;

use cri_api::isula::v1::{CreateRequest, CreateResponse, RunResponse, StartFailure};
use store::AppendError;

use super::carry::START_PATIENCE;
use super::start::{outcome_of, started_by};
use super::validate;
use crate::api::native::status::Verb;
use crate::api::native::{ApiError, Native};
use crate::clock;
use crate::definition::{self, Definition};
use crate::domain::container::{Card, Command};
use crate::domain::id::{ContainerId, Name};
use crate::engine::Engine;
use crate::failpoint;
use crate::journal::record::Context;
use crate::layout::Bundle;
use crate::projection::Told;
use crate::rootfs;
use crate::spec::files::{self, HostNames};
use crate::turn::{TurnError, Turned};

impl Native {
    pub(super) async fn create_container(
        &self,
        request: CreateRequest,
        context: &Context,
    ) -> Result<CreateResponse, ApiError> {
        let prepared = self.prepare(request).await?;
        let (id, warnings) = (prepared.id, prepared.warnings.clone());
        self.record(prepared, false, context).await?;
        failpoint::hit(failpoint::CREATE_DONE);
        Ok(CreateResponse { id: id.to_string(), warnings })
    }

    /// Created and started in one record: one sync less between the request and the runtime.
    pub(super) async fn run_container(
        &self,
        request: CreateRequest,
        context: &Context,
    ) -> Result<RunResponse, ApiError> {
        let prepared = self.prepare(request).await?;
        let (id, warnings) = (prepared.id, prepared.warnings.clone());
        let mut told = self.engine.containers.listen(id);
        let turned = self.record(prepared, true, context).await?;
        let failure = match turned.events.iter().find_map(started_by) {
            Some(start) => {
                let outcome = async {
                    loop {
                        let Told { event, .. } = told.recv().await?;
                        if let Some(outcome) = outcome_of(&event, start) {
                            return Some(outcome);
                        }
                    }
                };
                match tokio::time::timeout(START_PATIENCE, outcome).await.ok().flatten() {
                    Some(outcome) => outcome.err(),
                    None => Some(StartFailure { message: "the start has no outcome yet".to_owned(), exit_code: 125 }),
                }
            }
            None => None,
        };
        Ok(RunResponse { id: id.to_string(), warnings, failure })
    }

    /// Checks the request, reserves the name and writes the files.
    async fn prepare(&self, request: CreateRequest) -> Result<Prepared, ApiError> {
        let id = new_id()?;
        let name = match request.name.as_str() {
            "" => id.to_string().parse::<Name>(),
            given => given.parse(),
        };
        let name = name.map_err(|_| {
            ApiError::invalid(format!(
                "Invalid container name ({}), only [a-zA-Z0-9][a-zA-Z0-9_.-]* are allowed",
                request.name
            ))
        })?;
        let (definition, warnings) = validate::definition(&self.engine, id, &name, request)?;
        self.engine.runtime(&definition.runtime)?;
        let reservation = Reservation::take(&self.engine, &name, id)?;
        let engine = self.engine.clone();
        let writing = tokio::task::spawn_blocking(move || write_files(&engine, id, name, &definition));
        let (card, bundle) = writing.await.map_err(|panic| ApiError::failed(panic.to_string()))??;
        Ok(Prepared { id, card, bundle, warnings, reservation })
    }

    async fn record(&self, prepared: Prepared, start: bool, context: &Context) -> Result<Turned, ApiError> {
        failpoint::hit(failpoint::CREATE_BEFORE_INTENT);
        let Prepared { id, card, bundle, reservation, .. } = prepared;
        let mut commands = vec![Command::Create { id, card }, Command::ReportCreated];
        if start {
            commands.push(Command::Start { boot: self.engine.boot, at: clock::now() });
        }
        let recorded = self.engine.turn_all(id, context, &commands).await;
        drop(reservation);
        if recorded.as_ref().is_err_and(nothing_recorded) {
            let _ = tokio::task::spawn_blocking(move || std::fs::remove_dir_all(bundle.path())).await;
        }
        recorded.map_err(|error| ApiError::of_turn(error, Verb::Create, &id.to_string()))
    }
}

/// A journal that failed in the middle may have recorded it: then the files must stay.
fn nothing_recorded(error: &TurnError) -> bool {
    match error {
        TurnError::Rejected(_) => true,
        TurnError::Journal(error) => !matches!(error, AppendError::Failed { .. } | AppendError::Closed),
    }
}

/// A container that only its record is missing of.
struct Prepared {
    id: ContainerId,
    card: Card,
    bundle: Bundle,
    warnings: Vec<String>,
    reservation: Reservation,
}

/// A name that is given back unless its container came to be.
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
            .map_err(|holder| ApiError::NameTaken { name: name.clone(), holder })?;
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

/// Makes the bundle's directory durable with the definition in it, and the card that vouches for that. Blocks.
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
        let _ = std::fs::remove_dir_all(bundle.path());
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
    // Also for a container in another's network, which sees the other's hosts and resolv.conf, but its own hostname.
    HostNames::read()
        .and_then(|names| files::write(bundle.path(), definition, &names))
        .map_err(|error| ApiError::failed(crate::cause::chain(&error)))?;
    // Last: its sync makes the others durable too, and a directory with a definition has them.
    Ok(definition::write(&bundle.definition(), definition)?)
}

fn new_id() -> Result<ContainerId, ApiError> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|error| ApiError::failed(format!("cannot make an id: {error}")))?;
    Ok(ContainerId::from_bytes(bytes))
}
