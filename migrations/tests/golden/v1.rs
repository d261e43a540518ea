//! Samples of format 1. Never edited; a new one may be added.

use migrations::What;
use migrations::v1::*;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::Sample;

fn event<T>(kind: u16, name: &str, actor: ActorV1, event: T) -> Sample
where
    T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug + 'static,
{
    let context = ContextV1 {
        actor,
        operation: [0xa0, 0xa1, 0xa2, 0xa3, 0xa4, 0xa5, 0xa6, 0xa7],
        name: "web".to_owned(),
        image: "registry.example/nginx:1.27".to_owned(),
    };
    Sample::new(format!("v1/event-{kind:03}-{name}.bin"), What::Event(kind), 1, (context, event))
}

fn row(name: &str, phase: PhaseV1, last: LastV1) -> Sample {
    let row = ContainerRowV1 { card: card(), phase, last };
    Sample::new(format!("v1/row-container-{name}.bin"), What::Row(1), 1, row)
}

fn card() -> CardV1 {
    CardV1 {
        name: "web".to_owned(),
        image: "registry.example/nginx:1.27".to_owned(),
        runtime: "crun".to_owned(),
        command: "/usr/sbin/nginx -g \u{00bb}daemon off\u{00ab}".to_owned(),
        definition: *b"0123456789abcdefghijklmnopqrstuv",
        created_at: 1_700_000_000_123_456_789,
        auto_remove: true,
        tty: false,
        open_stdin: true,
        stop_signal: 15,
        stop_timeout: 10,
    }
}

const AT: u64 = 1_700_000_001_000_000_001;
const BOOT: [u8; 16] = *b"boot-id-16-bytes";
const PROCESS: ProcessV1 = ProcessV1 { pid: 4_194_303, start_time: 987_654_321 };
const SHIM: ProcessV1 = ProcessV1 { pid: 4_194_302, start_time: 987_654_320 };

fn peer() -> ActorV1 {
    ActorV1::Peer { uid: 1000, pid: 77, exe: "/usr/bin/isula".to_owned() }
}

fn run(shim: Option<ProcessV1>, stop: Option<StopV1>) -> RunV1 {
    RunV1 { start: 3, boot: BOOT, process: PROCESS, shim, since: AT, stop, oom: false }
}

fn end(status: ExitStatusV1, error: Option<&str>) -> EndV1 {
    let started_at = if error.is_none() { Some(AT) } else { None };
    EndV1 { start: 3, status, started_at, at: AT + 5, oom: true, error: error.map(str::to_owned) }
}

pub fn samples() -> Vec<Sample> {
    let mut samples = events();
    samples.extend(rows());
    samples
}

fn events() -> Vec<Sample> {
    let message = || "cannot mount `/x`: no such device".to_owned();
    vec![
        event(1, "create-requested", peer(), CreateRequestedV1 { card: card() }),
        event(2, "created", ActorV1::Engine, CreatedV1 {}),
        event(3, "create-failed", ActorV1::Recovery, CreateFailedV1 { message: message() }),
        event(4, "start-requested", ActorV1::RestartPolicy, StartRequestedV1 { start: 3, boot: BOOT, at: AT }),
        event(5, "started", ActorV1::Engine, StartedV1 { start: 3, process: PROCESS, shim: Some(SHIM), at: AT }),
        event(
            5,
            "started-without-shim",
            ActorV1::Recovery,
            StartedV1 { start: 3, process: PROCESS, shim: None, at: AT },
        ),
        event(6, "start-failed", ActorV1::Shim, StartFailedV1 { start: 3, code: 127, message: message(), at: AT }),
        event(7, "pause-requested", ActorV1::Cri, PauseRequestedV1 {}),
        event(8, "paused", ActorV1::Engine, PausedV1 {}),
        event(9, "pause-failed", ActorV1::Engine, PauseFailedV1 { message: message() }),
        event(10, "resume-requested", peer(), ResumeRequestedV1 {}),
        event(11, "resumed", ActorV1::Engine, ResumedV1 {}),
        event(12, "resume-failed", ActorV1::Engine, ResumeFailedV1 { message: message() }),
        event(13, "stop-requested", peer(), StopRequestedV1 { start: 3, signal: 15, deadline: AT, then_start: true }),
        event(14, "killed", ActorV1::Engine, KilledV1 { start: 3, signal: 9 }),
        event(15, "exited-code", ActorV1::Shim, ExitedV1 { start: 3, status: ExitStatusV1::Code(137), at: AT }),
        event(15, "exited-signal", ActorV1::Shim, ExitedV1 { start: 3, status: ExitStatusV1::Signal(9), at: AT }),
        event(
            15,
            "exited-reboot",
            ActorV1::Recovery,
            ExitedV1 { start: 3, status: ExitStatusV1::Unknown(CauseV1::HostReboot), at: AT },
        ),
        event(
            15,
            "exited-lost",
            ActorV1::Recovery,
            ExitedV1 { start: 3, status: ExitStatusV1::Unknown(CauseV1::ShimAndProcessLost), at: AT },
        ),
        event(
            15,
            "exited-shim-lost",
            ActorV1::Engine,
            ExitedV1 { start: 3, status: ExitStatusV1::Unknown(CauseV1::ShimLost), at: AT },
        ),
        event(16, "oom-killed", ActorV1::Shim, OomKilledV1 { start: 3 }),
        event(17, "renamed", peer(), RenamedV1 { from: "web".to_owned(), to: "web2".to_owned() }),
        event(18, "shim-lost", ActorV1::Engine, ShimLostV1 { start: 3 }),
        event(19, "shim-adopted", ActorV1::Engine, ShimAdoptedV1 { start: 3, shim: SHIM }),
        event(20, "remove-requested", ActorV1::Cri, RemoveRequestedV1 { force: true }),
        event(21, "remove-failed", ActorV1::Engine, RemoveFailedV1 { message: message() }),
        event(22, "removed", ActorV1::Engine, RemovedV1 {}),
    ]
}

fn rows() -> Vec<Sample> {
    let stop = StopV1 { signal: 15, deadline: AT, killed: true, then_start: true };
    let failed = end(ExitStatusV1::Code(126), Some("not executable"));
    let signalled = end(ExitStatusV1::Signal(6), None);
    let lost = end(ExitStatusV1::Unknown(CauseV1::ShimLost), None);
    let removing = |run, failed: Option<&str>| PhaseV1::Removing(RemovingV1 { run, failed: failed.map(str::to_owned) });
    vec![
        row("creating", PhaseV1::Creating, LastV1::Never),
        row("created", PhaseV1::Created, LastV1::Never),
        row(
            "starting",
            PhaseV1::Starting(StartingV1 { start: 3, boot: BOOT, since: AT }),
            LastV1::Ended(end(ExitStatusV1::Code(7), None)),
        ),
        row("running", PhaseV1::Running(run(Some(SHIM), None)), LastV1::Never),
        row("stopping", PhaseV1::Running(run(None, Some(stop))), LastV1::Ended(failed)),
        row("pausing", PhaseV1::Pausing(run(Some(SHIM), None)), LastV1::Never),
        row("paused", PhaseV1::Paused(run(Some(SHIM), None)), LastV1::Ended(lost)),
        row("resuming", PhaseV1::Resuming(run(Some(SHIM), None)), LastV1::Never),
        row("exited", PhaseV1::Exited(signalled.clone()), LastV1::AsPhase),
        row("removing", removing(Some(run(None, None)), None), LastV1::Never),
        row("removing-failed", removing(None, Some("busy")), LastV1::Ended(signalled)),
    ]
}
