//! Random appends and restarts, compared with a model made of a few maps.
#![allow(clippy::unwrap_used, reason = "these are tests")]

mod support;

use proptest::prelude::*;
use std::collections::BTreeMap;
use std::path::Path;
use store::{Append, AppendError, Journal, NewEvent, Opened, Options, Row, SavedRow, StreamId};
use support::options;

#[derive(Clone, Debug)]
enum Step {
    Append {
        stream: u8,
        off_by: u64,
        payloads: Vec<Vec<u8>>,
        row: Row,
    },
    /// Appends by several callers at once, one event each.
    Together(Vec<u8>),
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    let bytes = || prop::collection::vec(any::<u8>(), 0..40);
    let row = prop_oneof![
        2 => Just(Row::Keep),
        4 => (any::<u16>(), bytes()).prop_map(|(schema, bytes)| Row::Put { schema, bytes }),
        1 => Just(Row::Delete),
    ];
    let append = (0..5_u8, prop_oneof![9 => Just(0), 1 => 1..3_u64], prop::collection::vec(bytes(), 0..4), row)
        .prop_map(|(stream, off_by, payloads, row)| Step::Append { stream, off_by, payloads, row });
    prop_oneof![
        12 => append,
        3 => prop::collection::vec(0..5_u8, 2..9).prop_map(Step::Together),
        1 => Just(Step::Reopen),
    ]
}

/// A simple model of the journal.
#[derive(Default)]
struct Model {
    events: Vec<(u8, u64, Vec<u8>, bool)>,
    versions: BTreeMap<u8, u64>,
    rows: BTreeMap<u8, (u64, u64, u16, Vec<u8>)>,
}

impl Model {
    fn append(&mut self, stream: u8, payloads: &[Vec<u8>], row: &Row) {
        let version = self.versions.get(&stream).copied();
        let mut now = version.unwrap_or(0);
        for (index, payload) in payloads.iter().enumerate() {
            now += 1;
            let ends = *row == Row::Delete && index + 1 == payloads.len();
            self.events.push((stream, now, payload.clone(), ends));
        }
        match row {
            Row::Keep if now > 0 || version.is_some() => drop(self.versions.insert(stream, now)),
            Row::Keep => {}
            Row::Put { schema, bytes } => {
                self.versions.insert(stream, now);
                self.rows.insert(stream, (now, self.events.len() as u64, *schema, bytes.clone()));
            }
            Row::Delete => {
                self.versions.remove(&stream);
                self.rows.remove(&stream);
            }
        }
    }

    fn assert_same(&self, journal: &Journal) {
        let events: Vec<_> = journal
            .read(1, usize::MAX)
            .unwrap()
            .iter()
            .zip(1..)
            .inspect(|(record, seq)| assert_eq!(record.seq, *seq))
            .map(|(record, _)| (record.stream.id()[0], record.version, record.payload.to_vec(), record.ends_stream))
            .collect();
        assert_eq!(events, self.events);
        let verification = journal.verify().unwrap();
        assert_eq!((verification.problems, verification.gaps), (vec![], vec![]));
        assert_eq!((verification.last, verification.rows), (self.events.len() as u64, self.rows.len() as u64));
    }

    fn assert_opened(&self, opened: &Opened) {
        let rows = self.rows.iter().map(|(stream, (version, seq, schema, bytes))| SavedRow {
            stream: name(*stream),
            version: *version,
            seq: *seq,
            schema: *schema,
            bytes: bytes.clone(),
        });
        assert_eq!(opened.rows, rows.collect::<Vec<_>>());
        let saved = |stream: &u8| self.rows.get(stream).map(|(version, ..)| *version);
        let behind = self.versions.iter().filter(|(stream, version)| saved(stream) != Some(**version));
        assert_eq!(opened.behind, behind.map(|(stream, version)| (name(*stream), *version)).collect::<Vec<_>>());
        let report = store::OpenReport { took: opened.report.took, ..Default::default() };
        assert_eq!(opened.report, report);
    }
}

fn name(stream: u8) -> StreamId {
    StreamId::new(9, &[stream]).unwrap()
}

fn request(stream: u8, expected: u64, payloads: &[Vec<u8>], row: Row) -> Append {
    let event = |payload: &Vec<u8>| NewEvent { kind: 1, schema: 1, payload: payload.clone() };
    let events = payloads.iter().map(event).collect();
    Append { stream: name(stream), expected, at: 5, urgency: store::Urgency::Ordinary, events, row, on_durable: None }
}

async fn run(dir: &Path, steps: Vec<Step>) {
    let options = Options { hot_window: 6, archive_chunk: 3, ..options() };
    let mut journal = Journal::open(dir, options.clone()).unwrap().journal;
    let mut model = Model::default();
    for step in steps {
        match step {
            Step::Append { stream, off_by, payloads, row } => {
                let version = model.versions.get(&stream).copied().unwrap_or(0);
                let result = journal.append(request(stream, version + off_by, &payloads, row.clone())).await;
                match result {
                    Err(AppendError::Conflict { found, .. }) => assert!(off_by > 0 && found == version),
                    Err(AppendError::EndWithoutEvent { .. }) => assert!(row == Row::Delete && payloads.is_empty()),
                    result => {
                        let records = result.unwrap();
                        assert_eq!((records.len(), off_by), (payloads.len(), 0));
                        model.append(stream, &payloads, &row);
                    }
                }
            }
            Step::Together(streams) => {
                let mut tasks = Vec::new();
                for (index, stream) in streams.into_iter().enumerate() {
                    let version = model.versions.get(&stream).copied().unwrap_or(0);
                    let payloads = [vec![u8::try_from(index).unwrap()]];
                    let row = Row::Put { schema: 2, bytes: vec![stream] };
                    model.append(stream, &payloads, &row);
                    let journal = journal.clone();
                    // Queued in this order: the runtime has one thread and polls in the order of spawning.
                    tasks.push(tokio::spawn(async move {
                        journal.append(request(stream, version, &payloads, row)).await.unwrap();
                    }));
                }
                for task in tasks {
                    task.await.unwrap();
                }
            }
            Step::Reopen => {
                model.assert_same(&journal);
                journal.close().await;
                let opened = Journal::open(dir, options.clone()).unwrap();
                model.assert_opened(&opened);
                journal = opened.journal;
            }
        }
    }
    model.assert_same(&journal);
    journal.close().await;
    let opened = Journal::open(dir, options).unwrap();
    model.assert_opened(&opened);
    model.assert_same(&opened.journal);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_journal_behaves_like_the_model(steps in prop::collection::vec(step(), 1..60)) {
        let dir = tempfile::tempdir().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(run(dir.path(), steps));
    }
}
