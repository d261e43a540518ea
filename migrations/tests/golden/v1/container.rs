//! Events and rows of containers.

use migrations::v1::*;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{AT, NGINX, context, peer, row};
use crate::Sample;

const BOOT: [u8; 16] = *b"boot-id-16-bytes";
const PROCESS: ProcessV1 = ProcessV1 { pid: 4_194_303, start_time: 987_654_321 };
const SHIM: ProcessV1 = ProcessV1 { pid: 4_194_302, start_time: 987_654_320 };
const DEFINITION: [u8; 32] = *b"0123456789abcdefghijklmnopqrstuv";
const IMAGE_ID: [u8; 32] = *b"vutsrqponmlkjihgfedcba9876543210";

fn event<T>(kind: u16, name: &str, actor: ActorV1, event: T) -> Sample
where
    T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug + 'static,
{
    super::event(kind, name, context(actor, "web", NGINX), event)
}

fn card(image_id: Option<[u8; 32]>, restart: RestartPolicyV1, health: HealthActionV1) -> CardV1 {
    CardV1 {
        name: "web".to_owned(),
        image: NGINX.to_owned(),
        image_id,
        runtime: "crun".to_owned(),
        command: "/usr/sbin/nginx -g \u{00bb}daemon off\u{00ab}".to_owned(),
        definition: DEFINITION,
        created_at: 1_700_000_000_123_456_789,
        auto_remove: true,
        tty: false,
        open_stdin: true,
        stop_signal: 15,
        stop_timeout: 10,
        restart,
        health,
    }
}

fn run(shim: Option<ProcessV1>, stop: Option<StopV1>, health: Option<HealthV1>) -> RunV1 {
    RunV1 { start: 3, boot: BOOT, process: PROCESS, shim, since: AT, stop, oom: false, health }
}

fn end(status: ExitStatusV1, error: Option<&str>) -> EndV1 {
    let started_at = if error.is_none() { Some(AT) } else { None };
    EndV1 { start: 3, status, started_at, at: AT + 5, oom: true, error: error.map(str::to_owned) }
}

pub(super) fn events() -> Vec<Sample> {
    let mut samples = of_runs();
    samples.extend(of_definitions());
    samples.extend(of_sessions());
    samples
}

fn message() -> String {
    "cannot mount `/x`: no such device".to_owned()
}

fn of_runs() -> Vec<Sample> {
    use ActorV1::{Engine, Recovery};
    let exited = |name: &str, status| event(13, name, Recovery, ExitedV1 { start: 3, status, at: AT });
    let unknown = ExitStatusV1::Unknown;
    let stop = StopRequestedV1 { start: 3, signal: 15, deadline: AT + 10_000_000_000, then_start: true };
    vec![
        event(2, "start-requested", peer(), StartRequestedV1 { start: 3, boot: BOOT, at: AT }),
        event(3, "started", Engine, StartedV1 { start: 3, process: PROCESS, shim: Some(SHIM), at: AT }),
        event(3, "started-without-shim", Recovery, StartedV1 { start: 3, process: PROCESS, shim: None, at: AT }),
        event(4, "start-failed", Engine, StartFailedV1 { start: 3, code: 126, message: message(), at: AT }),
        event(5, "pause-requested", peer(), PauseRequestedV1 {}),
        event(6, "paused", Engine, PausedV1 {}),
        event(7, "pause-failed", Engine, PauseFailedV1 { message: message() }),
        event(8, "resume-requested", peer(), ResumeRequestedV1 {}),
        event(9, "resumed", Engine, ResumedV1 {}),
        event(10, "resume-failed", Engine, ResumeFailedV1 { message: message() }),
        event(11, "stop-requested", peer(), stop),
        event(12, "killed", Engine, KilledV1 { start: 3, signal: 9 }),
        exited("exited-code", ExitStatusV1::Code(7)),
        exited("exited-signal", ExitStatusV1::Signal(11)),
        exited("exited-reboot", unknown(CauseV1::HostReboot)),
        exited("exited-lost", unknown(CauseV1::ShimAndProcessLost)),
        exited("exited-shim-lost", unknown(CauseV1::ShimLost)),
        event(14, "oom-killed", Engine, OomKilledV1 { start: 3 }),
        event(16, "shim-lost", Engine, ShimLostV1 { start: 3 }),
        event(17, "shim-adopted", Engine, ShimAdoptedV1 { start: 3, shim: SHIM }),
        event(
            21,
            "restart-scheduled",
            ActorV1::RestartPolicy,
            RestartScheduledV1 { start: 3, attempt: 2, due: AT + 200 },
        ),
        event(22, "restart-cancelled", peer(), RestartCancelledV1 { start: 3 }),
        event(23, "health-changed", Engine, HealthChangedV1 { start: 3, health: HealthV1::Unhealthy }),
    ]
}

fn of_definitions() -> Vec<Sample> {
    use HealthActionV1 as Action;
    use RestartPolicyV1 as Policy;
    let created = |image_id, restart, health| CreatedV1 { card: card(image_id, restart, health) };
    let on_failure = Policy::OnFailure { retries: 5 };
    vec![
        event(1, "created", peer(), created(Some(IMAGE_ID), Policy::UnlessStopped, Action::Kill)),
        event(1, "created-without-image", peer(), created(None, Policy::No, Action::Unwatched)),
        event(15, "renamed", peer(), RenamedV1 { from: "web".to_owned(), to: "web2".to_owned() }),
        event(18, "update-requested", peer(), UpdateRequestedV1 { definition: DEFINITION, restart: on_failure }),
        event(19, "updated", ActorV1::Engine, UpdatedV1 {}),
        event(20, "update-failed", ActorV1::Engine, UpdateFailedV1 { message: message() }),
        event(30, "remove-requested", peer(), RemoveRequestedV1 { force: true, volumes: false }),
        event(31, "remove-failed", ActorV1::Engine, RemoveFailedV1 { message: message() }),
        event(32, "removed", ActorV1::Engine, RemovedV1 {}),
    ]
}

fn of_sessions() -> Vec<Sample> {
    use ActorV1::Engine;
    let exec = *b"exec-ses";
    let started = ExecStartedV1 {
        start: 3,
        exec,
        argv: "sh -c \u{00bb}id\u{00ab}".to_owned(),
        user: "app:staff".to_owned(),
        tty: true,
        detached: false,
    };
    let exited = ExecExitedV1 { exec, status: ExitStatusV1::Signal(9), at: AT + 9, lasted_ms: 4_000_000_000 };
    let addresses = vec!["10.1.0.2/16".to_owned(), "fd00::2/64".to_owned()];
    vec![
        event(24, "exec-started", peer(), started),
        event(25, "exec-exited", Engine, exited),
        event(26, "attached", peer(), AttachedV1 { session: *b"attached", stdin: true, tty: false }),
        event(27, "detached", Engine, DetachedV1 { session: *b"attached", lasted_ms: 12 }),
        event(28, "network-attached", Engine, NetworkAttachedV1 { start: 3, network: "backend".to_owned(), addresses }),
        event(29, "network-detached", Engine, NetworkDetachedV1 { start: 3 }),
    ]
}

/// A minimal row: its own policy, and no data beside the phase.
fn plain(phase: PhaseV1, last: LastV1) -> ContainerRowV1 {
    let card = card(Some(IMAGE_ID), RestartPolicyV1::No, HealthActionV1::Unwatched);
    let restarts = RestartsV1 { count: 0, streak: 0, stopped: false };
    ContainerRowV1 { card, phase, last, restarts, update: None, networks: vec![] }
}

pub(super) fn rows() -> Vec<Sample> {
    let sample = |name: &str, state| row(1, &format!("container-{name}"), state);
    let stop = StopV1 { signal: 15, deadline: AT, killed: true, then_start: true };
    let failed = end(ExitStatusV1::Code(126), Some("not executable"));
    let signalled = end(ExitStatusV1::Signal(6), None);
    let lost = end(ExitStatusV1::Unknown(CauseV1::ShimLost), None);
    let restarting = RestartingV1 { end: signalled.clone(), due: AT + 205, attempt: 5 };
    let removing = |run, failed: Option<&str>, volumes| {
        PhaseV1::Removing(RemovingV1 { run, failed: failed.map(str::to_owned), volumes })
    };
    let running = run(Some(SHIM), None, None);
    let unhealthy = run(None, Some(stop), Some(HealthV1::Unhealthy));
    let mut samples = full_rows();
    samples.extend([
        sample("created", plain(PhaseV1::Created, LastV1::Never)),
        sample("stopping", plain(PhaseV1::Running(unhealthy), LastV1::Ended(failed))),
        sample("pausing", plain(PhaseV1::Pausing(running.clone()), LastV1::Never)),
        sample("paused", plain(PhaseV1::Paused(running.clone()), LastV1::Ended(lost))),
        sample("resuming", plain(PhaseV1::Resuming(running.clone()), LastV1::Never)),
        sample("exited", plain(PhaseV1::Exited(signalled.clone()), LastV1::AsPhase)),
        sample("restarting", plain(PhaseV1::Restarting(restarting), LastV1::AsPhase)),
        sample("removing", plain(removing(Some(running), None, true), LastV1::Never)),
        sample("removing-failed", plain(removing(None, Some("busy"), false), LastV1::Ended(signalled))),
    ]);
    samples
}

/// Rows with all optional data beside the phase.
fn full_rows() -> Vec<Sample> {
    use HealthActionV1 as Action;
    use RestartPolicyV1 as Policy;
    let network = |network: &str, address: &str| AttachmentV1 {
        start: 3,
        network: network.to_owned(),
        addresses: vec![address.to_owned()],
    };
    let last = LastV1::Ended(end(ExitStatusV1::Code(7), None));
    let starting = PhaseV1::Starting(StartingV1 { start: 3, boot: BOOT, since: AT });
    let networks = vec![network("backend", "10.1.0.2/16"), network("front", "fd00::2/64")];
    let starting = ContainerRowV1 {
        card: card(None, Policy::Always, Action::Watch),
        restarts: RestartsV1 { count: 4, streak: 2, stopped: false },
        networks,
        ..plain(starting, last)
    };
    let running = PhaseV1::Running(run(Some(SHIM), None, Some(HealthV1::Healthy)));
    let update = UpdateV1 { definition: *b"ABCDEFGHIJKLMNOPQRSTUVWXYZ012345", restart: Policy::OnReboot };
    let running = ContainerRowV1 {
        card: card(Some(IMAGE_ID), Policy::OnFailure { retries: 3 }, Action::Kill),
        restarts: RestartsV1 { count: 0, streak: 0, stopped: true },
        update: Some(update),
        networks: vec![network("backend", "10.1.0.2/16")],
        ..plain(running, LastV1::Never)
    };
    vec![row(1, "container-starting", starting), row(1, "container-running", running)]
}
