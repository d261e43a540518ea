//! From the store to the projection: rows first, then the tail of the journal, and nothing is dropped because it
//! cannot be read.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use migrations::{MigrateError, Outcome};
use store::{Journal, OpenReport, Opened, Options, Record, SavedRow, StreamId};

use crate::clock;
use crate::config::Config;
use crate::domain::container::{self, Container};
use crate::domain::id::{ContainerId, Digest, VolumeName};
use crate::domain::image::{self, Image};
use crate::domain::volume::{self, Volume};
use crate::engine::{Engine, Trust};
use crate::journal::record;
use crate::layout::Layout;
use crate::panics::Opening;
use crate::spec::Host;

/// Opens the store, moves it forward if it is of an older format, and fills the projection.
pub async fn open(config: Config, host: Host) -> anyhow::Result<Arc<Engine>> {
    let boot = clock::boot_id().context("cannot read the boot id")?;
    let path = Layout { graph: config.graph.clone(), state: config.state.clone() }.journal();
    let existed = path.exists();
    let opening = tokio::task::spawn_blocking(move || {
        let _opening = Opening::new();
        open_store(&path, boot.0)
    });
    let opened = opening.await.context("the store could not be opened")??;
    let Opened { journal, rows, behind, report } = opened;
    let engine = Engine::new(config, host, boot, journal);
    tell(&engine, &report);
    let mut trust = trust(&report, !behind.is_empty());
    // The journal is made before the first container is: one without the other is a loss, not a beginning. So it is when
    // the graph's file system is not mounted: then the state directories tell.
    let roots = [engine.layout.engines(), engine.layout.state.clone()];
    if !existed && trust == Trust::Whole && roots.iter().any(|root| crate::recovery::has_containers(root)) {
        engine
            .warn("the journal is gone though there are containers; they are put together from their files".to_owned());
        trust = Trust::Partial;
    }
    for row in &rows {
        // Set aside, not deleted: its row and its files stay where they are.
        if let Err(error) = restore_row(&engine, row) {
            let whose = whose(&row.stream);
            engine.warn(format!("{whose} record cannot be used: {}", crate::cause::chain(&error)));
            if trust == Trust::Whole {
                trust = Trust::Partial;
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

/// `behind`: there are states that older events have to bring up to date.
fn trust(report: &OpenReport, behind: bool) -> Trust {
    let missing = report.lost
        || report.set_aside.is_some()
        || !report.uncertain.is_empty()
        || !report.gaps.is_empty()
        // Without such states, what is lost there is history alone.
        || (behind && !(report.unreadable_archives.is_empty() && report.missing.is_empty()));
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
        engine.warn(format!("the journal's torn end was cut: no acknowledgement of events {from} to {to} is noted"));
    }
    for (from, to) in &report.gaps {
        engine.warn(format!("the journal lacks events {from} to {to}: they are lost, their numbers stay unused"));
    }
    for (from, to) in &report.missing {
        engine.warn(format!("old events {from} to {to} are missing: put their archive files back, or do without them"));
    }
    if report.format_rebuilt {
        engine.warn("the journal's file `format` was damaged and was written anew".to_owned());
    }
    if let Some(path) = &report.set_aside {
        engine.warn(format!("the damaged store was set aside at `{}`", path.display()));
    }
    if report.lost {
        engine.warn("the store was damaged and put together from what could be read; see the log".to_owned());
    }
    for path in &report.unreadable_archives {
        engine.warn(format!(
            "the archive `{}` cannot be read, or is not the one that was written: restore it, or move it away to do without",
            path.display()
        ));
    }
    if let Some(newer) = &report.read_only {
        engine.warn(format!(
            "the store has format {}, this daemon knows {}: everything can be read, nothing changed; install the newer isulad",
            newer.found, newer.known
        ));
    }
}

fn restore_row(engine: &Engine, row: &SavedRow) -> Result<(), record::DecodeError> {
    match row.stream.kind() {
        record::IMAGE => engine.images.restore(record::image::decode_row(row)?, row.seq),
        record::VOLUME => engine.volumes.records.restore(record::volume::decode_row(row)?, row.seq),
        // A container, or of a kind that is not known, which is an error there.
        _ => engine.containers.restore(record::decode_row(row)?, row.seq),
    }
    Ok(())
}

fn whose(stream: &StreamId) -> &'static str {
    match stream.kind() {
        record::IMAGE => "an image's",
        record::VOLUME => "a volume's",
        _ => "a container's",
    }
}

/// Streams whose row is older than their last event: the events are folded in.
fn replay_behind(engine: &Engine, behind: &[(StreamId, u64)]) {
    for (stream, last) in behind {
        if let Some(id) = record::container_of(stream) {
            replay_container(engine, (stream, *last), &id);
        } else if let Some(id) = record::image_of(stream) {
            replay_image(engine, (stream, *last), &id);
        } else if let Some(name) = record::volume_of(stream) {
            replay_volume(engine, (stream, *last), &name);
        }
    }
}

fn replay_container(engine: &Engine, stream: (&StreamId, u64), id: &ContainerId) {
    let before = engine.containers.get(id);
    let known = before.as_ref().map(|entity| (entity.container.clone(), entity.seq));
    let set_version = |container: &mut Container, version| container.version = version;
    match replay(engine, stream, known, record::decode, container::evolve, set_version) {
        Some((Some(container), seq)) => engine.containers.restore(container, seq),
        Some((None, _)) => engine.containers.forget(id),
        None => {}
    }
}

fn replay_image(engine: &Engine, stream: (&StreamId, u64), id: &Digest) {
    let known = engine.images.get(id).map(|entity| (entity.image.clone(), entity.seq));
    let set_version = |image: &mut Image, version| image.version = version;
    match replay(engine, stream, known, record::image::decode, image::evolve, set_version) {
        Some((Some(image), seq)) => engine.images.restore(image, seq),
        Some((None, _)) => engine.images.forget(id),
        None => {}
    }
}

fn replay_volume(engine: &Engine, stream: (&StreamId, u64), name: &VolumeName) {
    let known = engine.volumes.records.get(name).map(|entity| (entity.volume.clone(), entity.seq));
    let set_version = |volume: &mut Volume, version| volume.version = version;
    match replay(engine, stream, known, record::volume::decode, volume::evolve, set_version) {
        Some((Some(volume), seq)) => engine.volumes.records.restore(volume, seq),
        Some((None, _)) => engine.volumes.records.forget(name),
        None => {}
    }
}

/// The state after a stream's later events, and the last one's number; `None` when they cannot be read.
fn replay<S, E>(
    engine: &Engine,
    (stream, last): (&StreamId, u64),
    known: Option<(S, u64)>,
    decode: impl Fn(&Record) -> Result<(record::Context, E), record::DecodeError>,
    evolve: impl Fn(Option<S>, &E) -> Option<S>,
    set_version: impl Fn(&mut S, u64),
) -> Option<(Option<S>, u64)> {
    let (mut state, mut seq) = known.map_or((None, 0), |(state, seq)| (Some(state), seq));
    let Some(rest) = read_stream(engine, stream, seq + 1) else {
        engine.warn(format!("the events of `{stream}` cannot be read; its state may be old"));
        return None;
    };
    // Versions follow each other, up to the one that the store counted.
    let whole = rest.windows(2).all(|pair| pair[0].version + 1 == pair[1].version);
    if !whole || rest.last().is_none_or(|record| record.version != last) {
        engine.warn(format!("events of `{stream}` are lost; its state may be old, and is compared with the world"));
    }
    for record in rest {
        match decode(&record) {
            Ok((_, event)) => state = evolve(state, &event),
            Err(error) => engine.warn(format!("an event cannot be used: {}", crate::cause::chain(&error))),
        }
        // Also past an event that cannot be used: the store counts it.
        if let Some(state) = &mut state {
            set_version(state, record.version);
        }
        seq = record.seq;
    }
    Some((state, seq))
}

fn read_stream(engine: &Engine, stream: &StreamId, from: u64) -> Option<Vec<Record>> {
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::domain::id::Timestamp;
    use crate::domain::image::tests::{ID, add};
    use crate::journal::record::{Actor, Context};

    fn config(root: &Path) -> Config {
        let (graph, state) = (root.join("graph"), root.join("state"));
        std::fs::create_dir_all(&graph).unwrap();
        Config { graph, state, ..Config::built_in() }
    }

    async fn reopened(root: &Path) -> Arc<Engine> {
        open(config(root), Host::probe().unwrap()).await.unwrap()
    }

    fn name(text: &str) -> VolumeName {
        text.parse().unwrap()
    }

    async fn append(engine: &Engine, stream: StreamId, expected: u64, events: Vec<store::NewEvent>, row: store::Row) {
        let append =
            store::Append { stream, expected, at: 1, urgency: store::Urgency::Ordinary, events, row, on_durable: None };
        engine.journal.append(append).await.unwrap();
    }

    #[tokio::test]
    async fn images_and_volumes_are_there_again() {
        let root = tempfile::tempdir().unwrap();
        let context = Context::new(Actor::Engine);
        let engine = reopened(root.path()).await;
        engine.turn_image(ID, &context, &add(&["a", "b"], 7)).await.unwrap();
        engine.save_image_row(ID, Timestamp(1 << 60)).await.unwrap();
        engine.turn_image(Digest([9; 32]), &context, &add(&["a"], 8)).await.unwrap();
        engine.turn_image(Digest([1; 32]), &context, &add(&["x"], 40)).await.unwrap();
        engine.turn_image(Digest([1; 32]), &context, &image::Command::Remove).await.unwrap();
        let labels = BTreeMap::from([("k".to_owned(), "v".to_owned())]);
        let create = volume::Command::Create { labels, anonymous: true, at: Timestamp(3) };
        engine.turn_volume(&name("data"), &context, &create).await.unwrap();
        engine.turn_volume(&name("going"), &context, &create).await.unwrap();
        engine.turn_volume(&name("going"), &context, &volume::Command::Remove).await.unwrap();
        let images: Vec<Image> = engine.images.snapshot().iter().map(|entity| entity.image.clone()).collect();
        let volumes = engine.volumes.records.snapshot();
        engine.journal.close().await;
        drop(engine);

        let engine = reopened(root.path()).await;
        assert_eq!(engine.trust(), Trust::Whole);
        let restored: Vec<Image> = engine.images.snapshot().iter().map(|entity| entity.image.clone()).collect();
        assert_eq!(restored, images);
        assert_eq!(engine.images.get(&ID).unwrap().image.facts.used_at, Timestamp(1 << 60));
        assert_eq!(engine.images.named("a").unwrap().image.id, Digest([9; 32]));
        assert_eq!(engine.volumes.records.snapshot(), volumes);
        assert_eq!(engine.volumes.records.get(&name("going")).unwrap().volume.phase, volume::Phase::Removing);
    }

    #[tokio::test]
    async fn what_is_behind_its_events_is_brought_forward() {
        let root = tempfile::tempdir().unwrap();
        let context = Context::new(Actor::Engine);
        let engine = reopened(root.path()).await;
        engine.turn_image(ID, &context, &add(&["a"], 7)).await.unwrap();
        let tagged = image::Event::Tagged { name: "b".to_owned(), since: 9 };
        let events = vec![record::image::encode(&context, &tagged)];
        append(&engine, record::image_stream(&ID), 1, events, store::Row::Keep).await;
        let create = volume::Command::Create { labels: BTreeMap::new(), anonymous: false, at: Timestamp(3) };
        engine.turn_volume(&name("data"), &context, &create).await.unwrap();
        let events = vec![record::volume::encode(&context, &volume::Event::RemoveRequested)];
        append(&engine, record::volume_stream(&name("data")), 1, events, store::Row::Keep).await;
        engine.journal.close().await;
        drop(engine);

        let engine = reopened(root.path()).await;
        let image = engine.images.named("b").unwrap().image.clone();
        assert_eq!((image.id, image.version, image.names.len()), (ID, 2, 2));
        assert_eq!(engine.images.next_since(), 10);
        let volume = engine.volumes.records.get(&name("data")).unwrap().volume.clone();
        assert_eq!((volume.phase, volume.version), (volume::Phase::Removing, 2));
    }

    #[tokio::test]
    async fn a_row_that_cannot_be_used_is_set_aside_and_told() {
        let root = tempfile::tempdir().unwrap();
        let context = Context::new(Actor::Engine);
        let engine = reopened(root.path()).await;
        engine.turn_image(ID, &context, &add(&["a"], 7)).await.unwrap();
        let torn = || store::Row::Put { schema: 1, bytes: vec![1, 2, 3] };
        append(&engine, record::image_stream(&Digest([9; 32])), 0, vec![], torn()).await;
        append(&engine, record::volume_stream(&name("data")), 0, vec![], torn()).await;
        engine.journal.close().await;
        drop(engine);

        let engine = reopened(root.path()).await;
        assert_eq!(engine.trust(), Trust::Partial);
        assert_eq!(engine.images.snapshot().len(), 1);
        let warnings = engine.warnings();
        for whose in ["an image's record", "a volume's record"] {
            assert!(warnings.iter().any(|warning| warning.starts_with(whose)), "{warnings:?}");
        }
    }
}
