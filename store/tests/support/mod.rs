//! Helpers of the journal's tests: small appends, and accessors of their payloads.
#![allow(dead_code, reason = "not every test uses all of it")]
#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::path::Path;
use std::time::{Duration, Instant};
use store::{Append, AppendError, Gap, Journal, NewEvent, Opened, Options, Record, Row, StreamId, SubscriptionItem};

pub(crate) fn options() -> Options {
    Options { boot: [7; 16], floor_bytes: 1 << 20, reserve_bytes: 0, ..Options::default() }
}

pub(crate) fn small_window() -> Options {
    Options { hot_window: 20, archive_chunk: 10, ..options() }
}

pub(crate) fn stream(name: &str) -> StreamId {
    StreamId::new(1, name.as_bytes()).unwrap()
}

pub(crate) fn event(text: &str) -> NewEvent {
    NewEvent { kind: 2, schema: 3, payload: text.as_bytes().to_vec() }
}

pub(crate) fn saving(text: &str) -> Row {
    Row::Put { schema: 4, bytes: text.as_bytes().to_vec() }
}

pub(crate) fn append(name: &str, expected: u64, events: &[&str], row: Row) -> Append {
    let events = events.iter().map(|text| event(text)).collect();
    Append {
        stream: stream(name),
        expected,
        at: 1_000 + expected,
        urgency: store::Urgency::Ordinary,
        events,
        row,
        on_durable: None,
    }
}

pub(crate) fn open(dir: &Path) -> Opened {
    Journal::open(dir, options()).unwrap()
}

/// Opens the database itself. A closed journal's descriptor may hold its lock for a moment longer, as at an opening.
pub(crate) fn open_database(dir: &Path) -> sled::Db {
    let end = Instant::now() + Duration::from_secs(30);
    loop {
        match sled::open(dir) {
            Err(error) if error.to_string().contains("could not acquire lock") && Instant::now() < end => {
                std::thread::sleep(Duration::from_millis(5));
            }
            opened => return opened.unwrap(),
        }
    }
}

/// Appends `count` events to one stream, one by one, each with its row.
pub(crate) async fn fill(journal: &Journal, name: &str, from: u64, count: u64) -> Result<(), AppendError> {
    for version in from..from + count {
        let text = format!("{name}-{}", version + 1);
        journal.append(append(name, version, &[&text], saving(&text))).await?;
    }
    Ok(())
}

pub(crate) fn everything(journal: &Journal) -> Vec<Record> {
    journal.read(1, usize::MAX).unwrap()
}

pub(crate) fn payloads(records: &[Record]) -> Vec<String> {
    records.iter().map(|record| String::from_utf8(record.payload.to_vec()).unwrap()).collect()
}

/// Asserts that the numbers have no gap, and that the journal is sound.
pub(crate) fn assert_sound(journal: &Journal) {
    let verification = journal.verify().unwrap();
    assert_eq!((verification.problems, verification.gaps), (vec![], vec![]));
}

pub(crate) fn records_of(followed: SubscriptionItem) -> Vec<Record> {
    match followed {
        SubscriptionItem::Records(records) => records,
        SubscriptionItem::Gap(gap) => panic!("unexpected {gap:?}"),
    }
}

/// The numbers and gaps that a subscriber gets from `from` to the end.
pub(crate) async fn follow(journal: &Journal, from: u64) -> (Vec<u64>, Vec<Gap>) {
    let (mut seqs, mut gaps) = (Vec::new(), Vec::new());
    let mut subscription = journal.subscribe(from);
    while subscription.position() <= journal.last() {
        match subscription.next().await.unwrap().unwrap() {
            SubscriptionItem::Records(records) => seqs.extend(records.iter().map(|record| record.seq)),
            SubscriptionItem::Gap(gap) => gaps.push(gap),
        }
    }
    (seqs, gaps)
}

/// Sets the mark, as if events up to `last` were acknowledged.
pub(crate) fn set_mark(dir: &Path, last: u64) {
    let mut bytes = last.to_le_bytes().to_vec();
    bytes.extend(crc32c::crc32c(&bytes).to_le_bytes());
    std::fs::write(dir.join("mark"), bytes).unwrap();
}
