//! Tests of containers with a state that is older than their files.

use std::process::{Child, Command as Program};

use isulad_shim::exit::Cause as ExitRecordCause;
use isulad_shim::{ExitRecord, ExitStatus as RecordedStatus, ProcessRef, StateDir, pid_file};

use super::super::catch_up::catch_up;
use super::*;
use crate::domain::container::testing::card;
use crate::domain::container::{Cause, Container, Event, ExitStatus, Removing, Run};
use crate::domain::id::{Process, Timestamp};
use crate::journal::record::Codec;
use crate::records::to_process;
use crate::runtime::Instance;

const OLD: StartId = StartId(2);
const NEW: StartId = StartId(5);

/// A process outside of any container, which ends with the test.
struct Sleeper(Child);

impl Sleeper {
    fn new() -> Self {
        Self(Program::new("sleep").arg("100000").spawn().unwrap())
    }

    fn process(&self) -> ProcessRef {
        ProcessRef::of(self.0.id().cast_signed()).unwrap()
    }

    fn lives(&mut self) -> bool {
        self.0.try_wait().unwrap().is_none()
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// An engine whose store has only the first events of a container.
struct Place {
    _root: tempfile::TempDir,
    engine: Arc<Engine>,
    id: ContainerId,
    state: StateDir,
}

impl Place {
    async fn with(events: &[Event]) -> Self {
        let root = tempfile::tempdir().unwrap();
        let engine = engine(root.path());
        let id = ContainerId::from_bytes([1; 32]);
        let state = engine.node.layout.state_dir("runc", &id);
        fs::create_dir_all(state.path()).unwrap();
        fs::create_dir_all(engine.node.layout.bundle("runc", &id).path()).unwrap();
        let known = [&[Event::Created { id, card: card() }], events].concat();
        engine.containers.record_rebuilt(&id, &Context::new(Actor::Recovery), &known).await.unwrap();
        Self { _root: root, engine, id, state }
    }

    /// Describes a start, as of the container with this id.
    fn describe(&self, id: &ContainerId, start: StartId) {
        let start = start.0;
        let text = format!(
            r#"{{"version":1,"id":"{id}-{start}","bundle":"/b","runtime":{{"path":"/r"}},"runtime_root":"/s",
            "start":{start},"log":{{"driver":"none"}},"exit_record":"/b/exit","runtime_deadline_ms":10,
            "pid_namespace":"own"}}"#
        );
        fs::write(self.state.process(), text).unwrap();
    }

    fn put_pid(&self, process: ProcessRef) {
        pid_file::write(&self.state.pid(), process).unwrap();
    }

    fn put_exit(&self, start: StartId, code: u8) {
        let status = RecordedStatus::Code(code);
        let record = ExitRecord { start: start.0, status, at: 9, oom: true, pid: 1, cause: ExitRecordCause::Exited };
        record.write(&self.engine.node.layout.bundle("runc", &self.id).exit_record()).unwrap();
    }

    fn put_runtimes_record(&self, start: StartId) {
        let instance = Instance::new(self.engine.node.layout.runtime_root("runc"), &self.id, start);
        fs::create_dir_all(instance.directory()).unwrap();
    }

    fn container(&self) -> Container {
        self.engine.containers.get(&self.id).unwrap().state.clone()
    }

    /// The number of warnings with this text.
    fn warned(&self, text: &str) -> usize {
        self.engine.node.warnings().iter().filter(|warning| warning.contains(text)).count()
    }

    async fn catch_up(&self) -> bool {
        catch_up(&self.engine, &self.container(), &Context::new(Actor::Recovery)).await
    }

    async fn turn(&self, command: Command) -> Container {
        let context = Context::new(Actor::Recovery);
        self.engine.containers.turn(&self.id, &context, &command).await.unwrap().state.unwrap()
    }

    fn events(&self) -> Vec<Event> {
        let records = self.engine.journal.read(1, 100).unwrap();
        records.iter().map(|record| Container::decode(record).unwrap().1).collect()
    }
}

fn dead() -> ProcessRef {
    ProcessRef { pid: 1, start_time: u64::MAX }
}

fn running(process: Process) -> [Event; 2] {
    let (start, at) = (OLD, Timestamp(2));
    [Event::StartRequested { start, boot: BootId::default(), at }, Event::Started { start, process, shim: None, at }]
}

fn run_of(container: &Container) -> (StartId, Process) {
    let Phase::Running(Run { start, process, .. }) = &container.phase else { panic!("{:?}", container.phase) };
    (*start, *process)
}

#[tokio::test]
async fn a_later_start_that_runs_is_recorded() {
    let place = Place::with(&[]).await;
    let mut sleeper = Sleeper::new();
    place.describe(&place.id, NEW);
    place.put_pid(sleeper.process());
    let labels = place.engine.containers.get(&place.id).unwrap();
    let labels = labels.remember_labels(&BTreeMap::from([("a".to_owned(), "b".to_owned())]));
    assert!(place.catch_up().await);
    assert_eq!(run_of(&place.container()), (NEW, to_process(sleeper.process())));
    let entity = place.engine.containers.get(&place.id).unwrap();
    assert!(!entity.verified && entity.labels() == Some(labels), "the entry keeps its companion data");
    assert_eq!(place.container().version, 3);
    let of = format!("container {} (web): its later history was lost in the store; start 5 is", place.id.short());
    assert_eq!((place.warned(&of), place.engine.node.warnings().len()), (1, 1));
    assert!(place.catch_up().await);
    assert_eq!((place.container().version, place.engine.node.warnings().len()), (3, 1), "once is enough");
    assert!(sleeper.lives());
}

#[tokio::test]
async fn a_later_start_that_ended_is_recorded_with_its_status() {
    let place = Place::with(&[]).await;
    place.put_exit(NEW, 7);
    assert!(place.catch_up().await);
    let Phase::Exited(end) = place.container().phase else { panic!("{:?}", place.container().phase) };
    assert_eq!((end.start, end.status, end.at, end.oom), (NEW, ExitStatus::Code(7), Timestamp(9), true));
    // Its files must not be taken for those of the next start.
    let next = place.turn(Command::Start { boot: BootId::default(), at: Timestamp(10) }).await;
    assert_eq!(next.last_start(), StartId(6));
}

#[tokio::test]
async fn an_older_run_ends_before_the_later_one() {
    let place = Place::with(&running(to_process(dead()))).await;
    place.describe(&place.id, NEW);
    place.put_pid(dead());
    let mut listener = place.engine.containers.listen(place.id);
    assert!(place.catch_up().await);
    assert_eq!(run_of(&place.container()), (NEW, to_process(dead())));
    let unknown = ExitStatus::Unknown(Cause::ShimAndProcessLost);
    let ended = |event: &Event| matches!(event, Event::Exited { start: OLD, status, .. } if *status == unknown);
    let events = place.events();
    assert!(ended(&events[3]), "{events:?}");
    assert!(matches!(events[4..], [Event::StartRequested { start: NEW, .. }, Event::Started { start: NEW, .. }]));
    assert!(ended(&listener.recv().await.unwrap().event), "a waiter for its end is answered");
}

#[tokio::test]
async fn an_older_run_ends_by_its_exit_record() {
    let place = Place::with(&running(to_process(dead()))).await;
    place.put_exit(OLD, 7);
    place.put_runtimes_record(NEW);
    assert!(place.catch_up().await);
    let events = place.events();
    assert!(
        matches!(
            events[3..],
            [
                Event::OomKilled { start: OLD },
                Event::Exited { start: OLD, status: ExitStatus::Code(7), .. },
                Event::StartRequested { start: NEW, .. }
            ]
        ),
        "{events:?}"
    );
}

/// The store has lost what followed from the end: a restart, or nothing.
#[tokio::test]
async fn the_end_of_a_later_run_is_decided_anew_where_one_was_to_run() {
    let place = Place::with(&running(to_process(dead()))).await;
    place.put_exit(NEW, 7);
    assert!(place.catch_up().await);
    assert_eq!(run_of(&place.container()).0, NEW);
    recover_one(&place.engine, place.id, &Recent::default()).await;
    let Phase::Exited(end) = place.container().phase else { panic!("{:?}", place.container().phase) };
    assert_eq!((end.start, end.status, end.at, end.oom), (NEW, ExitStatus::Code(7), Timestamp(9), true));
}

#[tokio::test]
async fn a_run_that_is_over_ends_also_where_a_later_one_is_left_alone() {
    let place = Place::with(&running(to_process(dead()))).await;
    let sleeper = Sleeper::new();
    place.put_pid(sleeper.process());
    fs::write(place.state.process(), "{").unwrap();
    assert!(!place.catch_up().await);
    let Phase::Exited(end) = place.container().phase else { panic!("{:?}", place.container().phase) };
    assert_eq!((end.start, end.status), (OLD, ExitStatus::Unknown(Cause::ShimAndProcessLost)));
    assert_eq!(place.warned("is left alone"), 1);
}

#[tokio::test]
async fn files_of_a_later_start_do_not_end_a_process_that_runs() {
    let sleeper = Sleeper::new();
    let place = Place::with(&running(to_process(sleeper.process()))).await;
    place.describe(&place.id, NEW);
    assert!(place.catch_up().await);
    assert_eq!(run_of(&place.container()), (OLD, to_process(sleeper.process())));
    assert_eq!(place.warned("it is not believed"), 1);
}

#[tokio::test]
async fn files_of_recorded_starts_change_nothing() {
    let place = Place::with(&running(to_process(dead()))).await;
    for start in [StartId(1), OLD] {
        place.describe(&place.id, start);
        assert!(place.catch_up().await);
    }
    fs::write(place.state.process(), "{").unwrap();
    place.put_runtimes_record(OLD);
    assert!(place.catch_up().await);
    assert_eq!((place.container().version, place.engine.node.warnings()), (3, vec![]));
}

#[tokio::test]
async fn a_damaged_description_is_replaced_by_the_runtimes_record() {
    let place = Place::with(&[]).await;
    let sleeper = Sleeper::new();
    // Another container's is foreign.
    place.describe(&ContainerId::from_bytes([2; 32]), StartId(9));
    place.put_runtimes_record(NEW);
    place.put_pid(sleeper.process());
    assert!(place.catch_up().await);
    assert_eq!(run_of(&place.container()), (NEW, to_process(sleeper.process())));
    assert_eq!(place.warned("is of another container; its start is taken from the runtime's record"), 1);
}

#[tokio::test]
async fn an_undecidable_container_is_left_alone() {
    let place = Place::with(&[]).await;
    let mut sleeper = Sleeper::new();
    place.put_pid(sleeper.process());
    for content in ["", "{", "\0\0\0\0"] {
        fs::write(place.state.process(), content).unwrap();
        recover_one(&place.engine, place.id, &Recent::default()).await;
        assert_eq!(place.container().phase, Phase::Created);
        assert!(sleeper.lives() && place.state.pid().exists(), "nothing is released");
    }
    assert_eq!(place.warned("is left alone, since a later start may run"), 3);
    assert_eq!(place.warned("or remove it with `isula rm -f web`"), 3);
    drop(sleeper);
    assert!(place.catch_up().await, "nothing of it runs");
    assert_eq!(place.container().phase, Phase::Created);
}

#[tokio::test]
async fn a_removal_is_asked_for_again_while_a_later_start_runs() {
    let place = Place::with(&[Event::RemoveRequested { force: false, volumes: false }]).await;
    let sleeper = Sleeper::new();
    place.describe(&place.id, NEW);
    place.put_pid(sleeper.process());
    let failed = || match place.container().phase {
        Phase::Removing(Removing { failed, .. }) => failed,
        phase => panic!("{phase:?}"),
    };
    assert!(!place.catch_up().await);
    assert!(failed().is_some_and(|message| message.contains("remove it again")));
    assert_eq!(place.warned("is not removed: its later history was lost, and it is alive"), 1);
    place.turn(Command::Remove { force: true, volumes: false }).await;
    drop(sleeper);
    assert!(place.catch_up().await);
    assert_eq!(failed(), None, "a removal ends whatever has ended");
}
