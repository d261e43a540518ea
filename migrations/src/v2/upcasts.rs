//! From the shapes of format 1 to those of format 2. What is new was not there before: no container was made of an image,
//! none took volumes with it.

use super::{CardV2, ContainerRowV2, CreateRequestedV2, PhaseV2, RemoveRequestedV2, RemovingV2};
use crate::codec::{self, Malformed};
use crate::v1::{CardV1, ContainerRowV1, ContextV1, CreateRequestedV1, PhaseV1, RemoveRequestedV1, RemovingV1};

pub fn create_requested(bytes: &[u8]) -> Result<Vec<u8>, Malformed> {
    let (context, CreateRequestedV1 { card: old }): (ContextV1, _) = codec::decode(bytes)?;
    Ok(codec::encode(&(context, CreateRequestedV2 { card: card(old) })))
}

pub fn remove_requested(bytes: &[u8]) -> Result<Vec<u8>, Malformed> {
    let (context, RemoveRequestedV1 { force }): (ContextV1, _) = codec::decode(bytes)?;
    Ok(codec::encode(&(context, RemoveRequestedV2 { force, volumes: false })))
}

pub fn container_row(bytes: &[u8]) -> Result<Vec<u8>, Malformed> {
    let ContainerRowV1 { card: old, phase: before, last } = codec::decode(bytes)?;
    Ok(codec::encode(&ContainerRowV2 { card: card(old), phase: phase(before), last }))
}

fn card(old: CardV1) -> CardV2 {
    CardV2 {
        name: old.name,
        image: old.image,
        image_id: None,
        runtime: old.runtime,
        command: old.command,
        definition: old.definition,
        created_at: old.created_at,
        auto_remove: old.auto_remove,
        tty: old.tty,
        open_stdin: old.open_stdin,
        stop_signal: old.stop_signal,
        stop_timeout: old.stop_timeout,
    }
}

fn phase(old: PhaseV1) -> PhaseV2 {
    match old {
        PhaseV1::Creating => PhaseV2::Creating,
        PhaseV1::Created => PhaseV2::Created,
        PhaseV1::Starting(starting) => PhaseV2::Starting(starting),
        PhaseV1::Running(run) => PhaseV2::Running(run),
        PhaseV1::Pausing(run) => PhaseV2::Pausing(run),
        PhaseV1::Paused(run) => PhaseV2::Paused(run),
        PhaseV1::Resuming(run) => PhaseV2::Resuming(run),
        PhaseV1::Exited(end) => PhaseV2::Exited(end),
        PhaseV1::Removing(RemovingV1 { run, failed }) => PhaseV2::Removing(RemovingV2 { run, failed, volumes: false }),
    }
}
