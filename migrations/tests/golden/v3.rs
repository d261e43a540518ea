//! Samples of the shapes that format 3 brought. Never edited; a new one may be added.

use migrations::What;
use migrations::v1::*;
use migrations::v3::*;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::Sample;

const AT: u64 = 1_764_000_000_000_000_001;
const DEFINITION: [u8; 32] = *b"0123456789abcdefghijklmnopqrstuv";

fn event<T>(kind: u16, schema: u16, name: &str, event: T) -> Sample
where
    T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug + 'static,
{
    let context = ContextV1 {
        actor: ActorV1::RestartPolicy,
        operation: [0xb0, 0xb1, 0xb2, 0xb3, 0xb4, 0xb5, 0xb6, 0xb7],
        name: "db".to_owned(),
        image: "registry.example/pg:17".to_owned(),
    };
    Sample::new(format!("v3/event-{kind:03}-{name}.bin"), What::Event(kind), schema, (context, event))
}

fn card(restart: RestartPolicyV1, health: HealthActionV1) -> CardV3 {
    CardV3 {
        name: "db".to_owned(),
        image: "registry.example/pg:17".to_owned(),
        image_id: Some(*b"vutsrqponmlkjihgfedcba9876543210"),
        runtime: "runc".to_owned(),
        command: "postgres -c \u{00bb}fsync=on\u{00ab}".to_owned(),
        definition: DEFINITION,
        created_at: AT - 7,
        auto_remove: false,
        tty: true,
        open_stdin: false,
        stop_signal: 2,
        stop_timeout: 60,
        restart,
        health,
    }
}

fn run(health: Option<HealthV1>) -> RunV2 {
    RunV2 {
        start: 3,
        boot: *b"boot-id-16-bytes",
        process: ProcessV1 { pid: 4_194_303, start_time: 987_654_321 },
        shim: Some(ProcessV1 { pid: 4_194_302, start_time: 987_654_320 }),
        since: AT,
        stop: Some(StopV1 { signal: 2, deadline: AT + 60, killed: false, then_start: true }),
        oom: false,
        health,
    }
}

fn end() -> EndV1 {
    let status = ExitStatusV1::Code(3);
    EndV1 { start: 3, status, started_at: Some(AT), at: AT + 5, oom: false, error: None }
}

pub fn samples() -> Vec<Sample> {
    let mut samples = events();
    samples.extend(rows());
    samples
}

fn events() -> Vec<Sample> {
    let on_failure = RestartPolicyV1::OnFailure { retries: 5 };
    let exec = *b"exec-ses";
    let created = CreateRequestedV3 { card: card(RestartPolicyV1::UnlessStopped, HealthActionV1::Kill) };
    let started = ExecStartedV1 {
        start: 3,
        exec,
        argv: "sh -c \u{00bb}id\u{00ab}".to_owned(),
        user: "app:staff".to_owned(),
        tty: true,
        detached: false,
    };
    let addresses = vec!["10.1.0.2/16".to_owned(), "fd00::2/64".to_owned()];
    vec![
        event(1, 3, "create-requested", created),
        event(23, 1, "update-requested", UpdateRequestedV1 { definition: DEFINITION, restart: on_failure }),
        event(24, 1, "updated", UpdatedV1 {}),
        event(25, 1, "update-failed", UpdateFailedV1 { message: "busy".to_owned() }),
        event(26, 1, "restart-scheduled", RestartScheduledV1 { start: 3, attempt: 2, due: AT + 200 }),
        event(27, 1, "restart-cancelled", RestartCancelledV1 { start: 3 }),
        event(28, 1, "health-changed", HealthChangedV1 { start: 3, health: HealthV1::Unhealthy }),
        event(29, 1, "exec-started", started),
        event(
            30,
            1,
            "exec-exited",
            ExecExitedV1 { exec, status: ExitStatusV1::Signal(9), at: AT + 9, lasted_ms: 4_000_000_000 },
        ),
        event(31, 1, "attached", AttachedV1 { session: *b"attached", stdin: true, tty: false }),
        event(32, 1, "detached", DetachedV1 { session: *b"attached", lasted_ms: 12 }),
        event(33, 1, "network-attached", NetworkAttachedV1 { start: 3, network: "backend".to_owned(), addresses }),
        event(34, 1, "network-detached", NetworkDetachedV1 { start: 3 }),
    ]
}

fn rows() -> Vec<Sample> {
    use HealthActionV1 as Action;
    use RestartPolicyV1 as Policy;
    let sample = |name: &str, restart, health, phase, last, update, networks| {
        let restarts = RestartsV1 { count: 4, streak: 2, stopped: name == "exited" };
        let row = ContainerRowV3 { card: card(restart, health), phase, last, restarts, update, networks };
        Sample::new(format!("v3/row-container-{name}.bin"), What::Row(1), 3, row)
    };
    let starting = StartingV1 { start: 3, boot: *b"boot-id-16-bytes", since: AT };
    let network = |network: &str, address: &str| AttachmentV1 {
        start: 3,
        network: network.to_owned(),
        addresses: vec![address.to_owned()],
    };
    let restarting = RestartingV1 { end: end(), due: AT + 205, attempt: 5 };
    let removing = RemovingV3 { run: Some(run(None)), failed: Some("busy".to_owned()), volumes: true };
    let update = Some(UpdateV1 { definition: *b"ABCDEFGHIJKLMNOPQRSTUVWXYZ012345", restart: Policy::OnReboot });
    let healthy = run(Some(HealthV1::Healthy));
    vec![
        sample("creating", Policy::No, Action::Unwatched, PhaseV3::Creating, LastV1::Never, None, vec![]),
        sample("created", Policy::Always, Action::Watch, PhaseV3::Created, LastV1::Never, update, vec![]),
        sample(
            "starting",
            Policy::Always,
            Action::Watch,
            PhaseV3::Starting(starting),
            LastV1::Ended(end()),
            None,
            vec![network("backend", "10.1.0.2/16"), network("front", "fd00::2/64")],
        ),
        sample(
            "running",
            Policy::OnFailure { retries: 3 },
            Action::Kill,
            PhaseV3::Running(healthy.clone()),
            LastV1::Never,
            update,
            vec![network("backend", "10.1.0.2/16")],
        ),
        sample("pausing", Policy::No, Action::Watch, PhaseV3::Pausing(healthy.clone()), LastV1::Never, None, vec![]),
        sample("paused", Policy::No, Action::Watch, PhaseV3::Paused(healthy), LastV1::Never, None, vec![]),
        sample("resuming", Policy::No, Action::Unwatched, PhaseV3::Resuming(run(None)), LastV1::Never, None, vec![]),
        sample("exited", Policy::Always, Action::Unwatched, PhaseV3::Exited(end()), LastV1::AsPhase, None, vec![]),
        sample(
            "restarting",
            Policy::UnlessStopped,
            Action::Unwatched,
            PhaseV3::Restarting(restarting),
            LastV1::AsPhase,
            None,
            vec![],
        ),
        sample("removing", Policy::No, Action::Unwatched, PhaseV3::Removing(removing), LastV1::Never, None, vec![]),
    ]
}
