//! From the store to the projection: rows first, then the tail of the journal. A row that cannot be read is set aside,
//! not deleted.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use migrations::{MigrateError, Outcome};
use store::{Journal, OpenReport, Opened, Options, StreamId};

use crate::cause::chain;
use crate::clock;
use crate::config::Config;
use crate::engine::Engine;
use crate::layout::Layout;
use crate::node::Trust;
use crate::panics::Opening;
use crate::spec::Host;

/// Opens the store, moves it forward if it is of an older format, and fills the projection.
pub(super) async fn open(config: Config, host: Host) -> anyhow::Result<Arc<Engine>> {
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
    warn_of_damage(&engine, &report);
    let mut trust = trust(&report, !behind.is_empty());
    // The journal is made before the first container: containers without a journal are a loss, not a first start. The
    // same is true when the graph's file system is not mounted: then the state directories show it.
    let roots = [engine.node.layout.engines(), engine.node.layout.state.clone()];
    if !existed && trust == Trust::Whole && roots.iter().any(|root| crate::recovery::has_containers(root)) {
        engine
            .node
            .warn("the journal is gone though there are containers; they are put together from their files".to_owned());
        trust = Trust::Partial;
    }
    for row in &rows {
        // Set aside, not deleted: its row and its files stay where they are.
        let problem = match engine.ledgers().iter().find(|ledger| ledger.has(&row.stream)) {
            Some(ledger) => ledger.restore_row(row).err().map(|error| {
                format!("the record of {} `{}` cannot be used: {}", ledger.noun(), row.stream, chain(&error))
            }),
            None => Some(format!("the record `{}` is of a kind that this daemon does not know", row.stream)),
        };
        if let Some(problem) = problem {
            engine.node.warn(problem);
            if trust == Trust::Whole {
                trust = Trust::Partial;
            }
        }
    }
    engine.node.settle_trust(trust);
    replay_behind(&engine, &behind);
    for (stream, _) in &report.uncertain {
        engine.node.warn(format!("the state of `{stream}` is uncertain after a repair; it is compared with the world"));
    }
    Ok(engine)
}

/// How far the restored states can be trusted. `behind`: there are rows that older events have to bring up to date.
fn trust(report: &OpenReport, behind: bool) -> Trust {
    let missing = report.lost
        || report.set_aside.is_some()
        || !report.uncertain.is_empty()
        || !report.gaps.is_empty()
        // Without such rows, missing archives are a loss of history alone.
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

fn warn_of_damage(engine: &Engine, report: &OpenReport) {
    if let Some((from, to)) = report.cut {
        engine
            .node
            .warn(format!("the journal's torn end was cut: no acknowledgement of events {from} to {to} is noted"));
    }
    for (from, to) in &report.gaps {
        engine.node.warn(format!("the journal lacks events {from} to {to}: they are lost, their numbers stay unused"));
    }
    for (from, to) in &report.missing {
        engine
            .node
            .warn(format!("old events {from} to {to} are missing: put their archive files back, or do without them"));
    }
    if report.format_rebuilt {
        engine.node.warn("the journal's file `format` was damaged and was written anew".to_owned());
    }
    if let Some(path) = &report.set_aside {
        engine.node.warn(format!("the damaged store was set aside at `{}`", path.display()));
    }
    if report.lost {
        engine.node.warn("the store was damaged and put together from what could be read; see the log".to_owned());
    }
    for path in &report.unreadable_archives {
        engine.node.warn(format!(
            "the archive `{}` cannot be read, or is not the one that was written: restore it, or move it away to do without",
            path.display()
        ));
    }
    if let Some(newer) = &report.read_only {
        engine.node.warn(format!(
            "the store has format {}, this daemon knows {}: everything can be read, nothing changed; install the newer isulad",
            newer.found, newer.known
        ));
    }
}

/// Brings rows up to date with the events that follow them.
fn replay_behind(engine: &Engine, behind: &[(StreamId, u64)]) {
    for (stream, last) in behind {
        for ledger in engine.ledgers().iter().filter(|ledger| ledger.has(stream)) {
            ledger.replay(stream, *last);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::domain::id::{Digest, Timestamp, VolumeName};
    use crate::domain::image::Image;
    use crate::domain::image::testing::{ID, add};
    use crate::domain::volume::Volume;
    use crate::domain::{image, volume};
    use crate::journal::record::{Actor, Codec, Context};

    fn config(root: &Path) -> Config {
        let (graph, state) = (root.join("graph"), root.join("state"));
        std::fs::create_dir_all(&graph).unwrap();
        Config { graph, state, ..Config::built_in() }
    }

    async fn reopened(root: &Path) -> Arc<Engine> {
        open(config(root), Host::probe().unwrap()).await.unwrap()
    }

    fn of_volumes(engine: &Engine) -> Vec<(Volume, u64)> {
        engine.volumes.ledger().snapshot().values().map(|entity| (entity.state.clone(), entity.seq)).collect()
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
    async fn images_and_volumes_are_restored() {
        let root = tempfile::tempdir().unwrap();
        let context = Context::new(Actor::Engine);
        let engine = reopened(root.path()).await;
        engine.images.ledger().turn(&ID, &context, &add(&["a", "b"], 7)).await.unwrap();
        engine.images.ledger().save_use(&ID, Timestamp(1 << 60)).await.unwrap();
        engine.images.ledger().turn(&Digest([9; 32]), &context, &add(&["a"], 8)).await.unwrap();
        engine.images.ledger().turn(&Digest([1; 32]), &context, &add(&["x"], 40)).await.unwrap();
        engine.images.ledger().turn(&Digest([1; 32]), &context, &image::Command::Remove).await.unwrap();
        let labels = BTreeMap::from([("k".to_owned(), "v".to_owned())]);
        let create = volume::Command::Create { labels, anonymous: true, at: Timestamp(3) };
        engine.volumes.ledger().turn(&name("data"), &context, &create).await.unwrap();
        engine.volumes.ledger().turn(&name("going"), &context, &create).await.unwrap();
        engine.volumes.ledger().turn(&name("going"), &context, &volume::Command::Remove).await.unwrap();
        let images: Vec<Image> =
            engine.images.ledger().snapshot().values().map(|entity| entity.state.clone()).collect();
        let volumes = of_volumes(&engine);
        engine.journal.close().await;
        drop(engine);

        let engine = reopened(root.path()).await;
        assert_eq!(engine.node.trust(), Trust::Whole);
        let restored: Vec<Image> =
            engine.images.ledger().snapshot().values().map(|entity| entity.state.clone()).collect();
        assert_eq!(restored, images);
        assert_eq!(engine.images.ledger().get(&ID).unwrap().state.facts.used_at, Timestamp(1 << 60));
        assert_eq!(engine.images.ledger().named("a").unwrap().state.id, Digest([9; 32]));
        assert_eq!(of_volumes(&engine), volumes);
        assert_eq!(engine.volumes.ledger().get(&name("going")).unwrap().state.phase, volume::Phase::Removing);
    }

    #[tokio::test]
    async fn rows_behind_their_events_are_replayed() {
        let root = tempfile::tempdir().unwrap();
        let context = Context::new(Actor::Engine);
        let engine = reopened(root.path()).await;
        engine.images.ledger().turn(&ID, &context, &add(&["a"], 7)).await.unwrap();
        let tagged = image::Event::Tagged { name: "b".to_owned(), since: 9 };
        let events = vec![Image::encode(&context, &tagged)];
        append(&engine, Image::stream(&ID), 1, events, store::Row::Keep).await;
        let create = volume::Command::Create { labels: BTreeMap::new(), anonymous: false, at: Timestamp(3) };
        engine.volumes.ledger().turn(&name("data"), &context, &create).await.unwrap();
        let events = vec![Volume::encode(&context, &volume::Event::RemoveRequested)];
        append(&engine, Volume::stream(&name("data")), 1, events, store::Row::Keep).await;
        engine.journal.close().await;
        drop(engine);

        let engine = reopened(root.path()).await;
        let image = engine.images.ledger().named("b").unwrap().state.clone();
        assert_eq!((image.id, image.version, image.names.len()), (ID, 2, 2));
        assert_eq!(engine.images.ledger().next_since(), 10);
        let volume = engine.volumes.ledger().get(&name("data")).unwrap().state.clone();
        assert_eq!((volume.phase, volume.version), (volume::Phase::Removing, 2));
    }

    #[tokio::test]
    async fn an_unusable_row_is_set_aside_with_a_warning() {
        let root = tempfile::tempdir().unwrap();
        let context = Context::new(Actor::Engine);
        let engine = reopened(root.path()).await;
        engine.images.ledger().turn(&ID, &context, &add(&["a"], 7)).await.unwrap();
        let torn = || store::Row::Put { schema: 1, bytes: vec![1, 2, 3] };
        append(&engine, Image::stream(&Digest([9; 32])), 0, vec![], torn()).await;
        append(&engine, Volume::stream(&name("data")), 0, vec![], torn()).await;
        engine.journal.close().await;
        drop(engine);

        let engine = reopened(root.path()).await;
        assert_eq!(engine.node.trust(), Trust::Partial);
        assert_eq!(engine.images.ledger().snapshot().len(), 1);
        let warnings = engine.node.warnings();
        for prefix in ["the record of image", "the record of volume `4/data`"] {
            assert!(warnings.iter().any(|warning| warning.starts_with(prefix)), "{warnings:?}");
        }
    }
}
