//! Create: the definition made durable, then the intent, then the files.

use std::sync::Arc;
use std::time::Duration;

use cri_api::isula::v1::{CreateRequest, CreateResponse, RunResponse};

use super::validate;
use crate::api::native::status::Verb;
use crate::api::native::{ApiError, Native};
use crate::clock;
use crate::definition::{self, Definition};
use crate::domain::container::{Card, Command, Event};
use crate::domain::id::{ContainerId, Name};
use crate::engine::Engine;
use crate::failpoint;
use crate::journal::record::Context;
use crate::rootfs;

/// A prepared container's files are few and small.
const PATIENCE: Duration = Duration::from_secs(60);

impl Native {
    pub(super) async fn create_container(
        &self,
        request: CreateRequest,
        context: &Context,
    ) -> Result<CreateResponse, ApiError> {
        let (id, warnings) = self.create_new(request, context).await?;
        Ok(CreateResponse { id: id.to_string(), warnings })
    }

    pub(super) async fn run_container(
        &self,
        request: CreateRequest,
        context: &Context,
    ) -> Result<RunResponse, ApiError> {
        let (id, warnings) = self.create_new(request, context).await?;
        let id = id.to_string();
        let failure = self.start_container(&id, None, context).await?;
        Ok(RunResponse { id, warnings, failure })
    }

    async fn create_new(
        &self,
        request: CreateRequest,
        context: &Context,
    ) -> Result<(ContainerId, Vec<String>), ApiError> {
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
        self.engine
            .containers
            .reserve_name(&name, id)
            .map_err(|holder| ApiError::NameTaken { name: name.clone(), holder })?;
        // Given back on every way out but success, also when the caller goes away in the middle.
        let reservation = Reservation { engine: &self.engine, name: &name, id };
        let card = write_definition(&self.engine, id, name.clone(), definition).await?;
        let outcome = self.record(id, card, context).await;
        if outcome.is_ok() || self.engine.containers.get(&id).is_some() {
            std::mem::forget(reservation);
        }
        outcome.map(|()| (id, warnings))
    }

    async fn record(&self, id: ContainerId, card: Card, context: &Context) -> Result<(), ApiError> {
        failpoint::hit(failpoint::CREATE_BEFORE_INTENT);
        let runtime = card.runtime.clone();
        let mut told = self.engine.containers.listen(id);
        let command = Command::Create { id, card };
        if let Err(error) = self.engine.turn(id, context, &command).await {
            let bundle = self.engine.layout.bundle(&runtime, &id);
            let _ = std::fs::remove_dir_all(bundle.path());
            return Err(ApiError::of_turn(error, Verb::Create, &id.to_string()));
        }
        let outcome = async {
            while let Some(told) = told.recv().await {
                match told.event {
                    Event::Created => return Ok(()),
                    Event::CreateFailed { message } => return Err(ApiError::Failed { message }),
                    _ => {}
                }
            }
            Err(ApiError::failed("the daemon is stopping"))
        };
        tokio::time::timeout(PATIENCE, outcome).await.unwrap_or_else(|_| {
            Err(ApiError::Deadline {
                message: format!("container {id} was not prepared within {} s", PATIENCE.as_secs()),
            })
        })
    }
}

/// A name that is given back unless its container came to be.
struct Reservation<'a> {
    engine: &'a Arc<Engine>,
    name: &'a Name,
    id: ContainerId,
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        if self.engine.containers.get(&self.id).is_none() {
            self.engine.containers.release_name(self.name, self.id);
        }
    }
}

/// Makes the bundle's directory and the definition in it durable, and the card that vouches for it.
async fn write_definition(
    engine: &Arc<Engine>,
    id: ContainerId,
    name: Name,
    definition: Definition,
) -> Result<Card, ApiError> {
    failpoint::hit(failpoint::CREATE_BEFORE_FILES);
    let engine = engine.clone();
    let writing = tokio::task::spawn_blocking(move || {
        rootfs::check(&definition.rootfs).map_err(|error| ApiError::invalid(crate::api::chain(&error)))?;
        let bundle = engine.layout.bundle(&definition.runtime, &id);
        make_bundle(bundle.path())
            .map_err(|error| ApiError::failed(format!("cannot make `{}`: {error}", bundle.path().display())))?;
        let digest = match definition::write(&bundle.definition(), &definition) {
            Ok(digest) => digest,
            Err(error) => {
                let _ = std::fs::remove_dir_all(bundle.path());
                return Err(error.into());
            }
        };
        Ok(definition.card(name, digest, clock::now()))
    });
    writing.await.map_err(|panic| ApiError::failed(panic.to_string()))?
}

fn make_bundle(path: &std::path::Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().mode(0o700).recursive(true).create(path)
}

fn new_id() -> Result<ContainerId, ApiError> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|error| ApiError::failed(format!("cannot make an id: {error}")))?;
    Ok(ContainerId::from_bytes(bytes))
}
