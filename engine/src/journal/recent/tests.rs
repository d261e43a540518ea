use super::*;
use crate::journal::record::Context;

const X: ContainerId = ContainerId::from_bytes([1; 32]);
const Y: ContainerId = ContainerId::from_bytes([2; 32]);

fn session(byte: u8) -> SessionId {
    SessionId([byte; 8])
}

fn attached(byte: u8) -> Event {
    Event::Attached { session: session(byte), stdin: true, tty: false }
}

fn detached(byte: u8) -> Event {
    Event::Detached { session: session(byte), lasted_ms: 1 }
}

fn began(byte: u8) -> Event {
    Event::ExecStarted {
        start: crate::domain::id::StartId(1),
        exec: session(byte),
        argv: "true".into(),
        user: String::new(),
        tty: false,
        detached: false,
    }
}

fn ended(byte: u8) -> Event {
    Event::ExecExited {
        exec: session(byte),
        status: crate::domain::container::ExitStatus::Code(0),
        at: crate::domain::id::Timestamp(2),
        lasted_ms: 1,
    }
}

fn record(seq: Seq, ms: u64, id: &ContainerId, actor: Actor, event: &Event) -> Record {
    let new = Container::encode(&Context::new(actor), event);
    Record {
        seq,
        stream: Container::stream(id),
        version: seq,
        at: ms * 1_000_000,
        boot: [0; 16],
        kind: new.kind,
        schema: new.schema,
        ends_stream: false,
        payload: new.payload.into(),
    }
}

fn of(records: impl IntoIterator<Item = Record>) -> Recent {
    let mut recent = Recent { known: true, ..Recent::default() };
    records.into_iter().for_each(|record| recent.take(&record));
    recent
}

/// Records made at these milliseconds.
fn recent(records: &[(u64, ContainerId, Actor, Event)]) -> Recent {
    of((1..).zip(records).map(|(seq, (ms, id, actor, event))| record(seq, *ms, id, actor.clone(), event)))
}

#[test]
fn a_session_open_at_the_end_lasted_at_least_until_the_last_record() {
    let recent = recent(&[
        (100, X, Actor::Engine, attached(1)),
        (110, X, Actor::Engine, attached(2)),
        (120, Y, Actor::Engine, attached(3)),
        (130, X, Actor::Engine, detached(1)),
        (150, Y, Actor::Engine, Event::PauseRequested),
    ]);
    assert_eq!(recent.attached(&X), [(session(2), 40)]);
    assert_eq!(recent.attached(&Y), [(session(3), 30)]);
}

#[test]
fn records_of_the_next_daemon_do_not_extend_sessions_of_the_last() {
    let recent = recent(&[
        (100, X, Actor::Engine, attached(1)),
        (105, X, Actor::Engine, attached(2)),
        (110, Y, Actor::Engine, Event::PauseRequested),
        (9000, X, Actor::Recovery, detached(1)),
        (9500, Y, Actor::Engine, attached(3)),
        (9600, Y, Actor::Engine, Event::Paused),
    ]);
    assert_eq!(recent.attached(&X), [(session(2), 5)]);
    assert_eq!(recent.attached(&Y), [(session(3), 100)]);
}

#[test]
fn execs_are_open_until_their_end_is_recorded() {
    let recent = recent(&[
        (1, X, Actor::Engine, began(1)),
        (2, Y, Actor::Engine, began(2)),
        (3, X, Actor::Engine, ended(1)),
        (4, X, Actor::Engine, began(4)),
        // It began before the records read.
        (5, X, Actor::Engine, ended(5)),
    ]);
    let execs: Vec<_> = [1, 2, 3, 4, 5].map(|byte| recent.exec(&session(byte))).into();
    assert_eq!(execs, [ExecRecord::Ended, ExecRecord::Open, ExecRecord::Never, ExecRecord::Open, ExecRecord::Ended]);
    assert_eq!(recent.open_execs(&X, BootId([0; 16])), [(session(4), true)]);
    assert_eq!(recent.open_execs(&Y, BootId([1; 16])), [(session(2), false)]);
    assert_eq!(Recent::default().exec(&session(3)), ExecRecord::Unknown);
    assert_eq!(Recent::default().open_execs(&X, BootId([0; 16])), []);
}

/// A missing record may be an end.
#[test]
fn records_before_a_gap_leave_nothing_open() {
    let records = [(1, began(1)), (2, attached(2)), (3, ended(3)), (5, began(4)), (6, attached(5))];
    let recent = of(records.map(|(seq, event)| record(seq, seq, &X, Actor::Engine, &event)));
    let execs: Vec<_> = [1, 3, 4].map(|byte| recent.exec(&session(byte))).into();
    assert_eq!(execs, [ExecRecord::Never, ExecRecord::Ended, ExecRecord::Open]);
    assert_eq!(recent.open_execs(&X, BootId([0; 16])), [(session(4), true)]);
    assert_eq!(recent.attached(&X), [(session(5), 0)]);
}

/// A journal on the disk that archives early.
struct Store {
    dir: tempfile::TempDir,
    journal: Journal,
}

impl Store {
    const BOOT: BootId = BootId([1; 16]);
    const NEXT_BOOT: BootId = BootId([2; 16]);

    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let journal = Self::open(dir.path(), Self::BOOT);
        Self { dir, journal }
    }

    fn open(dir: &std::path::Path, boot: BootId) -> Journal {
        let options = store::Options {
            boot: boot.0,
            format: migrations::FORMAT,
            hot_window: 20,
            archive_chunk: 10,
            floor_bytes: 0,
            reserve_bytes: 0,
            ..store::Options::default()
        };
        Journal::open(dir, options).unwrap().journal
    }

    /// Reopened, after `meanwhile`.
    async fn again(self, boot: BootId, meanwhile: impl FnOnce(&std::path::Path)) -> Self {
        self.journal.close().await;
        let Self { dir, journal } = self;
        drop(journal);
        meanwhile(dir.path());
        let journal = Self::open(dir.path(), boot);
        Self { dir, journal }
    }

    /// All records are of one container, so that a record's number is its version.
    async fn append(&self, event: &Event) {
        let append = store::Append {
            stream: Container::stream(&X),
            expected: self.journal.last(),
            at: 1,
            urgency: store::Urgency::Ordinary,
            events: vec![Container::encode(&Context::new(Actor::Engine), event)],
            row: store::Row::Keep,
            on_durable: None,
        };
        self.journal.append(append).await.unwrap();
    }

    /// Appends irrelevant records until those up to `seq` are in the archive, which a background task moves there.
    async fn archive(&self, seq: Seq) {
        while self.journal.first_hot() <= seq {
            self.append(&Event::PauseRequested).await;
        }
    }

    fn looking_back(&self, boot: BootId, records: u64) -> (Recent, usize) {
        let mut errors = 0;
        let recent = Recent::look_back(&self.journal, boot, records, |_| errors += 1);
        (recent, errors)
    }
}

#[tokio::test]
async fn a_damaged_archive_does_not_affect_newer_records() {
    let store = Store::new();
    store.append(&began(1)).await;
    store.archive(30).await;
    store.append(&began(2)).await;
    let (recent, errors) = store.looking_back(Store::BOOT, LOOK_BACK);
    let execs = |recent: &Recent| [1, 2].map(|byte| recent.exec(&session(byte)));
    assert_eq!((execs(&recent), errors), ([ExecRecord::Open, ExecRecord::Open], 0));

    let store = store
        .again(Store::BOOT, |dir| {
            // The second file: records before it are unreliable as well.
            let mut files: Vec<_> =
                std::fs::read_dir(dir.join("archive")).unwrap().map(|entry| entry.unwrap().path()).collect();
            files.sort();
            let mut bytes = std::fs::read(&files[1]).unwrap();
            *bytes.last_mut().unwrap() ^= 1;
            std::fs::write(&files[1], bytes).unwrap();
        })
        .await;
    let (recent, errors) = store.looking_back(Store::BOOT, LOOK_BACK);
    assert_eq!((execs(&recent), errors), ([ExecRecord::Never, ExecRecord::Open], 1));
    assert_eq!(recent.open_execs(&X, Store::BOOT), [(session(2), true)]);
}

/// The execs' directories were lost with the host's memory, so the journal is the only evidence.
#[tokio::test]
async fn after_a_restart_of_the_host_all_records_are_read() {
    let store = Store::new();
    for event in [began(1), attached(2), began(3), ended(3)] {
        store.append(&event).await;
    }
    store.archive(40).await;
    let (recent, errors) = store.looking_back(Store::BOOT, 10);
    assert_eq!((recent.exec(&session(1)), errors), (ExecRecord::Never, 0));

    let store = store.again(Store::NEXT_BOOT, |_| {}).await;
    // Also for the daemon after one that has died at it, with some records of its own.
    for _ in 0..3 {
        let (recent, errors) = store.looking_back(Store::NEXT_BOOT, 10);
        assert_eq!(recent.open_execs(&X, Store::NEXT_BOOT), [(session(1), false)]);
        assert_eq!(recent.attached(&X), [(session(2), 0)]);
        assert_eq!((recent.exec(&session(3)), errors), (ExecRecord::Ended, 0));
        store.append(&Event::PauseRequested).await;
    }
    for _ in 0..10 {
        store.append(&Event::PauseRequested).await;
    }
    let (recent, errors) = store.looking_back(Store::NEXT_BOOT, 10);
    assert_eq!((recent.exec(&session(1)), errors), (ExecRecord::Never, 0));
}
