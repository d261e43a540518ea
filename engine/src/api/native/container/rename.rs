//! Rename: the new name is reserved before the event and the old one free after it.

use crate::api::native::status::Verb;
use crate::api::native::{ApiError, Native};
use crate::domain::container::Command;
use crate::domain::id::Name;
use crate::journal::record::Context;
use crate::ledger::Queue;

impl Native {
    pub(super) async fn rename_container(
        &self,
        reference: &str,
        name: &str,
        context: &Context,
    ) -> Result<(), ApiError> {
        let id = self.resolve(reference)?;
        let name: Name = name.parse().map_err(|_| {
            ApiError::invalid(format!("Invalid container name ({name}), only [a-zA-Z0-9][a-zA-Z0-9_.-]* are allowed"))
        })?;
        let containers = &self.engine.containers;
        containers.reserve_name(&name, id).map_err(|holder| ApiError::NameTaken { name: name.clone(), holder })?;
        let renamed = self
            .engine
            .containers
            .ask(Queue::Commands, &id, context, || vec![Command::Rename { name: name.clone() }])
            .await;
        let holds = containers.get(&id).is_some_and(|entity| entity.state.card.name == name);
        if !holds {
            containers.release_name(&name, id);
        }
        renamed.map(drop).map_err(|error| ApiError::of_turn(error, Verb::Rename, reference))
    }
}
