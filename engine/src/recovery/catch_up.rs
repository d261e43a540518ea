//! Containers with a state that is older than their files: a damaged store has lost the newest events, or the journal is
//! a copy of an earlier one. In a whole store an intent is durable before its files are written, so newer files prove
//! the loss. The lost part of the history is recorded first; otherwise recovery would end a later run as a remainder of
//! the older one.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use super::history::{Files, FoundStart, Newest, ended};
use super::sweep::has_processes;
use crate::cancel;
use crate::cause::chain;
use crate::clock;
use crate::domain::container::{Cause, Command, Container, Event, ExitStatus, Phase};
use crate::domain::id::{StartId, Timestamp};
use crate::engine::Engine;
use crate::journal::record::Context;
use crate::records::{Candidate, to_reference};

/// The relation of a container's state to its files.
enum Found {
    /// The files show no later start.
    UpToDate,
    /// The process of the recorded run lives, so a file that shows a later start is wrong.
    Disproved { start: StartId, source: PathBuf },
    /// A later start, and the events that are missing in the store.
    Later { start: StartId, shown_by: String, events: Vec<Event> },
    /// A removal is recorded, and processes of a later start live. With the end of the recorded run.
    RemovedAlive { ended: Vec<Event> },
    /// A later start may run. With the end of the recorded run.
    Unknown { problem: String, ended: Vec<Event> },
}

/// Records the lost history of a container. False when recovery must leave the container alone, because processes of a
/// start that the store does not know would be ended.
pub(super) async fn catch_up(engine: &Arc<Engine>, container: &Container, context: &Context) -> bool {
    let (id, name) = (container.id, &container.card.name);
    let comparing = cancel::blocking({
        let (engine, container) = (engine.clone(), container.clone());
        move |_| compare(&engine, &container)
    });
    let found = comparing.await.unwrap_or_else(|panic| Found::Unknown { problem: panic.to_string(), ended: vec![] });
    let of = format!("container {} ({name})", id.short());
    let by_hand = format!(
        "end by hand what runs of it and restart the daemon, or remove it with `isula rm -f {name}`; a start would end it"
    );
    // Commands must not wait for a process that is gone.
    let end = async |events: Vec<Event>| {
        if !events.is_empty()
            && let Err(error) = engine.containers.record_rebuilt(&id, context, &events).await
        {
            engine.node.warn(format!(
                "container {} ({name}): the end of its run is not recorded: {}",
                id.short(),
                chain(&error)
            ));
        }
    };
    match found {
        Found::UpToDate => true,
        Found::Disproved { start, source } => {
            engine.node.warn(format!(
                "{of}: `{}` shows start {}, but the process of an earlier one runs; it is not believed",
                source.display(),
                start.0
            ));
            true
        }
        Found::Later { start, shown_by, events } => {
            let recorded = engine.containers.record_rebuilt(&id, context, &events).await;
            let outcome = match &recorded {
                Ok(()) => format!("start {} is taken from {shown_by}", start.0),
                Err(error) => format!("it cannot be recorded again and is left alone: {}", chain(error)),
            };
            engine.node.warn(format!("{of}: its later history was lost in the store; {outcome}"));
            recorded.is_ok()
        }
        Found::RemovedAlive { ended } => {
            end(ended).await;
            let message =
                "its later history was lost in the store, and processes of a later start live: remove it again";
            engine.node.warn(format!("{of} is not removed: its later history was lost, and it is alive; {by_hand}"));
            let failed = Command::ReportRemoveFailed { message: message.to_owned() };
            engine.containers.report_recorded(&id, context, failed).await;
            false
        }
        Found::Unknown { problem, ended } => {
            end(ended).await;
            engine.node.warn(format!("{of} is left alone, since a later start may run: {problem}; {by_hand}"));
            false
        }
    }
}

/// Blocks on the disk.
fn compare(engine: &Engine, container: &Container) -> Found {
    let bundle = engine.node.bundle(container);
    let candidate =
        Candidate { id: container.id, runtime: container.card.runtime.clone(), path: bundle.path().to_owned() };
    let files = Files::read(engine, &candidate);
    let removing = matches!(container.phase, Phase::Removing(_));
    let lives = container.phase.run().is_some_and(|run| to_reference(run.process).alive());
    match &files.newest {
        Newest::None => Found::UpToDate,
        Newest::Start(found) if found.start <= container.last_start() => Found::UpToDate,
        Newest::Unknown(_) if lives || matches!(container.phase, Phase::Starting(_)) => Found::UpToDate,
        // The removal may end all that has ended; only a life is a reason to ask again.
        Newest::Start(_) | Newest::Unknown(_) if removing && !lives => {
            let state = engine.node.state_dir(container).path().to_owned();
            if has_processes(engine, &Candidate { path: state, ..candidate }) {
                Found::RemovedAlive { ended: end_of_run(container, &files, clock::now()) }
            } else {
                Found::UpToDate
            }
        }
        Newest::Unknown(problem) => {
            Found::Unknown { problem: problem.clone(), ended: end_of_run(container, &files, clock::now()) }
        }
        Newest::Start(found) if lives => Found::Disproved { start: found.start, source: found.source.clone() },
        Newest::Start(found) => {
            let mut newer = files.events(engine, &candidate, found);
            if is_undecided(container) {
                newer.retain(|event| !matches!(event, Event::OomKilled { .. } | Event::Exited { .. }));
            }
            let mut events = closing(container, &files, found, &newer);
            events.extend(newer);
            let problems = files.problems.iter().map(|problem| format!("; {problem}")).collect::<String>();
            let shown_by = format!("`{}`{problems}", found.source.display());
            Found::Later { start: found.start, shown_by, events }
        }
    }
}

/// Whether the decision on the end of a later run is lost with it: a restart, or the container's removal. Its exit record
/// is then left to recovery, which reports it like any other.
fn is_undecided(container: &Container) -> bool {
    container.card.auto_remove || matches!(container.phase, Phase::Restarting(_)) || container.phase.run().is_some()
}

/// The end of the recorded run, whose process is gone; `at` is the latest time of it, where no exit record has it.
fn end_of_run(container: &Container, files: &Files, at: Timestamp) -> Vec<Event> {
    let Some(run) = container.phase.run() else { return vec![] };
    match files.exits.iter().find(|exit| exit.start == run.start) {
        Some(exit) => ended(exit).collect(),
        None => {
            vec![Event::Exited { start: run.start, status: ExitStatus::Unknown(Cause::ShimAndProcessLost), at }]
        }
    }
}

/// The end of what the store last knew of, before the events of the later start.
fn closing(container: &Container, files: &Files, found: &FoundStart, newer: &[Event]) -> Vec<Event> {
    let exit_of = |start| files.exits.iter().find(|exit| exit.start == start);
    let mut events = Vec::new();
    if let Phase::Starting(starting) = &container.phase {
        // Without a record its outcome stays open: the next intent follows it.
        if let Some(exit) = exit_of(starting.start) {
            let (start, process, at) = (starting.start, exit.process, starting.since);
            events.push(Event::Started { start, process, shim: None, at });
            events.extend(ended(exit));
        }
    } else {
        // It ended before the later start at the latest.
        events.extend(end_of_run(container, files, found.at));
    }
    // The one record of networks is the later start's.
    if newer.iter().any(|event| matches!(event, Event::NetworkAttached { .. })) {
        let older: BTreeSet<StartId> = container.networks.iter().map(|attachment| attachment.start).collect();
        events.extend(older.into_iter().map(|start| Event::NetworkDetached { start }));
    }
    events
}
