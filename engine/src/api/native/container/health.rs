//! Health in answers.

use serde_json::{Value, json};

use crate::api::native::events::health_word;
use crate::clock::rfc3339;
use crate::domain::container::{Container, HealthAction};
use crate::domain::id::Timestamp;
use crate::engine::Engine;

/// The health in `inspect`, of the last run too; `None` for a container without a check. Blocks.
pub(super) fn state(engine: &Engine, container: &Container) -> Option<Value> {
    if container.card.health == HealthAction::Unwatched {
        return None;
    }
    let results = engine.health.of(container);
    let now = container.phase.run().and_then(|run| run.health).map(health_word);
    let last = results.as_ref().map(|results| results.status.as_str()).filter(|status| !status.is_empty());
    let status = now.or(last).unwrap_or("none");
    let each = results.iter().flat_map(|results| &results.log).map(|result| {
        json!({
            "Start": rfc3339(Some(Timestamp(result.start))),
            "End": rfc3339(Some(Timestamp(result.end))),
            "ExitCode": result.code,
            "Output": result.output,
        })
    });
    let log = each.collect::<Vec<_>>();
    Some(json!({
        "Status": status,
        "FailingStreak": results.as_ref().map_or(0, |results| results.streak),
        "Log": log,
    }))
}
