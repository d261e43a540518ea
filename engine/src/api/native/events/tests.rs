use std::collections::BTreeMap;

use cri_api::isula::v1::Filter;

use super::*;
use crate::config::Config;
use crate::domain::id::{BootId, Digest};
use crate::domain::image::testing::{ID, add};
use crate::domain::volume;
use crate::domain::{container, image};
use crate::journal::record::{Actor, Context};
use crate::spec::Host;

/// The events of a container, an image and a volume that were made and removed.
async fn recorded() -> Vec<WireEvent> {
    let journal = store::Journal::in_memory(store::Options::default()).unwrap();
    let engine = Engine::new(Config::built_in(), Host::probe().unwrap(), BootId::default(), journal);
    let context = Context::new(Actor::Engine);
    let card = crate::domain::container::testing::card();
    let id = crate::domain::container::testing::ID;
    let remove = container::Command::Remove { force: false, volumes: true };
    let removed = container::Command::ReportRemoved;
    // In one step: no effects are left to be done.
    let commands = [container::Command::Create { id, card }, remove, removed];
    engine.containers.turn_all(&id, &context, &commands).await.unwrap();
    let name = "docker.io/library/busybox:latest";
    for command in [
        add(&[name, "other"], 1),
        image::Command::Tag { name: "third".to_owned(), since: 2 },
        image::Command::Untag { name: name.to_owned() },
        image::Command::Remove,
    ] {
        engine.images.ledger().turn(&ID, &context, &command).await.unwrap();
    }
    let labels = BTreeMap::from([("tier".to_owned(), "db".to_owned())]);
    let create = volume::Command::Create { labels, anonymous: false, at: Timestamp(1) };
    for command in [create, volume::Command::Remove, volume::Command::ReportRemoved] {
        engine.volumes.ledger().turn(&"data".parse().unwrap(), &context, &command).await.unwrap();
    }
    engine
        .journal
        .read(1, 100)
        .unwrap()
        .iter()
        .filter_map(|record| convert(&engine, record, &mut KnownLabels::new()))
        .collect()
}

fn wanted(filters: &[(&str, &str)]) -> Result<Wanted, ApiError> {
    let filters = filters.iter().map(|(key, value)| Filter { key: (*key).to_owned(), value: (*value).to_owned() });
    Wanted::parse(&EventsRequest { filters: filters.collect(), ..EventsRequest::default() })
}

#[tokio::test]
async fn images_and_volumes_have_events_like_containers() {
    let events = recorded().await;
    let words: Vec<_> = events.iter().map(|event| format!("{} {} {}", event.kind, event.verb, event.name)).collect();
    assert_eq!(
        words,
        [
            "container create Created",
            "container removing RemoveRequested",
            "container remove Removed",
            "image pull ImagePulled",
            "image tag ImageTagged",
            "image untag ImageUntagged",
            "image remove ImageRemoved",
            "volume create VolumeCreated",
            "volume removing VolumeRemoveRequested",
            "volume remove VolumeRemoved",
        ]
    );
    assert_eq!(events[1].attributes["volumes"], "true");
    let pulled = &events[3];
    assert_eq!(pulled.id, ID.to_string());
    assert_eq!(pulled.attributes["name"], "docker.io/library/busybox:latest");
    assert_eq!(pulled.attributes["image"], pulled.attributes["name"]);
    assert_eq!(pulled.attributes["names"], "docker.io/library/busybox:latest,other");
    assert_eq!(pulled.attributes["digest"], Digest([8; 32]).to_string());
    assert_eq!(pulled.attributes["size"], (1_u64 << 30).to_string());
    // The image's name is in its last event, too.
    assert_eq!(events[6].attributes["name"], "other");
    assert_eq!((events[7].id.as_str(), events[7].attributes["tier"].as_str()), ("data", "db"));
    assert_eq!(events[9].attributes["name"], "data");
}

#[tokio::test]
async fn filters_select_by_type_image_and_volume() {
    let events = recorded().await;
    let short = ID.short();
    for (filters, count) in [
        (vec![], 10),
        (vec![("type", "image")], 4),
        (vec![("type", "image"), ("type", "volume")], 7),
        (vec![("type", "volume"), ("event", "remove")], 1),
        (vec![("event", "remove")], 3),
        (vec![("volume", "data")], 3),
        (vec![("volume", "dat")], 0),
        (vec![("image", "docker.io/library/busybox:latest")], 2),
        (vec![("image", short.as_str())], 4),
        (vec![("container", "web")], 3),
        (vec![("container", "data")], 0),
        (vec![("label", "tier=db")], 1),
    ] {
        let wanted = wanted(&filters).unwrap();
        assert_eq!(events.iter().filter(|event| wanted.matches(event)).count(), count, "{filters:?}");
    }
    for bad in [("type", "network"), ("colour", "red")] {
        assert!(wanted(&[bad]).is_err(), "{bad:?}");
    }
}

/// All events that a client gets; panics unless the stream ends.
async fn streamed(engine: &Arc<Engine>, request: EventsRequest) -> Vec<WireEvent> {
    use tokio_stream::StreamExt as _;
    let native = Native::new(engine.clone());
    let stream = native.stream_events(request).unwrap().map(Result::unwrap).collect::<Vec<_>>();
    tokio::time::timeout(std::time::Duration::from_secs(60), stream).await.expect("the stream ends")
}

#[tokio::test]
async fn lost_events_are_a_gap_despite_filters() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("journal");
    let options = store::Options { hot_window: 10, archive_chunk: 10, ..store::Options::default() };
    let open = || store::Journal::open(&dir, options.clone()).unwrap().journal;
    let archived = || {
        let entries = std::fs::read_dir(dir.join("archive")).into_iter().flatten();
        let mut found: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
        found.retain(|path| path.extension().is_some_and(|it| it == "seg"));
        found.sort();
        found
    };
    let first = engine_with(open());
    let context = Context::new(Actor::Engine);
    while archived().len() < 2 {
        let number = first.journal.last();
        let create = volume::Command::Create { labels: BTreeMap::new(), anonymous: false, at: Timestamp(1) };
        first.volumes.ledger().turn(&format!("v{number}").parse().unwrap(), &context, &create).await.unwrap();
    }
    first.journal.close().await;
    std::fs::remove_file(&archived()[0]).unwrap();

    let engine = engine_with(open());
    let last = engine.journal.last();
    let every = streamed(&engine, EventsRequest { since_seq: 1, ..EventsRequest::default() }).await;
    let gap = &every[0];
    assert_eq!((gap.kind.as_str(), gap.verb.as_str(), gap.id.as_str(), gap.seq), ("journal", "gap", "1-10", 1));
    assert_eq!((gap.attributes["cause"].as_str(), gap.time), ("missing", every[1].time));
    assert_eq!(every[1..].iter().map(|event| event.seq).collect::<Vec<_>>(), (11..=last).collect::<Vec<_>>());
    // Without a first number, all events.
    assert_eq!(streamed(&engine, EventsRequest::default()).await.len(), every.len());
    let filter = Filter { key: "volume".to_owned(), value: "v20".to_owned() };
    let filtered = EventsRequest { filters: vec![filter], ..EventsRequest::default() };
    assert_eq!(streamed(&engine, filtered).await.iter().map(|event| event.seq).collect::<Vec<_>>(), [1, 21]);
    // A request for a range without gaps gets no gap.
    let whole = EventsRequest { since_seq: 11, until_seq: 12, ..EventsRequest::default() };
    assert_eq!(streamed(&engine, whole).await.len(), 2);
    let later = EventsRequest { since_time: every[1].time + 1, ..EventsRequest::default() };
    assert!(streamed(&engine, later).await.iter().all(|event| event.kind == "volume"));
    let inside = EventsRequest { since_seq: 3, until_seq: 5, ..EventsRequest::default() };
    assert_eq!(streamed(&engine, inside).await.iter().map(|event| event.id.as_str()).collect::<Vec<_>>(), ["3-5"]);
    assert!(engine.node.warnings().iter().any(|warning| warning.contains("events 1 to 10 are not in the journal")));
}

/// As after a repair that skipped numbers, with no event behind them yet.
#[tokio::test]
async fn a_stream_ends_after_a_gap_at_the_end() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("journal");
    let open = || store::Journal::open(&dir, store::Options::default()).unwrap();
    let first = engine_with(open().journal);
    let create = volume::Command::Create { labels: BTreeMap::new(), anonymous: false, at: Timestamp(1) };
    first.volumes.ledger().turn(&"data".parse().unwrap(), &Context::new(Actor::Engine), &create).await.unwrap();
    first.journal.close().await;
    std::fs::write(dir.join("db"), b"").unwrap();
    let opened = open();
    assert!(opened.report.lost, "{:?}", opened.report);
    let engine = engine_with(opened.journal);
    let events = streamed(&engine, EventsRequest { since_seq: 1, ..EventsRequest::default() }).await;
    assert_eq!(events.iter().map(|event| event.verb.as_str()).collect::<Vec<_>>(), ["gap"]);
    assert_eq!(events[0].attributes["last"], engine.journal.last().to_string());
    assert_eq!(events[0].attributes["cause"], "skipped");
}

fn engine_with(journal: store::Journal) -> Arc<Engine> {
    Engine::new(Config::built_in(), Host::probe().unwrap(), BootId::default(), journal)
}
