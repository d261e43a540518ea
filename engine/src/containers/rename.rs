//! Rename: the new name is reserved before the event and the old one free after it.

use std::sync::Arc;

use super::tasks::uncancelled;
use super::{ContainerError, Target, Verb};
use crate::domain::container::Command;
use crate::domain::id::Name;
use crate::engine::Engine;
use crate::journal::record::Context;
use crate::ledger::Queue;

/// Renames also when the caller is cancelled: a reserved name is used or released.
pub(crate) async fn rename(
    engine: &Arc<Engine>,
    target: Target<'_>,
    name: Name,
    context: &Context,
) -> Result<(), ContainerError> {
    let (engine, context, id, reference) = (engine.clone(), context.clone(), target.id, target.reference.to_owned());
    uncancelled(async move { rename_reserved(&engine, Target { id, reference: &reference }, name, &context).await })
        .await
}

async fn rename_reserved(
    engine: &Engine,
    target: Target<'_>,
    name: Name,
    context: &Context,
) -> Result<(), ContainerError> {
    let (containers, id) = (&engine.containers, target.id);
    containers.reserve_name(&name, id).map_err(|holder| ContainerError::NameTaken { name: name.clone(), holder })?;
    let renamed = containers.ask(Queue::Commands, &id, context, || vec![Command::Rename { name: name.clone() }]).await;
    let holds = containers.get(&id).is_some_and(|entity| entity.state.card.name == name);
    if !holds {
        containers.release_name(&name, id);
    }
    renamed.map(drop).map_err(|error| ContainerError::of_turn(error, Verb::Rename, target.reference))
}
