//! The decision on every command in every phase.

use super::*;
use crate::id::SessionId;

/// A name is an event, `-` is nothing, `!` a refusal:
/// `!n` no such container, `!i` id taken, `!t` in transition, `!r` not running, `!p` paused, `!R` still running,
/// `!P` still paused, `!g` being removed (going), `!d` definition changed.
const TABLE: &str = "
                none    created                 starting        running                 stopping                pausing          paused                  resuming         exited                  removing     killing          failed          waiting
Create          Created !i                      !i              !i                      !i                      !i               !i                      !i               !i                      !i           !i               !i              !i
Start           !n      StartRequested          !t              -                       !t                      !t               !p                      !t               StartRequested          !g           !g               !g              RestartCancelled+StartRequested
Stop            !n      -                       !t              StopRequested           -                       !t               !p                      !t               -                       !g           !g               !g              RestartCancelled
StopAtOnce      !n      -                       !t              StopRequested           StopRequested           !t               !p                      !t               -                       !g           !g               !g              RestartCancelled
Restart         !n      StartRequested          !t              StopRequested           StopRequested           !t               !p                      !t               StartRequested          !g           !g               !g              RestartCancelled+StartRequested
Kill            !n      !r                      !t              Killed                  Killed                  !t               !p                      !t               !r                      !g           !g               !g              !r
Pause           !n      !r                      !t              PauseRequested          !t                      !t               -                       !t               !r                      !g           !g               !g              !r
Resume          !n      !r                      !t              -                       -                       !t               ResumeRequested         !t               !r                      !g           !g               !g              !r
Rename          !n      Renamed                 Renamed         Renamed                 Renamed                 Renamed          Renamed                 Renamed          Renamed                 !g           !g               !g              Renamed
Remove          !n      RemoveRequested         !t              !R                      !R                      !t               !P                      !t               RemoveRequested         -            -                RemoveRequested !R
RemoveByForce   !n      RemoveRequested         !t              RemoveRequested         RemoveRequested         !t               RemoveRequested         !t               RemoveRequested         -            Killed           RemoveRequested RemoveRequested
Started         -       -                       Started         -                       -                       -                -                       -                -                       -            -                -               -
StaleStarted    -       -                       -               -                       -                       -                -                       -                -                       -            -                -               -
StartFailed     -       -                       StartFailed     -                       -                       -                -                       -                -                       -            -                -               -
StaleFailed     -       -                       -               -                       -                       -                -                       -                -                       -            -                -               -
Paused          -       -                       -               -                       -                       Paused           -                       -                -                       -            -                -               -
PauseFailed     -       -                       -               -                       -                       PauseFailed      -                       -                -                       -            -                -               -
Resumed         -       -                       -               -                       -                       -                -                       Resumed          -                       -            -                -               -
ResumeFailed    -       -                       -               -                       -                       -                -                       ResumeFailed     -                       -            -                -               -
Deadline        -       -                       -               -                       Killed                  -                -                       -                -                       -            -                -               -
StaleDeadline   -       -                       -               -                       -                       -                -                       -                -                       -            -                -               -
Exit            -       -                       -               Exited                  Exited                  Exited           Exited                  Exited           -                       -            Exited           -               -
ExitByOom       -       -                       -               OomKilled+Exited        OomKilled+Exited        OomKilled+Exited OomKilled+Exited        OomKilled+Exited -                       -            OomKilled+Exited -               -
StaleExit       -       -                       -               -                       -                       -                -                       -                -                       -            -                -               -
Oom             -       -                       -               OomKilled               OomKilled               OomKilled        OomKilled               OomKilled        -                       -            OomKilled        -               -
StaleOom        -       -                       -               -                       -                       -                -                       -                -                       -            -                -               -
ShimLost        -       -                       -               ShimLost                ShimLost                ShimLost         ShimLost                ShimLost         -                       -            ShimLost         -               -
StaleShimLost   -       -                       -               -                       -                       -                -                       -                -                       -            -                -               -
ShimAdopted     -       -                       -               ShimAdopted             ShimAdopted             ShimAdopted      ShimAdopted             ShimAdopted      -                       -            ShimAdopted      -               -
Removed         -       -                       -               -                       -                       -                -                       -                -                       Removed      -                Removed         -
RemoveFailed    -       -                       -               -                       -                       -                -                       -                -                       RemoveFailed RemoveFailed     RemoveFailed    -
Update          !n      UpdateRequested+Updated !t              UpdateRequested         UpdateRequested         !t               UpdateRequested         !t               UpdateRequested+Updated !g           !g               !g              UpdateRequested+Updated
UpdateRestOnly  !n      UpdateRequested+Updated !t              UpdateRequested+Updated UpdateRequested+Updated !t               UpdateRequested+Updated !t               UpdateRequested+Updated !g           !g               !g              UpdateRequested+Updated
StaleUpdate     !n      !d                      !t              !d                      !d                      !t               !d                      !t               !d                      !g           !g               !g              !d
Exec            !n      !r                      !r              ExecStarted             ExecStarted             !t               !p                      !t               !r                      !g           !g               !g              !r
StaleExec       !n      !r                      !r              !r                      !r                      !r               !r                      !r               !r                      !g           !g               !g              !r
Attach          !n      !r                      !t              Attached                Attached                !t               !p                      !t               !r                      !g           !g               !g              !r
AttachStarting  !n      !r                      Attached        Attached                Attached                !t               !p                      !t               !r                      !g           !g               !g              !r
Updated         -       -                       -               -                       -                       -                -                       -                -                       -            -                -               -
UpdateFailed    -       -                       -               -                       -                       -                -                       -                -                       -            -                -               -
RestartDue      -       -                       -               -                       -                       -                -                       -                -                       -            -                -               RestartCancelled
StaleRestartDue -       -                       -               -                       -                       -                -                       -                -                       -            -                -               -
Health          -       -                       -               -                       -                       -                -                       -                -                       -            -                -               -
ExecExited      -       ExecExited              ExecExited      ExecExited              ExecExited              ExecExited       ExecExited              ExecExited       ExecExited              ExecExited   ExecExited       ExecExited      ExecExited
Detached        -       Detached                Detached        Detached                Detached                Detached         Detached                Detached         Detached                Detached     Detached         Detached        Detached
NetworkAttached -       -                       NetworkAttached NetworkAttached         NetworkAttached         NetworkAttached  NetworkAttached         NetworkAttached  -                       -            NetworkAttached  -               -
StaleNetwork    -       -                       -               -                       -                       -                -                       -                -                       -            -                -               -
NetworkDetached -       -                       -               -                       -                       -                -                       -                -                       -            -                -               -
";

fn command(label: &str) -> Command {
    let exit = |start, oom| Command::ReportExit { start, status: CODE, at: at(9), oom, boot: BOOT };
    let started = |start| Command::ReportStarted { start, process: PROCESS, shim: Some(SHIM), at: at(4) };
    let message = || "trouble".to_owned();
    let failed = |start| Command::ReportStartFailed { start, code: 127, message: message(), at: at(4) };
    let exec = |start| {
        let (argv, user) = ("id".to_owned(), String::new());
        Command::BeginExec { start, exec: SESSION, argv, user, tty: false, detached: false }
    };
    match label {
        "Create" => Command::Create { id: ID, card: card() },
        "Start" => Command::Start { boot: BOOT, at: at(10) },
        "Stop" => Command::Stop { signal: None, grace: None, at: at(10) },
        "StopAtOnce" => Command::Stop { signal: None, grace: Some(0), at: at(10) },
        "Restart" => Command::Restart { grace: None, boot: BOOT, at: at(10) },
        "Kill" => Command::Kill { signal: Signal(1) },
        "Pause" => Command::Pause,
        "Resume" => Command::Resume,
        "Rename" => Command::Rename { name: "db".parse().unwrap() },
        "Remove" => Command::Remove { force: false, volumes: false },
        "RemoveByForce" => Command::Remove { force: true, volumes: false },
        "Started" => started(START),
        "StaleStarted" => started(STALE),
        "StartFailed" => failed(START),
        "StaleFailed" => failed(STALE),
        "Paused" => Command::ReportPaused,
        "PauseFailed" => Command::ReportPauseFailed { message: message() },
        "Resumed" => Command::ReportResumed,
        "ResumeFailed" => Command::ReportResumeFailed { message: message() },
        "Deadline" => Command::StopDeadlinePassed { start: START },
        "StaleDeadline" => Command::StopDeadlinePassed { start: STALE },
        "Exit" => exit(START, false),
        "ExitByOom" => exit(START, true),
        "StaleExit" => exit(STALE, false),
        "Oom" => Command::ReportOom { start: START },
        "StaleOom" => Command::ReportOom { start: STALE },
        "ShimLost" => Command::ReportShimLost { start: START },
        "StaleShimLost" => Command::ReportShimLost { start: STALE },
        "ShimAdopted" => Command::ReportShimAdopted { start: START, shim: OTHER_SHIM },
        "Removed" => Command::ReportRemoved,
        "RemoveFailed" => Command::ReportRemoveFailed { message: message() },
        "Update" => update(Digest([3; 32]), true),
        "UpdateRestOnly" => update(Digest([3; 32]), false),
        "StaleUpdate" => update(Digest([4; 32]), true),
        "Exec" => exec(START),
        "StaleExec" => exec(STALE),
        "Attach" => Command::BeginAttach { session: SESSION, stdin: true, tty: false, starting: false },
        "AttachStarting" => Command::BeginAttach { session: SESSION, stdin: true, tty: false, starting: true },
        "Updated" => Command::ReportUpdated,
        "UpdateFailed" => Command::ReportUpdateFailed { message: message() },
        "RestartDue" => Command::RestartDue { start: START, boot: BOOT, at: at(12) },
        "StaleRestartDue" => Command::RestartDue { start: STALE, boot: BOOT, at: at(12) },
        "Health" => Command::ReportHealth { start: START, health: Health::Healthy },
        "ExecExited" => Command::ReportExecExited { exec: SESSION, status: CODE, at: at(9), lasted_ms: 5 },
        "Detached" => Command::ReportDetached { session: SESSION, lasted_ms: 5 },
        "NetworkAttached" => attached(START),
        "StaleNetwork" => attached(STALE),
        "NetworkDetached" => Command::ReportNetworkDetached { start: START },
        other => panic!("no command for `{other}`"),
    }
}

const SESSION: SessionId = SessionId([5; 8]);

/// Of the definition that the cards here have, if `base` is 3.
fn update(base: Digest, live: bool) -> Command {
    Command::Update { base, definition: Digest([6; 32]), restart: RestartPolicy::Always, live }
}

fn attached(start: StartId) -> Command {
    let addresses = vec!["10.1.0.2/16".to_owned()];
    Command::ReportNetworkAttached { start, network: "backend".to_owned(), addresses }
}

fn outcome(decision: &Result<Vec<Event>, Rejection>) -> String {
    match decision {
        Ok(events) if events.is_empty() => "-".to_owned(),
        Ok(events) => events.iter().map(Event::name).collect::<Vec<_>>().join("+"),
        Err(Rejection::NoSuchContainer) => "!n".to_owned(),
        Err(Rejection::IdTaken) => "!i".to_owned(),
        Err(Rejection::InTransition) => "!t".to_owned(),
        Err(Rejection::NotRunning) => "!r".to_owned(),
        Err(Rejection::Paused) => "!p".to_owned(),
        Err(Rejection::StillRunning) => "!R".to_owned(),
        Err(Rejection::StillPaused) => "!P".to_owned(),
        Err(Rejection::BeingRemoved) => "!g".to_owned(),
        Err(Rejection::SameName { .. }) => "!s".to_owned(),
        Err(Rejection::DefinitionChanged) => "!d".to_owned(),
    }
}

#[test]
fn every_command_in_every_phase() {
    let mut seen = std::collections::HashSet::new();
    for (label, cells) in rows(TABLE) {
        let command = command(label);
        seen.insert(std::mem::discriminant(&command));
        for ((name, phase), expected) in phases().into_iter().zip(cells) {
            let container = phase.map(container);
            let decision = super::super::decide(container.as_ref(), &command);
            assert_eq!(outcome(&decision), expected, "{label} while {name}");
        }
    }
    assert_eq!(seen.len(), random::VERBS, "a command has no row");
}

const TERM_LATER: Event =
    Event::StopRequested { start: START, signal: Signal::TERM, deadline: at(20), then_start: false };

fn stop(grace: Option<u32>, seconds: u64) -> Command {
    Command::Stop { signal: None, grace, at: at(seconds) }
}

#[test]
fn a_creation_records_the_whole_card() {
    Given(None)
        .when(Command::Create { id: ID, card: card() })
        .then([Event::Created { id: ID, card: card() }])
        .when(Command::Start { boot: BOOT, at: at(3) })
        .then([Event::StartRequested { start: StartId(2), boot: BOOT, at: at(3) }]);
}

#[test]
fn a_stop_uses_the_containers_own_signal_and_patience() {
    given(Phase::Running(run())).when(stop(None, 10)).then([TERM_LATER]);
}

#[test]
fn a_stop_uses_the_signal_and_patience_it_is_given() {
    let signal = Signal(2);
    given(Phase::Running(run()))
        .when(Command::Stop { signal: Some(signal), grace: Some(3), at: at(10) })
        .then([Event::StopRequested { start: START, signal, deadline: at(13), then_start: false }]);
}

#[test]
fn a_stop_without_patience_kills_at_once_and_only_once() {
    given(Phase::Running(run()))
        .when(Command::Stop { signal: Some(Signal(2)), grace: Some(0), at: at(10) })
        .then([Event::StopRequested { start: START, signal: Signal::KILL, deadline: at(10), then_start: false }])
        .when(Command::StopDeadlinePassed { start: START })
        .then([])
        .when(stop(Some(0), 11))
        .then([]);
}

#[test]
fn a_second_stop_joins_unless_it_is_less_patient() {
    given(Phase::Running(stopping()))
        .when(stop(Some(10), 10))
        .then([])
        .when(stop(Some(60), 10))
        .then([])
        .when(stop(Some(2), 10))
        .then([Event::StopRequested { start: START, signal: Signal::TERM, deadline: at(12), then_start: false }]);
}

#[test]
fn patience_ends_once() {
    given(Phase::Running(stopping()))
        .when(Command::StopDeadlinePassed { start: START })
        .then([Event::Killed { start: START, signal: Signal::KILL }])
        .when(Command::StopDeadlinePassed { start: START })
        .then([])
        // There is nothing left to hurry.
        .when(stop(Some(0), 10))
        .then([]);
}

#[test]
fn a_kill_by_hand_ends_the_patience_of_a_stop_only_when_it_is_sigkill() {
    given(Phase::Running(stopping()))
        .when(Command::Kill { signal: Signal(1) })
        .then([Event::Killed { start: START, signal: Signal(1) }])
        .when(Command::Kill { signal: Signal::KILL })
        .then([Event::Killed { start: START, signal: Signal::KILL }])
        .when(Command::StopDeadlinePassed { start: START })
        .then([]);
}

#[test]
fn a_restart_stops_first_and_starts_on_the_exit() {
    given(Phase::Running(run()))
        .when(Command::Restart { grace: None, boot: BOOT, at: at(10) })
        .then([Event::StopRequested { start: START, signal: Signal::TERM, deadline: at(20), then_start: true }])
        .when(Command::Start { boot: BOOT, at: at(11) })
        .rejected(Rejection::InTransition);
    given(Phase::Running(restarting()))
        .when(Command::ReportExit { start: START, status: CODE, at: at(12), oom: false, boot: NEXT_BOOT })
        .then([
            Event::Exited { start: START, status: CODE, at: at(12) },
            Event::StartRequested { start: StartId(10), boot: NEXT_BOOT, at: at(12) },
        ]);
}

#[test]
fn a_start_that_follows_an_exit_is_numbered_by_its_place_in_the_stream() {
    let given = given(Phase::Running(restarting()))
        .when(Command::ReportExit { start: START, status: CODE, at: at(12), oom: true, boot: BOOT })
        .then([
            Event::OomKilled { start: START },
            Event::Exited { start: START, status: CODE, at: at(12) },
            Event::StartRequested { start: StartId(11), boot: BOOT, at: at(12) },
        ]);
    assert_eq!(given.0.unwrap().version, 11);
}

#[test]
fn a_stop_takes_back_the_start_that_a_restart_wanted() {
    given(Phase::Running(restarting()))
        .when(stop(None, 10))
        .then([TERM_LATER])
        .when(Command::ReportExit { start: START, status: CODE, at: at(12), oom: false, boot: BOOT })
        .then([Event::Exited { start: START, status: CODE, at: at(12) }]);
}

#[test]
fn an_auto_remove_container_is_removed_when_it_exits_or_fails_to_start() {
    let exit = Command::ReportExit { start: START, status: CODE, at: at(9), oom: false, boot: BOOT };
    given(Phase::Running(run())).with(|container| container.card = auto_remove_card()).when(exit).then([
        Event::Exited { start: START, status: CODE, at: at(9) },
        Event::RemoveRequested { force: false, volumes: true },
    ]);
    let failed = Command::ReportStartFailed { start: START, code: 126, message: "no".to_owned(), at: at(4) };
    given(Phase::Starting(starting())).with(|container| container.card = auto_remove_card()).when(failed).then([
        Event::StartFailed { start: START, code: 126, message: "no".to_owned(), at: at(4) },
        Event::RemoveRequested { force: false, volumes: true },
    ]);
}

#[test]
fn an_auto_remove_container_survives_its_restart() {
    given(Phase::Running(restarting()))
        .with(|container| container.card = auto_remove_card())
        .when(Command::ReportExit { start: START, status: CODE, at: at(9), oom: false, boot: BOOT })
        .then([
            Event::Exited { start: START, status: CODE, at: at(9) },
            Event::StartRequested { start: StartId(10), boot: BOOT, at: at(9) },
        ]);
}

#[test]
fn nothing_follows_an_exit_during_a_removal() {
    let exit = Command::ReportExit { start: START, status: CODE, at: at(9), oom: false, boot: BOOT };
    given(removing(Some(restarting()), None))
        .with(|container| container.card = auto_remove_card())
        .when(exit)
        .then([Event::Exited { start: START, status: CODE, at: at(9) }])
        .when(Command::ReportRemoved)
        .then([Event::Removed]);
}

#[test]
fn a_removal_that_failed_may_be_asked_for_again() {
    let failed = |message: &str| Command::ReportRemoveFailed { message: message.to_owned() };
    given(removing(None, None))
        .when(failed("busy"))
        .then([Event::RemoveFailed { message: "busy".to_owned() }])
        .when(failed("busy"))
        .then([])
        .when(Command::Remove { force: false, volumes: false })
        .then([Event::RemoveRequested { force: false, volumes: false }])
        .when(Command::Remove { force: true, volumes: false })
        .then([])
        .when(failed("busy"))
        .then([Event::RemoveFailed { message: "busy".to_owned() }])
        .when(Command::ReportRemoved)
        .then([Event::Removed])
        .when(Command::ReportRemoved)
        .then([]);
}

#[test]
fn an_oom_is_recorded_once() {
    given(Phase::Running(run()))
        .when(Command::ReportOom { start: START })
        .then([Event::OomKilled { start: START }])
        .when(Command::ReportOom { start: START })
        .then([])
        .when(Command::ReportExit { start: START, status: CODE, at: at(9), oom: true, boot: BOOT })
        .then([Event::Exited { start: START, status: CODE, at: at(9) }]);
}

#[test]
fn a_shim_is_lost_once_and_adopted_once() {
    given(Phase::Paused(run()))
        .when(Command::ReportShimLost { start: START })
        .then([Event::ShimLost { start: START }])
        .when(Command::ReportShimLost { start: START })
        .then([])
        .when(Command::ReportShimAdopted { start: STALE, shim: OTHER_SHIM })
        .then([])
        .when(Command::ReportShimAdopted { start: START, shim: OTHER_SHIM })
        .then([Event::ShimAdopted { start: START, shim: OTHER_SHIM }])
        .when(Command::ReportShimAdopted { start: START, shim: OTHER_SHIM })
        .then([])
        .when(Command::ReportShimAdopted { start: START, shim: SHIM })
        .then([Event::ShimAdopted { start: START, shim: SHIM }]);
}

#[test]
fn a_rename_to_the_same_name_is_refused() {
    let name: Name = "web".parse().unwrap();
    given(Phase::Created).when(Command::Rename { name: name.clone() }).rejected(Rejection::SameName { name });
}

#[test]
fn a_command_line_and_a_message_are_cut_between_characters() {
    let long = "é".repeat(3000);
    assert_eq!(Card::command_line([&*long, "x"].into_iter()), "é".repeat(256));
    assert_eq!(Card::command_line(["sh", "-c", "true"].into_iter()), "sh -c true");
    let failed = Command::ReportStartFailed { start: START, code: 1, message: format!("a{long}"), at: at(4) };
    let message = format!("a{}", "é".repeat(383));
    given(Phase::Starting(starting())).when(failed).then([Event::StartFailed {
        start: START,
        code: 1,
        message,
        at: at(4),
    }]);
}

fn exit(seconds: u64) -> Command {
    Command::ReportExit { start: START, status: CODE, at: at(seconds), oom: false, boot: BOOT }
}

fn exited(seconds: u64) -> Event {
    Event::Exited { start: START, status: CODE, at: at(seconds) }
}

fn always(container: &mut Container) {
    container.card.restart = RestartPolicy::Always;
}

const fn millis(seconds: u64, millis: u64) -> Timestamp {
    Timestamp(at(seconds).0 + millis * 1_000_000)
}

#[test]
fn a_policy_restarts_with_growing_back_off() {
    let given = given(Phase::Running(run()))
        .with(always)
        .when(exit(9))
        .then([exited(9), Event::RestartScheduled { start: START, attempt: 1, due: millis(9, 100) }])
        .when(Command::RestartDue { start: START, boot: NEXT_BOOT, at: at(10) })
        .then([Event::StartRequested { start: StartId(11), boot: NEXT_BOOT, at: at(10) }]);
    assert_eq!(given.0.as_ref().unwrap().restarts, Restarts { count: 1, streak: 1, stopped: false });
    let start = StartId(11);
    let given = given
        .when(Command::ReportStarted { start, process: PROCESS, shim: None, at: at(10) })
        .then([Event::Started { start, process: PROCESS, shim: None, at: at(10) }])
        .when(Command::ReportExit { start, status: CODE, at: at(11), oom: false, boot: BOOT })
        .then([
            Event::Exited { start, status: CODE, at: at(11) },
            Event::RestartScheduled { start, attempt: 2, due: millis(11, 200) },
        ])
        // A late timer: a later restart is pending now.
        .when(Command::RestartDue { start: START, boot: BOOT, at: at(12) })
        .then([]);
    assert_eq!(given.0.unwrap().restarts, Restarts { count: 1, streak: 2, stopped: false });
}

#[test]
fn a_container_ended_by_a_user_is_not_restarted() {
    for end in [
        stop(None, 5),
        stop(Some(0), 5),
        Command::Kill { signal: Signal::KILL },
        Command::Kill { signal: Signal::TERM },
    ] {
        let mut container = Container {
            card: Card { restart: RestartPolicy::UnlessStopped, ..card() },
            ..container(Phase::Running(run()))
        };
        for event in super::super::decide(Some(&container), &end).unwrap() {
            container = evolve(Some(container), &event).unwrap();
        }
        Given(Some(container)).when(exit(9)).then([exited(9)]);
    }
    // Any other signal is no request to stay stopped.
    given(Phase::Running(run()))
        .with(always)
        .when(Command::Kill { signal: Signal(1) })
        .then([Event::Killed { start: START, signal: Signal(1) }])
        .when(exit(9))
        .then([exited(9), Event::RestartScheduled { start: START, attempt: 1, due: millis(9, 100) }]);
}

#[test]
fn a_failed_start_is_retried_only_if_it_was_by_policy() {
    let failed = Command::ReportStartFailed { start: START, code: 125, message: "no".to_owned(), at: at(9) };
    let event = Event::StartFailed { start: START, code: 125, message: "no".to_owned(), at: at(9) };
    given(Phase::Starting(starting())).with(always).when(failed.clone()).then([event.clone()]);
    given(Phase::Starting(starting()))
        .with(always)
        .with(|container| container.restarts = Restarts { count: 3, streak: 2, stopped: false })
        .when(failed)
        .then([event, Event::RestartScheduled { start: START, attempt: 4, due: millis(9, 400) }]);
}

#[test]
fn retries_end() {
    given(Phase::Running(run()))
        .with(|container| {
            container.card.restart = RestartPolicy::OnFailure { retries: 2 };
            container.restarts.count = 2;
        })
        .when(exit(9))
        .then([exited(9)]);
}

#[test]
fn a_users_start_replaces_a_pending_restart_and_resets_the_counters() {
    let given = given(Phase::Restarting(waiting()))
        .with(always)
        .with(|container| container.restarts = Restarts { count: 3, streak: 2, stopped: false })
        .when(Command::Start { boot: BOOT, at: at(10) })
        .then([
            Event::RestartCancelled { start: START },
            Event::StartRequested { start: StartId(10), boot: BOOT, at: at(10) },
        ])
        .when(Command::RestartDue { start: START, boot: BOOT, at: at(12) })
        .then([]);
    assert_eq!(given.0.unwrap().restarts, Restarts::default());
}

#[test]
fn an_update_is_made_of_the_present_definition_and_keeps_a_start_waiting() {
    let given = given(Phase::Running(run()))
        .when(update(Digest([3; 32]), true))
        .then([Event::UpdateRequested { definition: Digest([6; 32]), restart: RestartPolicy::Always }])
        .when(update(Digest([3; 32]), true))
        .rejected_yet(Rejection::InTransition)
        .when(exit(9))
        .then([exited(9)])
        .when(Command::Start { boot: BOOT, at: at(10) })
        .rejected_yet(Rejection::InTransition)
        .when(Command::ReportUpdated)
        .then([Event::Updated])
        .when(update(Digest([3; 32]), true))
        .rejected_yet(Rejection::DefinitionChanged)
        // An update without a difference.
        .when(update(Digest([6; 32]), true))
        .then([]);
    let card = given.0.unwrap().card;
    assert_eq!((card.definition, card.restart), (Digest([6; 32]), RestartPolicy::Always));
}

#[test]
fn a_failed_update_changes_nothing() {
    let given = given(Phase::Paused(run()))
        .when(update(Digest([3; 32]), true))
        .then([Event::UpdateRequested { definition: Digest([6; 32]), restart: RestartPolicy::Always }])
        .when(Command::ReportUpdateFailed { message: "no".to_owned() })
        .then([Event::UpdateFailed { message: "no".to_owned() }]);
    assert_eq!(given.0.unwrap(), Container { version: 10, ..container(Phase::Paused(run())) });
}

#[test]
fn health_is_recorded_on_change_and_only_where_watched() {
    let health = |health| Command::ReportHealth { start: START, health };
    let watched = Run { health: Some(Health::Starting), ..run() };
    given(Phase::Running(watched))
        .when(health(Health::Starting))
        .then([])
        .when(health(Health::Unhealthy))
        .then([Event::HealthChanged { start: START, health: Health::Unhealthy }])
        .when(health(Health::Unhealthy))
        .then([]);
    given(Phase::Starting(starting()))
        .with(|container| container.card.health = HealthAction::Watch)
        .when(Command::ReportStarted { start: START, process: PROCESS, shim: Some(SHIM), at: at(4) })
        .then([Event::Started { start: START, process: PROCESS, shim: Some(SHIM), at: at(4) }])
        .when(health(Health::Healthy))
        .then([Event::HealthChanged { start: START, health: Health::Healthy }]);
}

#[test]
fn network_attachments_are_recorded_once_and_end_together() {
    let event = Event::NetworkAttached {
        start: START,
        network: "backend".to_owned(),
        addresses: vec!["10.1.0.2/16".to_owned()],
    };
    let given = given(Phase::Starting(starting()))
        .when(attached(START))
        .then([event])
        .when(attached(START))
        .then([])
        .when(Command::ReportNetworkDetached { start: STALE })
        .then([])
        .when(Command::ReportNetworkDetached { start: START })
        .then([Event::NetworkDetached { start: START }]);
    assert_eq!(given.0.unwrap().networks, []);
}

#[test]
fn recorded_texts_of_an_exec_are_cut() {
    let long = "é".repeat(300);
    let argv = long.clone();
    given(Phase::Running(run()))
        .when(Command::BeginExec { start: START, exec: SESSION, argv, user: long, tty: true, detached: true })
        .then([Event::ExecStarted {
            start: START,
            exec: SESSION,
            argv: "é".repeat(128),
            user: "é".repeat(32),
            tty: true,
            detached: true,
        }]);
}
