//! List: from the projection alone. A container that hangs is listed as fast as any other.

use std::collections::HashMap;
use std::sync::Arc;

use cri_api::isula::v1::{ContainerSummary, Filter, ListRequest, ListResponse};

use super::{nanoseconds, run_end};
use crate::api::native::events::health_word;
use crate::api::native::{ApiError, Native, limits};
use crate::containers::Target;
use crate::domain::container::{Card, End, Phase};
use crate::domain::id::Timestamp;
use crate::engine::Engine;
use crate::image::reference::Reference;
use crate::records::{Entity, Labels};

impl Native {
    pub(super) async fn list_containers(&self, request: ListRequest) -> Result<ListResponse, ApiError> {
        limits::filters(&request.filters)?;
        let filters = parse(&request.filters, &self.engine)?;
        let engine = self.engine.clone();
        // Labels may be read from files; that must not hold up other requests.
        let listing = tokio::task::spawn_blocking(move || {
            // A filter by state includes containers that are not running.
            let all = request.all || request.last > 0 || filters.iter().any(|filter| filter.shows_stopped());
            let mut found: Vec<Arc<Entity>> = engine
                .containers
                .snapshot()
                .values()
                .filter(|entity| all || is_up(&entity.state.phase))
                .cloned()
                .collect();
            found.sort_by_key(|entity| std::cmp::Reverse(entity.state.card.created_at));
            let summaries: Vec<ContainerSummary> = found
                .iter()
                .filter(|entity| comes_from(&filters, &entity.state.card))
                .map(|entity| (entity, summary(&engine, entity)))
                .filter(|(entity, summary)| matches(&filters, summary) && is_labelled(&engine, &filters, entity))
                .take(if request.last > 0 { request.last as usize } else { usize::MAX })
                .map(|(entity, mut summary)| {
                    if request.labels {
                        let labels = labels_of(&engine, entity);
                        summary.labels = labels.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
                    }
                    summary
                })
                .collect();
            summaries
        });
        let containers = listing.await.map_err(|panic| ApiError::failed(panic.to_string()))?;
        Ok(ListResponse { containers })
    }
}

/// Values of one key are alternatives; all keys must match.
struct ByKey {
    key: Key,
    values: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Key {
    Id,
    Name,
    Label,
    Status,
    Health,
    Ancestor,
    Exited,
    Before,
    Since,
}

impl ByKey {
    fn shows_stopped(&self) -> bool {
        matches!(self.key, Key::Status | Key::Exited)
    }
}

fn parse(filters: &[Filter], engine: &Engine) -> Result<Vec<ByKey>, ApiError> {
    let mut parsed: Vec<ByKey> = Vec::new();
    for filter in filters {
        let key = match filter.key.as_str() {
            "id" => Key::Id,
            "name" => Key::Name,
            "label" => Key::Label,
            "status" => Key::Status,
            "health" => Key::Health,
            "ancestor" => Key::Ancestor,
            "exited" => Key::Exited,
            "before" => Key::Before,
            "since" => Key::Since,
            other => return Err(ApiError::invalid(format!("Invalid filter '{other}'"))),
        };
        let value = match key {
            // The creation time of the named container.
            Key::Before | Key::Since => {
                let target = Target::find(engine, &filter.value)?;
                engine.containers.get(&target.id).map_or(0, |entity| entity.state.card.created_at.0).to_string()
            }
            Key::Status => status(&filter.value)?.to_owned(),
            Key::Health if !["starting", "healthy", "unhealthy", "none"].contains(&filter.value.as_str()) => {
                return Err(ApiError::invalid(format!("Unrecognised filter value for health: {}", filter.value)));
            }
            Key::Exited if filter.value.parse::<i32>().is_err() => {
                return Err(ApiError::invalid(format!("exit code '{}' is not a number", filter.value)));
            }
            _ => filter.value.clone(),
        };
        match parsed.iter_mut().find(|by| by.key == key) {
            Some(by) => by.values.push(value),
            None => parsed.push(ByKey { key, values: vec![value] }),
        }
    }
    Ok(parsed)
}

fn status(word: &str) -> Result<&str, ApiError> {
    match word {
        "created" | "inited" => Ok("inited"),
        "starting" | "running" | "paused" | "restarting" | "exited" | "removing" | "unknown" => Ok(word),
        other => Err(ApiError::invalid(format!("Unrecognised filter value for status: {other}"))),
    }
}

fn matches(filters: &[ByKey], it: &ContainerSummary) -> bool {
    filters.iter().all(|by| {
        by.values.iter().any(|value| match by.key {
            Key::Id => it.id.starts_with(value.as_str()),
            Key::Name => is_named(&it.name, value),
            Key::Status => it.state == *value,
            Key::Health => it.health == *value || (value == "none" && it.health.is_empty()),
            // Compared elsewhere, by the card and by the labels: see `comes_from`, `is_labelled`.
            Key::Ancestor | Key::Label => true,
            Key::Exited => {
                it.state == "exited"
                    && it.exit.as_ref().and_then(|exit| exit.code).map(|code| code.to_string()).as_deref()
                        == Some(value)
            }
            Key::Before => it.created_at < value.parse().unwrap_or(i64::MIN),
            Key::Since => it.created_at > value.parse().unwrap_or(i64::MAX),
        })
    })
}

/// Whether a name has this part, which may be bound to its beginning and its end.
fn is_named(name: &str, wanted: &str) -> bool {
    // Other engines' names begin with a slash, and so do filters that were written for them.
    let (wanted, begins) = match wanted.strip_prefix('^') {
        Some(rest) => (rest.strip_prefix('/').unwrap_or(rest), true),
        None => (wanted, false),
    };
    let (wanted, ends) = wanted.strip_suffix('$').map_or((wanted, false), |rest| (rest, true));
    match (begins, ends) {
        (true, true) => name == wanted,
        (true, false) => name.starts_with(wanted),
        (false, true) => name.ends_with(wanted),
        (false, false) => name.contains(wanted),
    }
}

/// Whether the container is of the image: by the requested name in any spelling, or by its id or the beginning of that.
fn comes_from(filters: &[ByKey], card: &Card) -> bool {
    let whole = |name: &str| name.parse::<Reference>().ok();
    let of = |value: &str| {
        let digits = value.strip_prefix("sha256:").unwrap_or(value);
        let by_id = || card.image_id.is_some_and(|id| digits.len() >= 4 && id.hex().starts_with(digits));
        let same_name = || whole(value).is_some_and(|wanted| whole(&card.image) == Some(wanted));
        card.image == value || by_id() || same_name()
    };
    let ancestors = filters.iter().filter(|by| by.key == Key::Ancestor);
    ancestors.into_iter().all(|by| by.values.iter().any(|value| of(value)))
}

/// Empty when the definition cannot be read, which must not fail the list; inspect and start report the error.
fn labels_of(engine: &Engine, entity: &Entity) -> Labels {
    engine.containers.labels(entity).unwrap_or_default()
}

/// The last filter, since labels may have to be read.
fn is_labelled(engine: &Engine, filters: &[ByKey], entity: &Entity) -> bool {
    let mut wanted = filters.iter().filter(|by| by.key == Key::Label).peekable();
    if wanted.peek().is_none() {
        return true;
    }
    let labels = labels_of(engine, entity);
    wanted.all(|by| {
        by.values.iter().any(|value| match value.split_once('=') {
            Some((key, wanted)) => labels.get(key).is_some_and(|found| found == wanted),
            None => labels.contains_key(value),
        })
    })
}

fn summary(engine: &Engine, entity: &Entity) -> ContainerSummary {
    let container = &entity.state;
    let card = &container.card;
    let run = container.phase.run();
    let last = container.last.as_ref();
    ContainerSummary {
        id: container.id.to_string(),
        name: card.name.to_string(),
        image: card.image.clone(),
        command: card.command.clone(),
        runtime: card.runtime.clone(),
        state: container.phase.word().to_owned(),
        created_at: nanoseconds(card.created_at),
        started_at: started_at(&container.phase, last).map_or(0, nanoseconds),
        finished_at: if run.is_some() { 0 } else { last.map_or(0, |end| nanoseconds(end.at)) },
        pid: run.map_or(0, |run| run.process.pid),
        exit: last.filter(|_| run.is_none()).map(run_end),
        restart_count: container.restarts.count,
        // Added for listed containers, when the request asks for them.
        labels: HashMap::new(),
        health: run.and_then(|run| run.health).map_or("", health_word).to_owned(),
        ports: ports(engine, &container.id.to_string()),
        verified: entity.verified,
    }
}

/// The ports as in docker's column.
fn ports(engine: &Engine, id: &str) -> String {
    let record = engine.networks.attached(id);
    let ports = record.iter().flat_map(|record| &record.ports).map(ToString::to_string);
    ports.collect::<Vec<_>>().join(", ")
}

/// Running, or about to run again: the containers of a list without `-a`.
fn is_up(phase: &Phase) -> bool {
    phase.run().is_some() || matches!(phase, Phase::Restarting(_))
}

/// The start of the present run, or of the last one.
pub(super) fn started_at(phase: &Phase, last: Option<&End>) -> Option<Timestamp> {
    phase.run().map(|run| run.since).or_else(|| last.and_then(|end| end.started_at))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::id::Digest;

    #[test]
    fn names_match_by_part_or_by_their_ends() {
        for wanted in ["web", "eb-", "^web", "1$", "^web-1$", "^/web-1$", "", "^", "$"] {
            assert!(is_named("web-1", wanted), "{wanted}");
        }
        for wanted in ["^eb", "web$", "^web$", "^web-11$", "x", "/web"] {
            assert!(!is_named("web-1", wanted), "{wanted}");
        }
    }

    #[test]
    fn an_ancestor_matches_in_any_spelling_or_by_its_id() {
        let mut card = crate::domain::container::testing::card();
        let comes_from = |card: &Card, values: &[&str]| {
            let values = values.iter().map(|value| (*value).to_owned()).collect();
            comes_from(&[ByKey { key: Key::Ancestor, values }], card)
        };
        card.image = "nginx".to_owned();
        card.image_id = Some(Digest([0xab; 32]));
        let id = Digest([0xab; 32]);
        for value in
            ["nginx", "nginx:latest", "docker.io/library/nginx", "abab", "sha256:abab", &id.to_string(), &id.hex()]
        {
            assert!(comes_from(&card, &[value]), "{value}");
        }
        for value in ["nginx:1", "other", "ab", "abac", ""] {
            assert!(!comes_from(&card, &[value]), "{value}");
        }
        assert!(comes_from(&card, &["other", "nginx"]));
        (card.image, card.image_id) = ("none".to_owned(), None);
        assert!(comes_from(&card, &["none"]) && !comes_from(&card, &["abab"]));
    }
}
