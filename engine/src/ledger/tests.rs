use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use futures_util::FutureExt;
use store::{Append, Journal};

use super::*;
use crate::domain::container::testing::card;
use crate::domain::container::{self, Card, Command, Container, Event, Phase};
use crate::domain::id::{ContainerId, Digest, Name, Timestamp};
use crate::domain::image::testing::{ID, add, facts};
use crate::domain::image::{self, Image};
use crate::journal::record::{Actor, Codec};

fn journal() -> Journal {
    Journal::in_memory(store::Options::default()).unwrap()
}

fn ledger<A: Recorded>() -> (Journal, Ledger<A>) {
    let journal = journal();
    (journal.clone(), Ledger::new(journal, Arc::default()))
}

fn context() -> Context {
    Context::new(Actor::Engine)
}

fn create(byte: u8) -> (ContainerId, Command) {
    let card = Card { name: format!("c{byte}").parse().unwrap(), image: "none".into(), ..card() };
    let id = ContainerId::from_bytes([byte; 32]);
    (id, Command::Create { id, card })
}

fn name(text: String) -> Name {
    text.parse().unwrap()
}

fn tag(name: &str, since: u64) -> image::Command {
    image::Command::Tag { name: name.to_owned(), since }
}

/// A history whose state cannot be read.
async fn append_unreadable(journal: &Journal, id: &Digest, events: usize) {
    let event = image::Event::Tagged { name: "old".to_owned(), since: 1 };
    let events = vec![Image::encode(&context(), &event); events];
    let row = store::Row::Put { schema: 1, bytes: vec![1, 2, 3] };
    let (stream, urgency) = (Image::stream(id), store::Urgency::Ordinary);
    journal.append(Append { stream, expected: 0, at: 1, urgency, events, row, on_durable: None }).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn racing_turns_each_decide_on_the_present_state() {
    let (journal, containers) = ledger::<Container>();
    let (id, create) = create(1);
    containers.turn(&id, &context(), &create).await.unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..64 {
        let containers = containers.clone();
        tasks.spawn(async move {
            containers.turn(&id, &context(), &Command::Rename { name: name(format!("n{n}")) }).await.map(drop)
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap().unwrap();
    }
    let container = containers.get(&id).unwrap().state.clone();
    assert_eq!(container.version, 1 + 64);
    // Each event has the name that it replaced: one unbroken line of names, in the journal's order.
    let records = journal.read(2, 100).unwrap();
    let mut current = name("c1".to_owned());
    for record in &records {
        let event = Container::decode(record).unwrap().1;
        let Event::Renamed { from, to } = event else { panic!("{event:?}") };
        assert_eq!(from, current);
        current = to;
    }
    assert_eq!((records.len(), current), (64, container.card.name));
}

#[tokio::test]
async fn several_commands_are_recorded_together_or_not_at_all() {
    let (journal, containers) = ledger::<Container>();
    let (id, create) = create(2);
    let rename = Command::Rename { name: name("other".to_owned()) };
    let refused = containers.turn_all(&id, &context(), &[create.clone(), rename.clone(), Command::Pause]).await;
    assert!(matches!(refused, Err(TurnError::Rejected(container::Rejection::NotRunning))));
    assert_eq!(journal.last(), 0);
    assert!(containers.get(&id).is_none());
    let done = containers.turn_all(&id, &context(), &[create, rename]).await.unwrap();
    assert_eq!(done.state.unwrap().phase, Phase::Created);
    assert_eq!(journal.last(), 2);
}

#[tokio::test]
async fn a_repeated_command_is_not_recorded_again() {
    let (journal, containers) = ledger::<Container>();
    let (id, create) = create(3);
    containers.turn(&id, &context(), &create).await.unwrap();
    let stop = Command::Stop { signal: None, grace: None, at: Timestamp(9) };
    assert!(containers.turn(&id, &context(), &stop).await.unwrap().events.is_empty());
    assert_eq!(journal.last(), 1);
}

#[tokio::test]
async fn an_event_names_its_container_after_the_removal_too() {
    let (journal, containers) = ledger::<Container>();
    let (id, create) = create(4);
    containers.turn(&id, &context(), &create).await.unwrap();
    let mut changes = containers.listen(id);
    containers
        .turn_all(&id, &context(), &[Command::Remove { force: false, volumes: false }, Command::ReportRemoved])
        .await
        .unwrap();
    let last = journal.read(3, 1).unwrap();
    let (context, event) = Container::decode(&last[0]).unwrap();
    assert_eq!((event, context.name.as_str(), context.image.as_str()), (Event::Removed, "c4", "none"));
    assert_eq!(changes.recv().await.unwrap().event, Event::RemoveRequested { force: false, volumes: false });
    assert_eq!(changes.recv().await.unwrap().event, Event::Removed);
    assert!(changes.recv().await.is_none(), "there will be no further event");
}

#[tokio::test]
async fn readers_see_state_and_events_before_the_subscriber() {
    let (journal, containers) = ledger::<Container>();
    let seen = Arc::new(Mutex::new(Vec::new()));
    containers.subscribe(Box::new({
        let (containers, seen) = (containers.clone(), seen.clone());
        move |turn| {
            let (last, events) = (journal.last(), turn.events.len() as u64);
            assert_eq!(
                journal.read(last + 1 - events, 10).unwrap().len() as u64,
                events,
                "the events can be read, too"
            );
            let visible = containers.get(turn.id).map(|entry| entry.state.version);
            assert_eq!(visible, turn.after.map(|container| container.version));
            seen.lock().unwrap().push(turn.events.len());
        }
    }));
    let (id, create) = create(5);
    containers.turn(&id, &context(), &create).await.unwrap();
    containers.turn(&id, &context(), &Command::Rename { name: name("n".to_owned()) }).await.unwrap();
    assert_eq!(*seen.lock().unwrap(), [1, 1]);
}

#[tokio::test]
async fn a_command_is_decided_again_after_the_pending_outcome() {
    let (_, containers) = ledger::<Container>();
    let (id, create) = create(6);
    containers.turn(&id, &context(), &create).await.unwrap();
    let start = Command::Start { boot: crate::domain::id::BootId::default(), at: Timestamp(2) };
    let started = containers.turn(&id, &context(), &start).await.unwrap().state.unwrap();
    let Phase::Starting(starting) = started.phase else { panic!("it starts") };
    let attempts = Arc::new(AtomicUsize::new(0));
    let (ledger, counted) = (containers.clone(), attempts.clone());
    let asked = tokio::spawn(async move {
        let remove = || {
            counted.fetch_add(1, Ordering::SeqCst);
            vec![Command::Remove { force: false, volumes: false }]
        };
        ledger.ask(Queue::Commands, &id, &context(), remove).await
    });
    while attempts.load(Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    assert!(!asked.is_finished());
    let failed = Command::ReportStartFailed {
        start: starting.start,
        code: 127,
        message: "no such file".to_owned(),
        at: Timestamp(3),
    };
    containers.turn(&id, &context(), &failed).await.unwrap();
    let turned = asked.await.unwrap().unwrap();
    assert_eq!(turned.events, [Event::RemoveRequested { force: false, volumes: false }]);
    let unknown = containers.ask(Queue::Commands, &ContainerId::from_bytes([99; 32]), &context(), Vec::new).await;
    assert!(matches!(unknown, Err(TurnError::Rejected(container::Rejection::NoSuchContainer))));
}

#[tokio::test]
async fn a_name_moves_with_the_event_of_its_new_image() {
    let (journal, images) = ledger::<Image>();
    let other = Digest([9; 32]);
    let since = images.next_since();
    images.turn(&ID, &context(), &add(&["a", "b"], since)).await.unwrap();
    let since = images.next_since();
    images.turn(&other, &context(), &add(&["a"], since)).await.unwrap();
    assert_eq!(images.named("a").unwrap().state.id, other);
    assert_eq!(images.snapshot().listing("a").len(), 2);
    let turned = images.turn(&ID, &context(), &image::Command::Untag { name: "a".to_owned() }).await.unwrap();
    assert_eq!(turned.state.unwrap().names.len(), 1);
    assert_eq!(images.snapshot().listing("a"), [other]);
    let records = journal.read(1, 10).unwrap();
    let titles: Vec<_> = records
        .iter()
        .map(|record| Image::decode(record).unwrap())
        .map(|(context, event)| format!("{} {}", event.name(), context.image))
        .collect();
    assert_eq!(titles, ["ImagePulled a", "ImagePulled a", "ImageUntagged a"]);
}

#[tokio::test]
async fn a_removed_id_can_be_used_again() {
    let (journal, images) = ledger::<Image>();
    for round in 1..=3 {
        images.turn(&ID, &context(), &add(&["a"], round)).await.unwrap();
        images.turn(&ID, &context(), &image::Command::Remove).await.unwrap();
        assert!(images.get(&ID).is_none() && images.named("a").is_none());
    }
    let refused = images.turn(&ID, &context(), &image::Command::Remove).await;
    assert!(matches!(refused, Err(TurnError::Rejected(image::Rejection::NoSuchImage))));
    assert_eq!(journal.last(), 6);
}

#[tokio::test]
async fn a_creation_follows_a_history_without_a_readable_state() {
    let (journal, images) = ledger::<Image>();
    append_unreadable(&journal, &ID, 3).await;
    for expected in [4, 1] {
        let added = images.turn(&ID, &context(), &add(&["a"], 2)).await.unwrap().state.unwrap();
        assert_eq!((added.version, journal.read(journal.last(), 1).unwrap()[0].version), (expected, expected));
        assert_eq!(images.named("a").unwrap().state, added);
        images.turn(&ID, &context(), &image::Command::Remove).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_creation_is_decided_after_that_of_a_cancelled_caller() {
    let (_, images) = ledger::<Image>();
    for byte in 10..42 {
        let (id, of, first) = (Digest([byte; 32]), context(), add(&["first"], 1));
        // The append is queued at the first poll.
        tokio::select! {
            biased;
            _ = images.turn(&id, &of, &first) => {}
            () = std::future::ready(()) => {}
        }
        let image = images.turn(&id, &context(), &add(&["second"], 2)).await.unwrap().state.unwrap();
        assert!(image.holds("first") && image.holds("second") && image.version == 2);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_turn_of_a_cancelled_caller_leaves_no_gap() {
    let (journal, images) = ledger::<Image>();
    images.turn(&ID, &context(), &add(&[], 0)).await.unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..32_u64 {
        let images = images.clone();
        tasks.spawn(async move {
            // The caller is cancelled, perhaps while the turn is being recorded.
            let (lost, of) = (tag(&format!("lost{n}"), n + 1), context());
            tokio::select! {
                biased;
                _ = images.turn(&ID, &of, &lost) => {}
                () = tokio::task::yield_now() => {}
            }
            images.turn(&ID, &context(), &tag(&format!("n{n}"), n + 1)).await.unwrap();
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    let image = images.get(&ID).unwrap().state.clone();
    assert!((0..32).all(|n| image.holds(&format!("n{n}"))));
    let records = journal.read(1, 200).unwrap();
    let replayed = records.iter().fold(None, |image, record| {
        assert_eq!(record.version, record.seq, "one line, without gaps");
        image::evolve(image, &Image::decode(record).unwrap().1)
    });
    assert_eq!(replayed, Some(image));
}

#[tokio::test]
async fn a_rebuilt_history_follows_the_present_state_and_lost_events() {
    let (journal, containers) = ledger::<Container>();
    let (id, create) = create(7);
    containers.turn(&id, &context(), &create).await.unwrap();
    let known = containers.get(&id).unwrap().state.clone();
    containers.turn(&id, &context(), &Command::Rename { name: name("lost".to_owned()) }).await.unwrap();
    // After a restart with an old row: the journal counts one event more.
    let containers = Ledger::<Container>::new(journal.clone(), Arc::default());
    containers.restore(known, 1);
    containers.subscribe(Box::new(|_| panic!("it was decided long ago")));
    let mut changes = containers.listen(id);
    let rebuilt = Event::Renamed { from: name("c7".to_owned()), to: name("found".to_owned()) };
    containers.record_rebuilt(&id, &context(), std::slice::from_ref(&rebuilt)).await.unwrap();
    let entry = containers.get(&id).unwrap();
    assert_eq!((entry.state.card.name.as_str(), entry.state.version, entry.seq), ("found", 3, 3));
    assert!(!entry.verified);
    assert_eq!(changes.recv().await.unwrap().event, rebuilt);
    assert_eq!(Container::decode(&journal.read(3, 1).unwrap()[0]).unwrap().1, rebuilt);
}

#[tokio::test]
async fn lost_events_count_after_a_restart() {
    let (_, containers) = ledger::<Container>();
    let (id, create) = create(8);
    containers.turn(&id, &context(), &create).await.unwrap();
    containers.replay(&Container::stream(&id), 5);
    assert_eq!(containers.get(&id).unwrap().state.version, 5, "the store expects turns after its own count");
}

#[tokio::test]
async fn an_amendment_is_saved_without_an_event() {
    let (journal, images) = ledger::<Image>();
    images.turn(&ID, &context(), &add(&["a"], 1)).await.unwrap();
    let later = Timestamp(facts().used_at.0 + 50);
    images.save_use(&ID, later).await.unwrap();
    images.save_use(&ID, Timestamp(1)).await.unwrap();
    images.save_use(&Digest([9; 32]), later).await.unwrap();
    assert_eq!(journal.last(), 1);
    let image = images.get(&ID).unwrap().state.clone();
    assert_eq!((image.facts.used_at, image.version), (later, 1));
    images.turn(&ID, &context(), &tag("b", 2)).await.unwrap();
    assert_eq!(images.get(&ID).unwrap().state.facts.used_at, later);
}

#[tokio::test]
async fn an_amendment_is_indexed() {
    let (_, images) = ledger::<Image>();
    images.turn(&ID, &context(), &add(&["a"], 1)).await.unwrap();
    let rename = |mut image: Image| {
        image.names[0].name = "b".to_owned();
        Some(image)
    };
    images.amend(&ID, rename).await.unwrap();
    assert!(images.named("a").is_none());
    assert_eq!(images.named("b").unwrap().state.id, ID);
}

#[tokio::test]
async fn a_rebuilt_history_waits_for_a_turn_on_the_same_id() {
    let (journal, images) = ledger::<Image>();
    let turn = images.0.lanes.enter(&ID).await;
    let added = Image::decide(&ID, None, &add(&["a"], 1)).unwrap();
    let of = context();
    let mut rebuilding = std::pin::pin!(images.record_rebuilt(&ID, &of, &added));
    assert!(rebuilding.as_mut().now_or_never().is_none());
    // Durable after whatever was queued before it.
    append_unreadable(&journal, &Digest([9; 32]), 1).await;
    assert_eq!(journal.last(), 1);
    drop(turn);
    rebuilding.await.unwrap();
    assert_eq!((journal.last(), images.named("a").unwrap().state.version), (2, 1));
}

/// Renames by commands of one queue, while another command holds its place: their order is that of their arrival, and
/// neither the other queue nor reports wait.
#[tokio::test]
async fn commands_of_one_queue_are_served_in_order_and_nothing_else_waits() {
    let (_, containers) = ledger::<Container>();
    let (id, create) = create(9);
    containers.turn(&id, &context(), &create).await.unwrap();
    let name_of = |ledger: &Ledger<Container>| ledger.get(&id).unwrap().state.card.name.to_string();
    let place = containers.get(&id).unwrap().place(Queue::Commands).await;
    let mut waiting = Vec::new();
    for n in 0..8 {
        let ledger = containers.clone();
        let rename = move || vec![Command::Rename { name: name(format!("n{n}")) }];
        let mut asked = Box::pin(async move { ledger.ask(Queue::Commands, &id, &context(), rename).await });
        // Polled once: it has its place in the queue before the next one comes.
        assert!(asked.as_mut().now_or_never().is_none());
        waiting.push(tokio::spawn(asked));
    }
    let beside = || vec![Command::Rename { name: name("beside".to_owned()) }];
    containers.ask(Queue::Execs, &id, &context(), beside).await.unwrap();
    assert_eq!(name_of(&containers), "beside");
    containers.report_recorded(&id, &context(), Command::Rename { name: name("reported".to_owned()) }).await;
    assert_eq!(name_of(&containers), "reported");
    // Reports have a queue of their own, also while one of them waits for room on the disk.
    let held = containers.get(&id).unwrap().report_place().await;
    let mut reports = Vec::new();
    for n in 0..3 {
        let (ledger, rename) = (containers.clone(), Command::Rename { name: name(format!("r{n}")) });
        let mut report = Box::pin(async move {
            ledger.report_recorded(&id, &context(), rename).await;
            ledger.get(&id).unwrap().seq
        });
        assert!(report.as_mut().now_or_never().is_none());
        reports.push(tokio::spawn(report));
    }
    drop(held);
    for report in reports {
        report.await.unwrap();
    }
    assert_eq!(name_of(&containers), "r2");
    drop(place);
    let mut before = containers.get(&id).unwrap().state.version;
    for (n, asked) in waiting.into_iter().enumerate() {
        let renamed = asked.await.unwrap().unwrap().state.unwrap();
        assert_eq!((renamed.card.name.to_string(), renamed.version), (format!("n{n}"), before + 1));
        before = renamed.version;
    }
}
