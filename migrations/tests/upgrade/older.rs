//! A store of format 0, an invented format that is one step older than the first. Its `Started` has no shim, and its
//! savepoint row has neither a last end nor the fields behind that.

use std::path::Path;

use migrations::codec::{self, Malformed};
use migrations::kinds::ContainerEvent;
use migrations::v1::*;
use migrations::{FORMAT, Shape, Upcast, Upcasts};
use serde::{Deserialize, Serialize};
use store::{Append, Journal, NewEvent, Options, Record, Row, SavedRow, StreamId};

const STARTED: u16 = 3;
const CONTAINERS: u8 = 12;
/// Events per container; some containers are removed at the end.
const PER_LIFE: u64 = 4;
const REMOVED: u64 = 3;

/// Totals of the store that `build` makes.
pub(crate) const EVENTS: u64 = CONTAINERS as u64 * PER_LIFE + REMOVED * 2;
pub(crate) const ROWS: u64 = CONTAINERS as u64 - REMOVED;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct StartedV0 {
    start: u64,
    process: ProcessV1,
    at: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct ContainerRowV0 {
    card: CardV1,
    phase: PhaseV1,
}

/// The content of a store that has to survive.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Contents {
    pub records: Vec<Record>,
    pub rows: Vec<SavedRow>,
}

pub(crate) fn upcasts() -> Upcasts {
    with(started, row)
}

/// Upcasts without the shim, which shifts all later bytes.
pub(crate) fn upcasts_with_bad_events() -> Upcasts {
    with(|bytes| Ok(bytes.to_vec()), row)
}

pub(crate) fn upcasts_with_bad_rows() -> Upcasts {
    upcasts().with(Shape::Row(1), 0, |bytes| Ok(bytes.to_vec()))
}

fn with(started: Upcast, row: Upcast) -> Upcasts {
    Upcasts::current().with(Shape::Event(STARTED), 0, started).with(Shape::Row(1), 0, row)
}

fn started(bytes: &[u8]) -> Result<Vec<u8>, Malformed> {
    let (context, StartedV0 { start, process, at }) = codec::decode::<(ContextV1, StartedV0)>(bytes)?;
    Ok(codec::encode(&(context, StartedV1 { start, process, shim: None, at })))
}

fn row(bytes: &[u8]) -> Result<Vec<u8>, Malformed> {
    let ContainerRowV0 { card, phase } = codec::decode(bytes)?;
    let last = if matches!(phase, PhaseV1::Exited(_)) { LastV1::AsPhase } else { LastV1::Never };
    let restarts = RestartsV1 { count: 0, streak: 0, stopped: false };
    Ok(codec::encode(&ContainerRowV1 { card, phase, last, restarts, update: None, networks: vec![] }))
}

/// The expected result of a migration. Independent of the upcasts: computed from fields, not from bytes.
pub(crate) fn expected(before: &Contents) -> Contents {
    let records = before.records.iter().cloned().map(|record| {
        if (record.kind, record.schema) != (STARTED, 0) {
            return record;
        }
        let (context, old): (ContextV1, StartedV0) = codec::decode(&record.payload).unwrap();
        let new = StartedV1 { start: old.start, process: old.process, shim: None, at: old.at };
        Record { schema: 1, payload: ContainerEvent::Started(new).encode(&context).into(), ..record }
    });
    let rows = before.rows.iter().cloned().map(|row| {
        let old: ContainerRowV0 = codec::decode(&row.bytes).unwrap();
        let new = ContainerRowV1 {
            last: if matches!(old.phase, PhaseV1::Exited(_)) { LastV1::AsPhase } else { LastV1::Never },
            card: old.card,
            phase: old.phase,
            restarts: RestartsV1 { count: 0, streak: 0, stopped: false },
            update: None,
            networks: vec![],
        };
        SavedRow { schema: 1, bytes: codec::encode(&new), ..row }
    });
    Contents { records: records.collect(), rows: rows.collect() }
}

/// A small database, so that most events are in the archive.
fn options(format: u16) -> Options {
    Options {
        boot: [9; 16],
        format,
        hot_window: 20,
        archive_chunk: 10,
        floor_bytes: 0,
        reserve_bytes: 0,
        ..Options::default()
    }
}

pub(crate) fn contents(dir: &Path, format: u16) -> Contents {
    let opened = Journal::open(dir, options(format)).unwrap();
    let verified = opened.journal.verify().unwrap();
    assert!(verified.problems.is_empty() && verified.gaps.is_empty(), "{verified:?}");
    let mut rows = opened.rows;
    rows.sort_by(|one, other| one.stream.cmp(&other.stream));
    Contents { records: opened.journal.read(1, 10_000).unwrap(), rows }
}

fn card(container: u8) -> CardV1 {
    CardV1 {
        name: format!("web{container}"),
        image: "nginx".to_owned(),
        image_id: None,
        runtime: "runc".to_owned(),
        command: "nginx".to_owned(),
        definition: [container; 32],
        created_at: 1,
        auto_remove: false,
        tty: false,
        open_stdin: false,
        stop_signal: 15,
        stop_timeout: 10,
        restart: RestartPolicyV1::No,
        health: HealthActionV1::Unwatched,
    }
}

fn context(container: u8) -> ContextV1 {
    ContextV1 {
        actor: ActorV1::Engine,
        operation: [container; 8],
        name: format!("web{container}"),
        image: "nginx".to_owned(),
    }
}

fn stream(container: u8) -> StreamId {
    StreamId::new(1, &[container; 32]).unwrap()
}

fn process(container: u8) -> ProcessV1 {
    ProcessV1 { pid: 100 + u32::from(container), start_time: 7 }
}

fn event(container: u8, event: ContainerEvent) -> NewEvent {
    let kind = event.kind();
    NewEvent { kind: kind.number, schema: kind.schema, payload: event.encode(&context(container)) }
}

fn old_started(container: u8, start: u64) -> NewEvent {
    let started = StartedV0 { start, process: process(container), at: 4 };
    NewEvent { kind: STARTED, schema: 0, payload: codec::encode(&(context(container), started)) }
}

fn old_row(container: u8, phase: PhaseV1) -> Row {
    Row::Put { schema: 0, bytes: codec::encode(&ContainerRowV0 { card: card(container), phase }) }
}

fn run(container: u8) -> PhaseV1 {
    PhaseV1::Running(RunV1 {
        start: 2,
        boot: [9; 16],
        process: process(container),
        shim: None,
        since: 4,
        stop: None,
        oom: false,
        health: None,
    })
}

fn end() -> PhaseV1 {
    let status = ExitStatusV1::Code(7);
    PhaseV1::Exited(EndV1 { start: 2, status, started_at: Some(4), at: 5, oom: false, error: None })
}

struct Writer {
    journal: Journal,
    runtime: tokio::runtime::Runtime,
}

impl Writer {
    fn open(dir: &Path, format: u16) -> Self {
        let journal = Journal::open(dir, options(format)).unwrap().journal;
        Self { journal, runtime: tokio::runtime::Builder::new_current_thread().build().unwrap() }
    }

    fn append(&self, container: u8, expected: u64, events: Vec<NewEvent>, row: Row) {
        let stream = stream(container);
        let append = Append {
            stream,
            expected,
            at: 1000 + expected,
            urgency: store::Urgency::Ordinary,
            events,
            row,
            on_durable: None,
        };
        self.runtime.block_on(self.journal.append(append)).unwrap();
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.runtime.block_on(self.journal.close());
    }
}

/// Makes a store of format 0 with containers that were created, started and stopped; some were removed, too.
pub(crate) fn build(dir: &Path) {
    use ContainerEvent as E;
    let writer = Writer::open(dir, 0);
    for container in 0..CONTAINERS {
        let created = vec![event(container, E::Created(CreatedV1 { card: card(container) }))];
        writer.append(container, 0, created, old_row(container, PhaseV1::Created));
        let started = vec![
            event(container, E::StartRequested(StartRequestedV1 { start: 2, boot: [9; 16], at: 3 })),
            old_started(container, 2),
        ];
        // Half of the rows stay behind their events.
        let row = if container % 2 == 0 { old_row(container, run(container)) } else { Row::Keep };
        writer.append(container, 1, started, row);
    }
    for container in 0..CONTAINERS {
        let exited = E::Exited(ExitedV1 { start: 2, status: ExitStatusV1::Code(7), at: 5 });
        let row = if container % 3 == 0 { old_row(container, end()) } else { Row::Keep };
        writer.append(container, 3, vec![event(container, exited)], row);
    }
    for container in 0..REMOVED as u8 {
        let removal = vec![
            event(container, E::RemoveRequested(RemoveRequestedV1 { force: false, volumes: false })),
            event(container, E::Removed(RemovedV1 {})),
        ];
        writer.append(container, 4, removal, Row::Delete);
    }
}

/// Appends one more event to a store of format 0.
pub(crate) fn append_old(dir: &Path) {
    Writer::open(dir, 0).append(CONTAINERS - 1, PER_LIFE, vec![old_started(CONTAINERS - 1, 6)], Row::Keep);
}

/// Appends one more event to a store of the current format.
pub(crate) fn append_one(dir: &Path) {
    let container = CONTAINERS - 1;
    let removal = ContainerEvent::RemoveRequested(RemoveRequestedV1 { force: false, volumes: true });
    Writer::open(dir, FORMAT).append(container, PER_LIFE, vec![event(container, removal)], Row::Keep);
}
