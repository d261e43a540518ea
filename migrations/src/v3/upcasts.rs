//! From the shapes of format 2 to those of format 3. What is new was not there before: nothing was restarted, watched, updated or
//! attached to a network.

use super::{
    CardV3, ContainerRowV3, CreateRequestedV3, HealthActionV1, PhaseV3, RemovingV3, RestartPolicyV1, RestartsV1, RunV2,
};
use crate::codec::{self, Malformed};
use crate::v1::{ContextV1, RunV1};
use crate::v2::{CardV2, ContainerRowV2, CreateRequestedV2, PhaseV2, RemovingV2};

pub fn create_requested(bytes: &[u8]) -> Result<Vec<u8>, Malformed> {
    let (context, CreateRequestedV2 { card: old }): (ContextV1, _) = codec::decode(bytes)?;
    Ok(codec::encode(&(context, CreateRequestedV3 { card: card(old) })))
}

pub fn container_row(bytes: &[u8]) -> Result<Vec<u8>, Malformed> {
    let ContainerRowV2 { card: old, phase: before, last } = codec::decode(bytes)?;
    let stopped = stops(&before);
    Ok(codec::encode(&ContainerRowV3 {
        card: card(old),
        phase: phase(before),
        last,
        restarts: RestartsV1 { count: 0, streak: 0, stopped },
        update: None,
        networks: vec![],
    }))
}

/// A stop under way that is not half of a restart is a user's.
fn stops(phase: &PhaseV2) -> bool {
    match phase {
        PhaseV2::Running(run) | PhaseV2::Pausing(run) | PhaseV2::Paused(run) | PhaseV2::Resuming(run) => {
            run.stop.as_ref().is_some_and(|stop| !stop.then_start)
        }
        PhaseV2::Creating | PhaseV2::Created | PhaseV2::Starting(_) | PhaseV2::Exited(_) | PhaseV2::Removing(_) => {
            false
        }
    }
}

fn card(old: CardV2) -> CardV3 {
    CardV3 {
        name: old.name,
        image: old.image,
        image_id: old.image_id,
        runtime: old.runtime,
        command: old.command,
        definition: old.definition,
        created_at: old.created_at,
        auto_remove: old.auto_remove,
        tty: old.tty,
        open_stdin: old.open_stdin,
        stop_signal: old.stop_signal,
        stop_timeout: old.stop_timeout,
        restart: RestartPolicyV1::No,
        health: HealthActionV1::Unwatched,
    }
}

fn phase(old: PhaseV2) -> PhaseV3 {
    match old {
        PhaseV2::Creating => PhaseV3::Creating,
        PhaseV2::Created => PhaseV3::Created,
        PhaseV2::Starting(starting) => PhaseV3::Starting(starting),
        PhaseV2::Running(old) => PhaseV3::Running(run(old)),
        PhaseV2::Pausing(old) => PhaseV3::Pausing(run(old)),
        PhaseV2::Paused(old) => PhaseV3::Paused(run(old)),
        PhaseV2::Resuming(old) => PhaseV3::Resuming(run(old)),
        PhaseV2::Exited(end) => PhaseV3::Exited(end),
        PhaseV2::Removing(RemovingV2 { run: old, failed, volumes }) => {
            PhaseV3::Removing(RemovingV3 { run: old.map(run), failed, volumes })
        }
    }
}

fn run(old: RunV1) -> RunV2 {
    RunV2 {
        start: old.start,
        boot: old.boot,
        process: old.process,
        shim: old.shim,
        since: old.since,
        stop: old.stop,
        oom: old.oom,
        health: None,
    }
}
