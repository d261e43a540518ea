//! Update: limits and restart policy of an existing container. The new definition is written beside the old one, then
//! its digest is recorded in the journal; an effect changes a running container, and the answer waits for its outcome.

use std::sync::Arc;
use std::time::Duration;

use super::tasks::{blocking, uncancelled};
use super::{AskedCommand, ContainerError, Limits, Target, Verb, suits_removal};
use crate::definition::{self, Definition, Resources, Restart};
use crate::domain::container::{Command, Event, Rejection};
use crate::engine::Engine;
use crate::failpoint;
use crate::journal::record::Context;
use crate::records::Entity;
use crate::spec;

/// Longer than the runtime's deadline for the change and the way back, and for effects before it in the queue.
const PATIENCE: Duration = Duration::from_secs(180);
/// Attempts, when another update at the same time has changed the definition that this one is based on.
const ATTEMPTS: u32 = 3;

/// The changes of an update; what is absent stays as it is.
#[derive(Debug, Clone, Default)]
pub(crate) struct Update {
    pub limits: Option<Limits>,
    pub restart: Option<Restart>,
}

/// Updates a container, also when the caller is cancelled; returns warnings.
pub(crate) async fn update(
    engine: &Arc<Engine>,
    target: Target<'_>,
    update: Update,
    context: &Context,
) -> Result<Vec<String>, ContainerError> {
    let (engine, context, id, reference) = (engine.clone(), context.clone(), target.id, target.reference.to_owned());
    uncancelled(async move { in_its_place(&engine, Target { id, reference: &reference }, &update, &context).await })
        .await
}

async fn in_its_place(
    engine: &Arc<Engine>,
    target: Target<'_>,
    update: &Update,
    context: &Context,
) -> Result<Vec<String>, ContainerError> {
    let _place = target.entity(engine)?.update_place().await;
    // Recovery settles an update that an earlier daemon left.
    let verified = tokio::time::timeout(PATIENCE, engine.containers.verified(&target.id)).await;
    let busy = |_| ContainerError::of_rejection(Rejection::InTransition, Verb::Update, target.reference);
    verified.map_err(busy)?;
    let mut attempt = 1;
    loop {
        let entity = target.entity(engine)?;
        match update_once(engine, target, &entity, update, context).await {
            Err(ContainerError::Rejected { rejection: Rejection::DefinitionChanged, .. }) if attempt < ATTEMPTS => {
                attempt += 1;
            }
            outcome => return outcome,
        }
    }
}

/// A definition that was written for an update.
struct Written {
    command: Command,
    warnings: Vec<String>,
}

async fn update_once(
    engine: &Arc<Engine>,
    target: Target<'_>,
    entity: &Arc<Entity>,
    update: &Update,
    context: &Context,
) -> Result<Vec<String>, ContainerError> {
    let Written { command, warnings } = blocking({
        let (engine, entity, update) = (engine.clone(), entity.clone(), update.clone());
        move || write(&engine, &entity, &update)
    })
    .await?;
    failpoint::hit(failpoint::UPDATE_BEFORE_INTENT);
    let commands = || vec![command.clone()];
    let asked = AskedCommand::ask(&engine.containers, target, Verb::Update, context, commands).await;
    let outcome = match asked {
        Ok(mut asked) if asked.events.last().is_some_and(|event| outcome_of(event).is_none()) => {
            asked.until(PATIENCE, outcome_of).await.unwrap_or_else(|| {
                Err(ContainerError::NoOutcome { operation: "update", reference: target.reference.to_owned() })
            })
        }
        Ok(_) => Ok(()),
        Err(error) => Err(error),
    };
    let (engine, id) = (engine.clone(), target.id);
    let _ = tokio::task::spawn_blocking(move || engine.containers.settle_definition(&id)).await;
    outcome.map(|()| warnings)
}

/// Writes the changed definition beside the present one. Blocks.
fn write(engine: &Engine, entity: &Entity, update: &Update) -> Result<Written, ContainerError> {
    let present = engine.containers.definition(entity)?;
    let (definition, mut warnings) = changed(&present, update)?;
    let live = definition.resources != present.resources;
    if live {
        warnings.extend(spec::change_limits(&present, &definition, &engine.node.host).warnings);
    }
    let base = entity.state.card.definition;
    let digest = match definition == *present {
        true => base,
        false => definition::write_pending(&engine.node.bundle(&entity.state).definition(), &definition)?,
    };
    let command = Command::Update { base, definition: digest, restart: definition.restart.into(), live };
    Ok(Written { command, warnings })
}

fn outcome_of(event: &Event) -> Option<Result<(), ContainerError>> {
    match event {
        Event::Updated => Some(Ok(())),
        Event::UpdateFailed { message } => Some(Err(ContainerError::UpdateFailed { message: message.clone() })),
        _ => None,
    }
}

/// The definition with the changes; settings that are not given, or given as 0, stay.
fn changed(present: &Definition, update: &Update) -> Result<(Definition, Vec<String>), ContainerError> {
    let mut warnings = Vec::new();
    let mut definition = present.clone();
    if let Some(given) = &update.limits {
        given.warn_of_kernel_memory(&mut warnings);
        definition.resources = merged(&present.resources, given)?;
    }
    if let Some(restart) = update.restart {
        definition.restart = suits_removal(restart, present.auto_remove)?;
    }
    Ok((definition, warnings))
}

fn merged(present: &Resources, given: &Limits) -> Result<Resources, ContainerError> {
    let number = |given: Option<i64>, present: Option<i64>| given.filter(|value| *value != 0).or(present);
    let count = |given: Option<u64>, present: Option<u64>| given.filter(|value| *value != 0).or(present);
    let list = |given: &String, present: &String| if given.is_empty() { present.clone() } else { given.clone() };
    let memory_alone = given.memory.is_some_and(|bytes| bytes > 0) && given.memory_swap.unwrap_or(0) == 0;
    if memory_alone && present.memory_swap.is_some_and(|swap| swap > 0 && given.memory > Some(swap)) {
        return Err(ContainerError::invalid(
            "Memory limit should be smaller than already set memoryswap limit, update the memoryswap at the same time",
        ));
    }
    let memory_freed = given.memory == Some(-1) && given.memory_swap.unwrap_or(0) == 0;
    let mut resources = Limits {
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
    }
    .checked()?;
    // Not doubled for a container that was created without a swap limit.
    if present.memory == resources.memory && given.memory_swap.unwrap_or(0) == 0 {
        resources.memory_swap = present.memory_swap;
    }
    Ok(resources)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MB: i64 = 1 << 20;

    fn update(present: &Resources, given: Limits) -> Result<Resources, String> {
        merged(present, &given).map_err(|error| error.to_string())
    }

    fn with_memory(bytes: i64) -> Limits {
        Limits { memory: Some(bytes), ..Limits::default() }
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
        assert_eq!(update(&present, Limits::default()).unwrap(), present);
        let zeros = Limits {
            memory: Some(0),
            memory_swap: Some(0),
            nano_cpus: Some(0),
            cpu_shares: Some(0),
            cpu_quota: Some(0),
            blkio_weight: Some(0),
            ..Limits::default()
        };
        assert_eq!(update(&present, zeros).unwrap(), present);
        let given = Limits { cpu_shares: Some(100), pids_limit: Some(-1), ..with_memory(100 * MB) };
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
        let both = Limits { memory_swap: Some(-1), ..with_memory(200 * MB) };
        assert_eq!(update(&present, both).unwrap().memory_swap, Some(-1));
        assert_eq!(update(&present, with_memory(MB)).unwrap_err(), "Minimum memory limit allowed is 4MB");
        let swap = Limits { memory_swap: Some(32 * MB), ..Limits::default() };
        assert!(update(&present, swap.clone()).unwrap_err().starts_with("Minimum memoryswap limit"));
        assert!(update(&Resources::default(), swap).unwrap_err().starts_with("You should always set the Memory limit"));
        let quota = Limits { cpu_quota: Some(5_000), ..Limits::default() };
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
        let request = Update { limits: None, restart: Some(Restart::Always) };
        let (definition, warnings) = changed(&present, &request).unwrap();
        assert_eq!(definition, Definition { restart: Restart::Always, ..present.clone() });
        assert!(warnings.is_empty());
        let removed = Definition { auto_remove: true, ..present };
        assert_eq!(changed(&removed, &request).unwrap_err().to_string(), "Conflicting options: --restart and --rm");
    }
}
