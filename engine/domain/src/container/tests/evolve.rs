//! The effect of every event on every phase, also on those it does not fit.

use super::*;
use crate::id::SessionId;

/// The phase after the event; `=` changes nothing but the version. `none` for gone.
const TABLE: &str = "
                 none    created  starting running  stopping pausing  paused   resuming exited   removing killing  failed   waiting
Created          created =        =        =        =        =        =        =        =        =        =        =        =
StartRequested   none    starting starting starting starting starting starting starting starting starting starting starting starting
Started          none    =        running  =        =        =        =        =        =        =        =        =        =
StaleStarted     none    =        =        =        =        =        =        =        =        =        =        =        =
StartFailed      none    =        exited   =        =        =        =        =        =        =        =        =        =
StaleFailed      none    =        =        =        =        =        =        =        =        =        =        =        =
PauseRequested   none    =        =        pausing  pausing  =        pausing  pausing  =        =        =        =        =
Paused           none    =        =        paused   paused   paused   =        paused   =        =        =        =        =
PauseFailed      none    =        =        =        =        running  running  running  =        =        =        =        =
ResumeRequested  none    =        =        resuming resuming resuming resuming =        =        =        =        =        =
Resumed          none    =        =        =        =        running  running  running  =        =        =        =        =
ResumeFailed     none    =        =        paused   paused   paused   =        paused   =        =        =        =        =
StopRequested    none    =        =        stopping =        +        +        +        =        =        +        =        =
StaleStop        none    =        =        =        =        =        =        =        =        =        =        =        =
Killed           none    =        =        +        +        +        +        +        =        =        +        =        =
StaleKilled      none    =        =        =        =        =        =        =        =        =        =        =        =
Exited           none    =        =        exited   exited   exited   exited   exited   =        =        removing =        =
StaleExited      none    =        =        =        =        =        =        =        =        =        =        =        =
OomKilled        none    =        =        +        +        +        +        +        =        =        +        =        =
StaleOom         none    =        =        =        =        =        =        =        =        =        =        =        =
Renamed          none    +        +        +        +        +        +        +        +        +        +        +        +
ShimLost         none    =        =        +        +        +        +        +        =        =        +        =        =
StaleShimLost    none    =        =        =        =        =        =        =        =        =        =        =        =
ShimAdopted      none    =        =        +        +        +        +        +        =        =        +        =        =
StaleAdopted     none    =        =        =        =        =        =        =        =        =        =        =        =
RemoveRequested  none    removing removing killing  killing  killing  killing  killing  removing =        =        removing removing
RemoveFailed     none    =        =        =        =        =        =        =        =        failed   failed   failed   =
Removed          none    none     none     none     none     none     none     none     none     none     none     none     none
UpdateRequested  none    +        +        +        +        +        +        +        +        +        +        +        +
Updated          none    =        =        =        =        =        =        =        =        =        =        =        =
UpdateFailed     none    =        =        =        =        =        =        =        =        =        =        =        =
RestartScheduled none    =        =        =        =        =        =        =        waiting  =        =        =        =
StaleScheduled   none    =        =        =        =        =        =        =        =        =        =        =        =
RestartCancelled none    =        =        =        =        =        =        =        =        =        =        =        exited
StaleCancelled   none    =        =        =        =        =        =        =        =        =        =        =        =
HealthChanged    none    =        =        +        +        +        +        +        =        =        +        =        =
StaleHealth      none    =        =        =        =        =        =        =        =        =        =        =        =
ExecStarted      none    =        =        =        =        =        =        =        =        =        =        =        =
ExecExited       none    =        =        =        =        =        =        =        =        =        =        =        =
Attached         none    =        =        =        =        =        =        =        =        =        =        =        =
Detached         none    =        =        =        =        =        =        =        =        =        =        =        =
NetworkAttached  none    +        +        +        +        +        +        +        +        +        +        +        +
NetworkDetached  none    =        =        =        =        =        =        =        =        =        =        =        =
";

fn event(label: &str) -> Event {
    let message = || "busy".to_owned();
    let started = |start| Event::Started { start, process: PROCESS, shim: Some(SHIM), at: at(4) };
    let failed = |start| Event::StartFailed { start, code: 127, message: message(), at: at(9) };
    let stop = |start| Event::StopRequested { start, signal: Signal::TERM, deadline: at(20), then_start: false };
    match label {
        "Created" => Event::Created { id: ID, card: card() },
        "StartRequested" => Event::StartRequested { start: StartId(9), boot: BOOT, at: at(10) },
        "Started" => started(START),
        "StaleStarted" => started(STALE),
        "StartFailed" => failed(START),
        "StaleFailed" => failed(STALE),
        "PauseRequested" => Event::PauseRequested,
        "Paused" => Event::Paused,
        "PauseFailed" => Event::PauseFailed { message: message() },
        "ResumeRequested" => Event::ResumeRequested,
        "Resumed" => Event::Resumed,
        "ResumeFailed" => Event::ResumeFailed { message: message() },
        "StopRequested" => stop(START),
        "StaleStop" => stop(STALE),
        "Killed" => Event::Killed { start: START, signal: Signal::KILL },
        "StaleKilled" => Event::Killed { start: STALE, signal: Signal::KILL },
        "Exited" => Event::Exited { start: START, status: CODE, at: at(9) },
        "StaleExited" => Event::Exited { start: STALE, status: CODE, at: at(9) },
        "OomKilled" => Event::OomKilled { start: START },
        "StaleOom" => Event::OomKilled { start: STALE },
        "Renamed" => Event::Renamed { from: "web".parse().unwrap(), to: "db".parse().unwrap() },
        "ShimLost" => Event::ShimLost { start: START },
        "StaleShimLost" => Event::ShimLost { start: STALE },
        "ShimAdopted" => Event::ShimAdopted { start: START, shim: OTHER_SHIM },
        "StaleAdopted" => Event::ShimAdopted { start: STALE, shim: OTHER_SHIM },
        "RemoveRequested" => Event::RemoveRequested { force: false, volumes: false },
        "RemoveFailed" => Event::RemoveFailed { message: message() },
        "Removed" => Event::Removed,
        "UpdateRequested" => Event::UpdateRequested { definition: Digest([6; 32]), restart: RestartPolicy::Always },
        "Updated" => Event::Updated,
        "UpdateFailed" => Event::UpdateFailed { message: message() },
        "RestartScheduled" => Event::RestartScheduled { start: START, attempt: 1, due: at(12) },
        "StaleScheduled" => Event::RestartScheduled { start: STALE, attempt: 1, due: at(12) },
        "RestartCancelled" => Event::RestartCancelled { start: START },
        "StaleCancelled" => Event::RestartCancelled { start: STALE },
        "HealthChanged" => Event::HealthChanged { start: START, health: Health::Healthy },
        "StaleHealth" => Event::HealthChanged { start: STALE, health: Health::Healthy },
        "ExecStarted" => Event::ExecStarted {
            start: START,
            exec: SessionId([5; 8]),
            argv: "id".to_owned(),
            user: String::new(),
            tty: false,
            detached: true,
        },
        "ExecExited" => Event::ExecExited { exec: SessionId([5; 8]), status: CODE, at: at(9), lasted_ms: 5 },
        "Attached" => Event::Attached { session: SessionId([5; 8]), stdin: true, tty: false },
        "Detached" => Event::Detached { session: SessionId([5; 8]), lasted_ms: 5 },
        "NetworkAttached" => Event::NetworkAttached { start: START, network: "backend".to_owned(), addresses: vec![] },
        "NetworkDetached" => Event::NetworkDetached { start: START },
        other => panic!("no event for `{other}`"),
    }
}

/// The column a container belongs to.
fn column(container: Option<&Container>) -> &'static str {
    match container.map(|container| &container.phase) {
        None => "none",
        Some(Phase::Created) => "created",
        Some(Phase::Starting(_)) => "starting",
        Some(Phase::Running(run)) if run.stop.is_some() => "stopping",
        Some(Phase::Running(_)) => "running",
        Some(Phase::Pausing(_)) => "pausing",
        Some(Phase::Paused(_)) => "paused",
        Some(Phase::Resuming(_)) => "resuming",
        Some(Phase::Exited(_)) => "exited",
        Some(Phase::Restarting(_)) => "waiting",
        Some(Phase::Removing(removing)) => match (&removing.failed, &removing.run) {
            (Some(_), _) => "failed",
            (None, Some(_)) => "killing",
            (None, None) => "removing",
        },
    }
}

#[test]
fn every_event_in_every_phase() {
    let mut seen = std::collections::HashSet::new();
    for (label, cells) in rows(TABLE) {
        let event = event(label);
        seen.insert(event.name());
        for ((name, phase), expected) in phases().into_iter().zip(cells) {
            let before = phase.map(container);
            let after = evolve(before.clone(), &event);
            let versioned = before.clone().map(|before| Container { version: 9, ..before });
            let say = format!("{label} while {name}");
            match expected {
                "=" => assert_eq!(after, versioned, "{say}"),
                // Changed within its phase.
                "+" => {
                    assert_ne!(after, versioned, "{say}");
                    assert_eq!(column(after.as_ref()), name, "{say}");
                }
                phase => assert_eq!(column(after.as_ref()), phase, "{say}"),
            }
            if let Some(after) = after {
                assert_eq!(after.version, if before.is_some() { 9 } else { 1 }, "{say}");
            }
        }
    }
    assert_eq!(seen.len(), 32, "an event has no row");
}

#[test]
fn a_run_begins_with_its_process_shim_time_and_the_boot_of_its_request() {
    let event = Event::Started { start: START, process: PROCESS, shim: Some(SHIM), at: at(4) };
    assert_eq!(given(Phase::Starting(starting())).becomes(event).unwrap().phase, Phase::Running(run()));
}

#[test]
fn an_end_remembers_when_the_run_began_and_whether_memory_ran_out() {
    let exited = Event::Exited { start: START, status: CODE, at: at(9) };
    let after = given(Phase::Paused(Run { oom: true, ..run() })).becomes(exited).unwrap();
    let end = End { oom: true, ..end() };
    assert_eq!((after.phase, after.last), (Phase::Exited(end.clone()), Some(end)));
}

#[test]
fn a_failed_start_is_an_end_that_never_began() {
    let failed = Event::StartFailed { start: START, code: 127, message: "no such file".to_owned(), at: at(9) };
    let after = given(Phase::Starting(starting())).becomes(failed).unwrap();
    let end = End {
        start: START,
        status: ExitStatus::Code(127),
        started_at: None,
        at: at(9),
        oom: false,
        error: Some("no such file".to_owned()),
    };
    assert_eq!((after.phase, after.last), (Phase::Exited(end.clone()), Some(end)));
}

#[test]
fn the_last_end_is_kept_through_a_start_and_a_removal() {
    let given = given(Phase::Exited(end()))
        .when(Command::Start { boot: BOOT, at: at(10) })
        .then([Event::StartRequested { start: StartId(9), boot: BOOT, at: at(10) }]);
    assert_eq!(given.0.as_ref().unwrap().last, Some(end()));
    let removing =
        super::given(Phase::Exited(end())).becomes(Event::RemoveRequested { force: false, volumes: false }).unwrap();
    assert_eq!(removing.last, Some(end()));
}

#[test]
fn a_container_killed_by_its_removal_has_an_end() {
    let exited = Event::Exited { start: START, status: CODE, at: at(9) };
    let after = given(removing(Some(run()), None)).becomes(exited).unwrap();
    assert_eq!((after.phase, after.last), (removing(None, None), Some(end())));
}

#[test]
fn a_stop_by_sigkill_needs_no_second_one() {
    let stop = |signal| Event::StopRequested { start: START, signal, deadline: at(20), then_start: true };
    for (signal, killed) in [(Signal::KILL, true), (Signal::TERM, false)] {
        let after = given(Phase::Running(run())).becomes(stop(signal)).unwrap();
        let run = Run { stop: Some(Stop { signal, deadline: at(20), killed, then_start: true }), ..run() };
        assert_eq!(after.phase, Phase::Running(run));
    }
}

#[test]
fn a_renamed_container_has_the_new_name() {
    let given = given_events([
        Event::Created { id: ID, card: card() },
        Event::Renamed { from: "web".parse().unwrap(), to: "db".parse().unwrap() },
    ]);
    assert_eq!(given.0.unwrap().card, Card { name: "db".parse().unwrap(), ..card() });
}
