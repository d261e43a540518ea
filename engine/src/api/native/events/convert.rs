//! Converts records to the events that clients get.

use std::collections::HashMap;

use cri_api::isula::v1::Event as WireEvent;
use store::Record;

use super::{CONTAINER, IMAGE, VOLUME};
use crate::api::native::container::{cause_text, nanoseconds};
use crate::clock::rfc3339;
use crate::domain::container::{Container, Event, ExitStatus, Health};
use crate::domain::id::{ContainerId, Timestamp};
use crate::domain::image::{self, Image};
use crate::domain::volume::{self, Volume};
use crate::engine::Engine;
use crate::journal::record::{Codec, Context};
use crate::records::Labels;
use crate::signals;

/// Labels of containers that were read for earlier events.
pub(super) type KnownLabels = HashMap<ContainerId, Labels>;

/// Converts a record; `None` for one of another kind, or of a newer daemon. Blocks where labels have to be read.
pub(super) fn convert(engine: &Engine, record: &Record, known: &mut KnownLabels) -> Option<WireEvent> {
    if let Some(id) = Container::id_of(&record.stream) {
        let (context, event) = Container::decode(record).ok()?;
        let mut attributes = labels(engine, &id, known);
        attributes.extend(facts(&event));
        attributes.insert("name".to_owned(), context.name.clone());
        attributes.insert("image".to_owned(), context.image.clone());
        let kind = Kind { kind: CONTAINER, verb: verb(&event), name: event.name() };
        Some(wire_event(record, &context, kind, id.to_string(), attributes))
    } else if let Some(id) = Image::id_of(&record.stream) {
        let (context, event) = Image::decode(record).ok()?;
        let kind = Kind { kind: IMAGE, verb: image_verb(&event), name: event.name() };
        let attributes = image_facts(&context, &event);
        Some(wire_event(record, &context, kind, id.to_string(), attributes))
    } else {
        let name = Volume::id_of(&record.stream)?;
        let (context, event) = Volume::decode(record).ok()?;
        let kind = Kind { kind: VOLUME, verb: volume_verb(&event), name: event.name() };
        let attributes = volume_facts(&context, &event);
        Some(wire_event(record, &context, kind, name.to_string(), attributes))
    }
}

struct Kind {
    kind: &'static str,
    verb: &'static str,
    name: &'static str,
}

fn wire_event(
    record: &Record,
    context: &Context,
    kind: Kind,
    id: String,
    attributes: HashMap<String, String>,
) -> WireEvent {
    WireEvent {
        seq: record.seq,
        time: nanoseconds(Timestamp(record.at)),
        kind: kind.kind.to_owned(),
        verb: kind.verb.to_owned(),
        id,
        attributes,
        actor: context.actor.to_string(),
        operation: context.operation.to_string(),
        name: kind.name.to_owned(),
    }
}

fn image_verb(event: &image::Event) -> &'static str {
    match event {
        image::Event::Added { source: image::Source::Pulled, .. } => "pull",
        image::Event::Added { source: image::Source::Loaded, .. } => "load",
        image::Event::Added { source: image::Source::Imported, .. } => "import",
        image::Event::Tagged { .. } => "tag",
        image::Event::Untagged { .. } => "untag",
        image::Event::Removed => "remove",
    }
}

/// `name` and `image` are the same: a name of the image, with which the filter `image` finds it.
fn image_facts(context: &Context, event: &image::Event) -> HashMap<String, String> {
    let fact = |key: &str, value: String| (key.to_owned(), value);
    let mut facts = HashMap::from([fact("name", context.image.clone()), fact("image", context.image.clone())]);
    match event {
        image::Event::Added { facts: image, names, .. } => {
            facts.extend([fact("digest", image.manifest.to_string()), fact("size", image.size.to_string())]);
            if names.len() > 1 {
                facts.extend([fact("names", names.join(","))]);
            }
        }
        image::Event::Tagged { .. } | image::Event::Untagged { .. } | image::Event::Removed => {}
    }
    facts
}

fn volume_verb(event: &volume::Event) -> &'static str {
    match event {
        volume::Event::Created { .. } => "create",
        volume::Event::RemoveRequested => "removing",
        volume::Event::Removed => "remove",
    }
}

fn volume_facts(context: &Context, event: &volume::Event) -> HashMap<String, String> {
    let mut facts = match event {
        volume::Event::Created { labels, anonymous, .. } => {
            let mut facts: HashMap<String, String> = labels.clone().into_iter().collect();
            facts.insert("anonymous".to_owned(), anonymous.to_string());
            facts
        }
        volume::Event::RemoveRequested | volume::Event::Removed => HashMap::new(),
    };
    facts.extend([("driver".to_owned(), "local".to_owned()), ("name".to_owned(), context.name.clone())]);
    facts
}

/// Labels are no part of events (they may be large): they are added while the container exists.
fn labels(engine: &Engine, id: &ContainerId, known: &mut KnownLabels) -> HashMap<String, String> {
    let read =
        || engine.containers.get(id).and_then(|entity| engine.containers.labels(&entity).ok()).unwrap_or_default();
    let labels = known.entry(*id).or_insert_with(read);
    labels.iter().map(|(key, value)| (key.clone(), value.clone())).collect()
}

/// The reference's verbs for outcomes; intents have the present participle.
fn verb(event: &Event) -> &'static str {
    match event {
        Event::Created { .. } => "create",
        Event::StartRequested { .. } => "starting",
        Event::Started { .. } => "start",
        Event::StartFailed { .. } => "start_failed",
        Event::PauseRequested => "freezing",
        Event::Paused => "pause",
        Event::PauseFailed { .. } => "pause_failed",
        Event::ResumeRequested => "thawing",
        Event::Resumed => "unpause",
        Event::ResumeFailed { .. } => "unpause_failed",
        Event::StopRequested { then_start: false, .. } => "stopping",
        Event::StopRequested { then_start: true, .. } => "restarting",
        Event::Killed { .. } => "kill",
        Event::Exited { .. } => "die",
        Event::OomKilled { .. } => "oom",
        Event::Renamed { .. } => "rename",
        Event::ShimLost { .. } => "shim_lost",
        Event::ShimAdopted { .. } => "shim_adopted",
        Event::UpdateRequested { .. } => "updating",
        Event::Updated => "update",
        Event::UpdateFailed { .. } => "update_failed",
        Event::RestartScheduled { .. } => "restart_scheduled",
        Event::RestartCancelled { .. } => "restart_cancelled",
        Event::HealthChanged { .. } => "health_status",
        Event::ExecStarted { .. } => "exec_start",
        Event::ExecExited { .. } => "exec_die",
        Event::Attached { .. } => "attach",
        Event::Detached { .. } => "detach",
        Event::NetworkAttached { .. } => "network_attach",
        Event::NetworkDetached { .. } => "network_detach",
        Event::RemoveRequested { .. } => "removing",
        Event::RemoveFailed { .. } => "remove_failed",
        Event::Removed => "remove",
    }
}

fn facts(event: &Event) -> Vec<(String, String)> {
    let fact = |key: &str, value: String| (key.to_owned(), value);
    match event {
        Event::Started { process, at, .. } => {
            vec![fact("pid", process.pid.to_string()), fact("startedAt", rfc3339(Some(*at)))]
        }
        // The time of the exit itself: the record's time is that at which the daemon learnt of it.
        Event::Exited { status, at, .. } => {
            let mut facts = vec![fact("finishedAt", rfc3339(Some(*at)))];
            facts.extend(status_facts(*status));
            facts
        }
        Event::ExecStarted { exec, argv, user, tty, detached, .. } => vec![
            fact("execID", exec.to_string()),
            fact("command", argv.clone()),
            fact("user", user.clone()),
            fact("tty", tty.to_string()),
            fact("detached", detached.to_string()),
        ],
        Event::ExecExited { exec, status, at, lasted_ms } => {
            let mut facts = vec![
                fact("execID", exec.to_string()),
                fact("finishedAt", rfc3339(Some(*at))),
                fact("lastedMs", lasted_ms.to_string()),
            ];
            facts.extend(status_facts(*status));
            facts
        }
        Event::Attached { session, stdin, tty } => {
            vec![fact("sessionID", session.to_string()), fact("stdin", stdin.to_string()), fact("tty", tty.to_string())]
        }
        Event::Detached { session, lasted_ms } => {
            vec![fact("sessionID", session.to_string()), fact("lastedMs", lasted_ms.to_string())]
        }
        Event::NetworkAttached { network, addresses, .. } => {
            vec![fact("network", network.clone()), fact("addresses", addresses.join(","))]
        }
        Event::HealthChanged { health, .. } => vec![fact("health", health_word(*health).to_owned())],
        Event::RestartScheduled { attempt, due, .. } => {
            vec![fact("attempt", attempt.to_string()), fact("due", rfc3339(Some(*due)))]
        }
        Event::StartFailed { code, message, .. } => {
            vec![fact("exitCode", code.to_string()), fact("error", message.clone())]
        }
        Event::PauseFailed { message }
        | Event::ResumeFailed { message }
        | Event::UpdateFailed { message }
        | Event::RemoveFailed { message } => vec![fact("error", message.clone())],
        Event::StopRequested { signal, .. } | Event::Killed { signal, .. } => {
            vec![fact("signal", signals::name(signal.0))]
        }
        Event::Renamed { from, .. } => vec![fact("oldName", from.to_string())],
        Event::ShimAdopted { shim, .. } => vec![fact("shimPid", shim.pid.to_string())],
        Event::RemoveRequested { force, volumes } => {
            vec![fact("force", force.to_string()), fact("volumes", volumes.to_string())]
        }
        Event::Created { .. }
        | Event::StartRequested { .. }
        | Event::PauseRequested
        | Event::Paused
        | Event::ResumeRequested
        | Event::Resumed
        | Event::OomKilled { .. }
        | Event::ShimLost { .. }
        | Event::UpdateRequested { .. }
        | Event::Updated
        | Event::RestartCancelled { .. }
        | Event::NetworkDetached { .. }
        | Event::Removed => vec![],
    }
}

fn status_facts(status: ExitStatus) -> Vec<(String, String)> {
    let fact = |key: &str, value: String| (key.to_owned(), value);
    let code = fact("exitCode", status.code().map_or_else(|| "unknown".to_owned(), |code| code.to_string()));
    match status {
        ExitStatus::Code(_) => vec![code],
        ExitStatus::Signal(signal) => vec![code, fact("signal", signals::name(signal.0))],
        ExitStatus::Unknown(cause) => vec![code, fact("cause", cause_text(cause).to_owned())],
    }
}

/// The word for a health in `ps` and `inspect`.
pub(in crate::api::native) fn health_word(health: Health) -> &'static str {
    crate::health::word(health)
}
