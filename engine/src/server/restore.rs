//! From the store to the projection: rows first, then the tail of the journal, and nothing is dropped because it
//! cannot be read.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use migrations::{MigrateError, Outcome};
use store::{Journal, OpenReport, Opened, Options};

use crate::clock;
use crate::config::Config;
use crate::domain::container::{Container, evolve};
use crate::domain::id::ContainerId;
use crate::engine::{Engine, Trust};
use crate::journal::record;
use crate::layout::Layout;
use crate::spec::Host;

/// Opens the store, moves it forward if it is of an older format, and fills the projection.
pub async fn open(config: Config, host: Host) -> anyhow::Result<Arc<Engine>> {
    let boot = clock::boot_id().context("cannot read the boot id")?;
    let path = Layout { graph: config.graph.clone(), state: config.state.clone() }.journal();
    let existed = path.exists();
    let opening = tokio::task::spawn_blocking(move || open_store(&path, boot.0));
    let opened = opening.await.context("the store could not be opened")??;
    let Opened { journal, rows, behind, report } = opened;
    let engine = Engine::new(config, host, boot, journal);
    tell(&engine, &report);
    let mut trust = trust(&report);
    // The journal is made before the first container is: one without the other is a loss, not a beginning.
    if !existed && trust == Trust::Whole && crate::recovery::has_bundles(&engine.layout.engines()) {
        engine
            .warn("the journal is gone though there are containers; they are put together from their files".to_owned());
        trust = Trust::Partial;
    }
    for row in &rows {
        match record::decode_row(row) {
            Ok(container) => engine.containers.restore(container, row.seq),
            // Set aside, not deleted: its row and its files stay where they are.
            Err(error) => {
                engine.warn(format!("a container's record cannot be used: {}", crate::cause::chain(&error)));
                if trust == Trust::Whole {
                    trust = Trust::Partial;
                }
            }
        }
    }
    let _ = engine.trust.set(trust);
    replay_behind(&engine, &behind);
    for (stream, _) in &report.uncertain {
        engine.warn(format!("the state of `{stream}` is uncertain after a repair; it is compared with the world"));
    }
    Ok(engine)
}

fn trust(report: &OpenReport) -> Trust {
    let missing = report.lost
        || report.set_aside.is_some()
        || !report.uncertain.is_empty()
        || !report.gaps.is_empty()
        || !report.unreadable_archives.is_empty();
    match (&report.read_only, missing) {
        (Some(_), _) => Trust::ReadOnly,
        (None, true) => Trust::Partial,
        (None, false) => Trust::Whole,
    }
}

fn open_store(path: &Path, boot: [u8; 16]) -> anyhow::Result<Opened> {
    match migrations::migrate(path) {
        Ok(Outcome::Current | Outcome::Absent) => {}
        Ok(outcome) => tracing::info!(?outcome, "the store was moved to this version's format"),
        // Served read-only below.
        Err(MigrateError::Newer { .. }) => {}
        Err(error) => return Err(error).with_context(|| format!("cannot move the store `{}` forward", path.display())),
    }
    let options = Options { boot, format: migrations::FORMAT, ..Options::default() };
    Journal::open(path, options).with_context(|| format!("cannot open the store `{}`", path.display()))
}

fn tell(engine: &Engine, report: &OpenReport) {
    if let Some((from, to)) = report.cut {
        engine.warn(format!("the journal's torn end was cut: events {from} to {to} were never acknowledged"));
    }
    for (from, to) in &report.gaps {
        engine.warn(format!("the journal lacks events {from} to {to}"));
    }
    if let Some(path) = &report.set_aside {
        engine.warn(format!("the damaged store was set aside at `{}`", path.display()));
    }
    if report.lost {
        engine.warn("the store was damaged and put together from what could be read; see the log".to_owned());
    }
    for path in &report.unreadable_archives {
        engine.warn(format!("the archive `{}` cannot be read", path.display()));
    }
    if let Some(newer) = &report.read_only {
        engine.warn(format!(
            "the store has format {}, this daemon knows {}: everything can be read, nothing changed; install the newer isulad",
            newer.found, newer.known
        ));
    }
}

/// Streams whose row is older than their last event: the events are folded in.
fn replay_behind(engine: &Engine, behind: &[(store::StreamId, u64)]) {
    for (stream, _) in behind {
        let Some(id) = record::container_of(stream) else { continue };
        let before = engine.containers.get(&id);
        let mut container = before.as_ref().map(|entity| entity.container.clone());
        let mut seq = before.as_ref().map_or(0, |entity| entity.seq);
        let Some(rest) = read_stream(engine, stream, seq + 1) else {
            engine.warn(format!("the events of `{stream}` cannot be read; its state may be old"));
            continue;
        };
        for record in rest {
            match record::decode(&record) {
                Ok((_, event)) => container = evolve(container, &event),
                Err(error) => engine.warn(format!("an event cannot be used: {}", crate::cause::chain(&error))),
            }
            // Also past an event that cannot be used: the store counts it.
            if let Some(container) = &mut container {
                container.version = record.version;
            }
            seq = record.seq;
        }
        replace(engine, &id, container, seq);
    }
}

fn replace(engine: &Engine, id: &ContainerId, container: Option<Container>, seq: u64) {
    match container {
        Some(container) => engine.containers.restore(container, seq),
        None => engine.containers.forget(id),
    }
}

fn read_stream(engine: &Engine, stream: &store::StreamId, from: u64) -> Option<Vec<store::Record>> {
    const CHUNK: usize = 1024;
    let mut found = Vec::new();
    let mut next = from.max(engine.journal.first());
    loop {
        let records = engine.journal.read(next, CHUNK).ok()?;
        let Some(last) = records.last() else { return Some(found) };
        next = last.seq + 1;
        found.extend(records.into_iter().filter(|record| record.stream == *stream));
    }
}
