//! Update: limits and restart policy of an existing container. The new definition is written beside the old one, then
//! its digest is recorded in the journal; an effect changes a running container, and the answer waits for its outcome.

use std::sync::Arc;
use std::time::Duration;

use cri_api::isula::v1::{self as wire, UpdateRequest};

use super::{restart, validate};
use crate::api::native::{ApiError, Native};
use crate::containers::{AskedCommand, ContainerError, Entity, Target, Verb};
use crate::definition::{self, Definition, Resources};
use crate::domain::container::{Command, Event, Rejection};
use crate::domain::id::ContainerId;
use crate::failpoint;
use crate::journal::record::Context;
use crate::spec;

/// Longer than the runtime's deadline for the change and the way back, and for effects before it in the queue.
const PATIENCE: Duration = Duration::from_secs(180);
/// Attempts, when another update at the same time has changed the definition that this one is based on.
const ATTEMPTS: u32 = 3;

impl Native {
    /// Updates a container; returns warnings.
    pub(super) async fn update_container(
        &self,
        request: UpdateRequest,
        context: &Context,
    ) -> Result<Vec<String>, ApiError> {
        let reference = request.container.clone();
        let id = self.resolve(&reference)?;
        let _place = self.entity(&id, &reference)?.update_place().await;
        // Recovery settles an update that an earlier daemon left.
        let verified = tokio::time::timeout(PATIENCE, self.engine.containers.verified(&id)).await;
        verified.map_err(|_| ContainerError::of_rejection(Rejection::InTransition, Verb::Update, &reference))?;
        let mut attempt = 1;
        loop {
            let entity = self.entity(&id, &reference)?;
            match self.update_once(&entity, &request, context).await {
                Err(ApiError::Container(ContainerError::Rejected {
                    rejection: Rejection::DefinitionChanged, ..
                })) if attempt < ATTEMPTS => {
                    attempt += 1;
                }
                outcome => return outcome,
            }
        }
    }

    async fn update_once(
        &self,
        entity: &Arc<Entity>,
        request: &UpdateRequest,
        context: &Context,
    ) -> Result<Vec<String>, ApiError> {
        let (id, reference) = (entity.state.id, request.container.as_str());
        let written = {
            let (engine, entity, request) = (self.engine.clone(), entity.clone(), request.clone());
            tokio::task::spawn_blocking(move || {
                let present = engine.definition(&entity)?;
                let (definition, mut warnings) = changed(&present, &request)?;
                let live = definition.resources != present.resources;
                if live {
                    warnings.extend(spec::change_limits(&present, &definition, &engine.host).warnings);
                }
                let digest = match definition == *present {
                    true => entity.state.card.definition,
                    false => definition::write_pending(&engine.bundle(&entity.state).definition(), &definition)?,
                };
                Ok::<_, ApiError>((digest, definition.restart, live, warnings))
            })
        };
        let (definition, restart, live, warnings) =
            written.await.map_err(|panic| ApiError::failed(panic.to_string()))??;
        failpoint::hit(failpoint::UPDATE_BEFORE_INTENT);
        let base = entity.state.card.definition;
        let command = || vec![Command::Update { base, definition, restart: restart.into(), live }];
        let target = Target { id, reference };
        let asked = AskedCommand::ask(&self.engine.containers, target, Verb::Update, context, command).await;
        let outcome = match asked {
            Ok(mut asked) if asked.events.last().is_some_and(|event| outcome_of(event).is_none()) => {
                asked.until(PATIENCE, outcome_of).await.unwrap_or_else(|| {
                    Err(ApiError::Deadline { message: format!("the update of {reference} has no outcome yet") })
                })
            }
            Ok(_) => Ok(()),
            Err(error) => Err(error.into()),
        };
        let engine = self.engine.clone();
        let _ = tokio::task::spawn_blocking(move || engine.settle_definition(&id)).await;
        outcome.map(|()| warnings)
    }

    fn entity(&self, id: &ContainerId, reference: &str) -> Result<Arc<Entity>, ApiError> {
        Ok(Target { id: *id, reference }.entity(&self.engine)?)
    }
}

fn outcome_of(event: &Event) -> Option<Result<(), ApiError>> {
    match event {
        Event::Updated => Some(Ok(())),
        Event::UpdateFailed { message } => Some(Err(ApiError::failed(format!("Cannot update container: {message}")))),
        _ => None,
    }
}

/// The definition with the request's changes; settings that it does not give, or gives as 0, stay.
fn changed(present: &Definition, request: &UpdateRequest) -> Result<(Definition, Vec<String>), ApiError> {
    let mut warnings = Vec::new();
    let mut definition = present.clone();
    if let Some(given) = &request.resources {
        validate::warn_of_kernel_memory(given, &mut warnings);
        definition.resources = merged(&present.resources, given)?;
    }
    if request.restart.is_some() {
        definition.restart = restart::policy(request.restart.as_ref(), present.auto_remove)?;
    }
    Ok((definition, warnings))
}

fn merged(present: &Resources, given: &wire::Resources) -> Result<Resources, ApiError> {
    let number = |given: Option<i64>, present: Option<i64>| given.filter(|value| *value != 0).or(present);
    let count = |given: Option<u64>, present: Option<u64>| given.filter(|value| *value != 0).or(present);
    let list = |given: &String, present: &String| if given.is_empty() { present.clone() } else { given.clone() };
    let memory_alone = given.memory.is_some_and(|bytes| bytes > 0) && given.memory_swap.unwrap_or(0) == 0;
    if memory_alone && present.memory_swap.is_some_and(|swap| swap > 0 && given.memory > Some(swap)) {
        return Err(ApiError::invalid(
            "Memory limit should be smaller than already set memoryswap limit, update the memoryswap at the same time",
        ));
    }
    let memory_freed = given.memory == Some(-1) && given.memory_swap.unwrap_or(0) == 0;
    let mut resources = validate::resources(wire::Resources {
        memory: number(given.memory, present.memory),
        // A limit of memory and swap together has no meaning without one of memory.
        memory_swap: if memory_freed { Some(-1) } else { number(given.memory_swap, present.memory_swap) },
        memory_reservation: number(given.memory_reservation, present.memory_reservation),
        memory_swappiness: present.memory_swappiness,
        oom_kill_disable: present.oom_kill_disable,
        kernel_memory: given.kernel_memory,
        nano_cpus: number(given.nano_cpus, present.nano_cpus),
        cpu_shares: count(given.cpu_shares, present.cpu_shares),
        cpu_period: count(given.cpu_period, present.cpu_period),
        cpu_quota: number(given.cpu_quota, present.cpu_quota),
        cpuset_cpus: list(&given.cpuset_cpus, &present.cpuset_cpus),
        cpuset_mems: list(&given.cpuset_mems, &present.cpuset_mems),
        cpu_rt_runtime: number(given.cpu_rt_runtime, present.cpu_rt_runtime),
        cpu_rt_period: count(given.cpu_rt_period, present.cpu_rt_period),
        // For pids 0 means no limit.
        pids_limit: given.pids_limit.or(present.pids_limit),
        blkio_weight: given.blkio_weight.filter(|weight| *weight != 0).or(present.blkio_weight.map(u32::from)),
    })?;
    // Not doubled for a container that was created without a swap limit.
    if present.memory == resources.memory && given.memory_swap.unwrap_or(0) == 0 {
        resources.memory_swap = present.memory_swap;
    }
    Ok(resources)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::definition::Restart;

    const MB: i64 = 1 << 20;

    fn update(present: &Resources, given: wire::Resources) -> Result<Resources, String> {
        merged(present, &given).map_err(|error| error.to_string())
    }

    fn with_memory(bytes: i64) -> wire::Resources {
        wire::Resources { memory: Some(bytes), ..wire::Resources::default() }
    }

    #[test]
    fn settings_that_are_not_given_stay() {
        let present = Resources {
            memory: Some(64 * MB),
            memory_swap: Some(128 * MB),
            cpu_shares: Some(512),
            pids_limit: Some(20),
            cpuset_cpus: "0".to_owned(),
            blkio_weight: Some(300),
            ..Resources::default()
        };
        assert_eq!(update(&present, wire::Resources::default()).unwrap(), present);
        let zeros = wire::Resources {
            memory: Some(0),
            memory_swap: Some(0),
            nano_cpus: Some(0),
            cpu_shares: Some(0),
            cpu_quota: Some(0),
            blkio_weight: Some(0),
            ..wire::Resources::default()
        };
        assert_eq!(update(&present, zeros).unwrap(), present);
        let given = wire::Resources { cpu_shares: Some(100), pids_limit: Some(-1), ..with_memory(100 * MB) };
        let wanted = Resources { memory: Some(100 * MB), cpu_shares: Some(100), pids_limit: None, ..present };
        assert_eq!(update(&wanted.clone(), given).unwrap(), wanted);
    }

    #[test]
    fn new_limits_are_checked_with_the_present_ones() {
        let present = Resources { memory: Some(64 * MB), memory_swap: Some(128 * MB), ..Resources::default() };
        assert_eq!(
            update(&present, with_memory(200 * MB)).unwrap_err(),
            "Memory limit should be smaller than already set memoryswap limit, update the memoryswap at the same time"
        );
        let both = wire::Resources { memory_swap: Some(-1), ..with_memory(200 * MB) };
        assert_eq!(update(&present, both).unwrap().memory_swap, Some(-1));
        assert_eq!(update(&present, with_memory(MB)).unwrap_err(), "Minimum memory limit allowed is 4MB");
        let swap = wire::Resources { memory_swap: Some(32 * MB), ..wire::Resources::default() };
        assert!(update(&present, swap.clone()).unwrap_err().starts_with("Minimum memoryswap limit"));
        assert!(update(&Resources::default(), swap).unwrap_err().starts_with("You should always set the Memory limit"));
        let quota = wire::Resources { cpu_quota: Some(5_000), ..wire::Resources::default() };
        let cpus = Resources { nano_cpus: Some(1), ..Resources::default() };
        assert!(update(&cpus, quota).unwrap_err().starts_with("Conflicting options: --cpus"));
    }

    #[test]
    fn the_swap_limit_follows_the_first_memory_limit() {
        let limited = update(&Resources::default(), with_memory(64 * MB)).unwrap();
        assert_eq!((limited.memory, limited.memory_swap), (Some(64 * MB), Some(128 * MB)));
        let freed = update(&limited, with_memory(-1)).unwrap();
        assert_eq!((freed.memory, freed.memory_swap), (Some(-1), Some(-1)));
    }

    #[test]
    fn a_policy_is_changed_without_limits() {
        let present = crate::spec::tests::definition();
        let restart = Some(wire::RestartPolicy { name: "always".to_owned(), maximum_retries: 0 });
        let request = UpdateRequest { container: "x".to_owned(), resources: None, restart };
        let (definition, warnings) = changed(&present, &request).unwrap();
        assert_eq!(definition, Definition { restart: Restart::Always, ..present.clone() });
        assert!(warnings.is_empty());
        let removed = Definition { auto_remove: true, ..present };
        assert_eq!(changed(&removed, &request).unwrap_err().to_string(), "Conflicting options: --restart and --rm");
    }
}
