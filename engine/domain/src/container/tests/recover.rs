//! The recovery of every phase under every observation.

use super::super::recover;
use super::*;

/// No trace, on the same boot.
const NOTHING: Observation =
    Observation { boot: BOOT, at: at(50), shim: None, process: None, exit: None, frozen: false };
const LIVES: Observation = Observation { shim: Some(SHIM), process: Some(PROCESS), ..NOTHING };
const SHIM_DEAD: Observation = Observation { shim: None, ..LIVES };
const PROCESS_DEAD: Observation = Observation { process: None, ..LIVES };
const REBOOTED: Observation = Observation { boot: NEXT_BOOT, ..NOTHING };

fn exited(start: StartId, seen: Observation) -> Observation {
    Observation { exit: Some(RecordedExit { start, process: PROCESS, status: CODE, at: at(30), oom: true }), ..seen }
}

fn frozen(seen: Observation) -> Observation {
    Observation { frozen: true, ..seen }
}

fn report_exit(boot: BootId) -> Step {
    Step::Report(Command::ReportExit { start: START, status: CODE, at: at(30), oom: true, boot })
}

fn report_unknown(cause: Cause, boot: BootId) -> Step {
    let status = ExitStatus::Unknown(cause);
    Step::Report(Command::ReportExit { start: START, status, at: at(50), oom: false, boot })
}

fn lost() -> Step {
    Step::Report(Command::ReportShimLost { start: START })
}

fn adopted(shim: Process) -> Step {
    Step::Report(Command::ReportShimAdopted { start: START, shim })
}

fn undo_start(message: &str) -> Step {
    Step::UndoStart { start: START, message: message.to_owned() }
}

const PAUSE: [Step; 2] = [Step::Report(Command::Pause), Step::Report(Command::ReportPaused)];
const RESUME: [Step; 2] = [Step::Report(Command::Resume), Step::Report(Command::ReportResumed)];

#[track_caller]
fn check(phase: Phase, seen: Observation, expected: impl IntoIterator<Item = Step>) {
    assert_eq!(recover(&container(phase), &seen), expected.into_iter().collect::<Vec<_>>());
}

/// Every live phase, each with the steps that set its phase right when the process is not frozen.
fn live() -> [(Phase, Vec<Step>); 4] {
    let pause_failed = "the daemon ended before the container was frozen".to_owned();
    [
        (Phase::Running(run()), vec![]),
        (Phase::Pausing(run()), vec![Step::Report(Command::ReportPauseFailed { message: pause_failed })]),
        (Phase::Paused(run()), RESUME.to_vec()),
        (Phase::Resuming(run()), vec![Step::Report(Command::ReportResumed)]),
    ]
}

/// The same, when it is frozen.
fn live_frozen() -> [(Phase, Vec<Step>); 4] {
    let resume_failed = "the daemon ended before the container was thawed".to_owned();
    [
        (Phase::Running(run()), PAUSE.to_vec()),
        (Phase::Pausing(run()), vec![Step::Report(Command::ReportPaused)]),
        (Phase::Paused(run()), vec![]),
        (Phase::Resuming(run()), vec![Step::Report(Command::ReportResumeFailed { message: resume_failed })]),
    ]
}

#[test]
fn after_a_reboot_a_live_container_has_exited_with_its_record() {
    for (phase, _) in live() {
        check(phase, exited(START, REBOOTED), [report_exit(NEXT_BOOT), Step::Release]);
    }
}

#[test]
fn after_a_reboot_without_a_record_the_status_is_unknown() {
    for (phase, _) in live() {
        check(phase.clone(), REBOOTED, [report_unknown(Cause::HostReboot, NEXT_BOOT), Step::Release]);
        // Processes of this boot with the same pid and start time are different ones.
        let lookalikes = Observation { boot: NEXT_BOOT, ..LIVES };
        check(phase, lookalikes, [report_unknown(Cause::HostReboot, NEXT_BOOT), Step::Release]);
    }
}

#[test]
fn a_live_container_is_reattached_and_its_phase_follows_the_world() {
    for (phase, correction) in live() {
        check(phase, LIVES, correction.into_iter().chain([Step::Reattach]));
    }
    for (phase, correction) in live_frozen() {
        check(phase, frozen(LIVES), correction.into_iter().chain([Step::Reattach]));
    }
}

#[test]
fn a_process_without_its_shim_lives_on_under_a_new_one() {
    for (phase, correction) in live() {
        check(phase, SHIM_DEAD, correction.into_iter().chain([lost(), Step::Adopt]));
    }
    for (phase, correction) in live_frozen() {
        check(phase, frozen(SHIM_DEAD), correction.into_iter().chain([lost(), Step::Adopt]));
    }
}

#[test]
fn an_exit_record_of_this_start_overrides_other_observations() {
    for seen in [NOTHING, LIVES, SHIM_DEAD, PROCESS_DEAD, frozen(LIVES)] {
        for (phase, _) in live() {
            check(phase, exited(START, seen.clone()), [report_exit(BOOT), Step::Release]);
        }
    }
}

#[test]
fn an_exit_record_of_another_start_is_ignored() {
    check(Phase::Running(run()), exited(STALE, LIVES), [Step::Reattach]);
    check(Phase::Running(run()), exited(STALE, SHIM_DEAD), [lost(), Step::Adopt]);
    check(Phase::Running(run()), exited(STALE, PROCESS_DEAD), [Step::Reattach]);
    let unknown = report_unknown(Cause::ShimAndProcessLost, BOOT);
    check(Phase::Running(run()), exited(STALE, NOTHING), [unknown, Step::Release]);
    let reboot = report_unknown(Cause::HostReboot, NEXT_BOOT);
    check(Phase::Running(run()), exited(STALE, REBOOTED), [reboot, Step::Release]);
    check(Phase::Starting(starting()), exited(STALE, LIVES), [Step::AwaitLaunch { start: START }]);
}

#[test]
fn without_shim_process_and_record_the_status_is_unknown() {
    for (phase, _) in live() {
        check(phase, NOTHING, [report_unknown(Cause::ShimAndProcessLost, BOOT), Step::Release]);
    }
}

#[test]
fn a_shim_of_a_dead_process_will_report_the_exit() {
    for (phase, _) in live() {
        check(phase, PROCESS_DEAD, [Step::Reattach]);
    }
}

#[test]
fn a_shim_that_was_replaced_unrecorded_is_recorded() {
    let shimless = Phase::Running(Run { shim: None, ..run() });
    check(shimless.clone(), LIVES, [adopted(SHIM), Step::Reattach]);
    let replaced = Observation { shim: Some(OTHER_SHIM), ..LIVES };
    check(shimless.clone(), replaced.clone(), [adopted(OTHER_SHIM), Step::Reattach]);
    // The end of the journal was lost, and with it the loss of the first shim.
    check(Phase::Running(run()), replaced, [adopted(OTHER_SHIM), Step::Reattach]);
    check(shimless, SHIM_DEAD, [lost(), Step::Adopt]);
}

#[test]
fn a_stop_goes_on_with_the_patience_that_is_left() {
    for run in [stopping(), restarting()] {
        let phase = Phase::Running(run);
        check(phase.clone(), LIVES, [Step::Reattach, Step::ResumeStop]);
        check(phase.clone(), SHIM_DEAD, [lost(), Step::Adopt, Step::ResumeStop]);
        // Thawed by the stop: the record does not follow the freeze here.
        check(phase.clone(), frozen(LIVES), [Step::Reattach, Step::ResumeStop]);
        check(phase.clone(), PROCESS_DEAD, [Step::Reattach]);
        check(phase.clone(), exited(START, PROCESS_DEAD), [report_exit(BOOT), Step::Release]);
        check(phase, NOTHING, [report_unknown(Cause::ShimAndProcessLost, BOOT), Step::Release]);
    }
}

#[test]
fn a_restart_interrupted_after_the_exit_starts_on_this_boot() {
    let restarting = container(Phase::Running(restarting()));
    let steps = recover(&restarting, &exited(START, REBOOTED));
    let Some(Step::Report(command)) = steps.first() else { panic!("{steps:?}") };
    Given(Some(restarting)).when(command.clone()).then([
        Event::OomKilled { start: START },
        Event::Exited { start: START, status: CODE, at: at(30) },
        Event::StartRequested { start: StartId(11), boot: NEXT_BOOT, at: at(30) },
    ]);
}

#[test]
fn an_interrupted_start_is_awaited_adopted_or_undone() {
    let phase = Phase::Starting(starting());
    check(phase.clone(), LIVES, [Step::AwaitLaunch { start: START }]);
    check(phase.clone(), PROCESS_DEAD, [Step::AwaitLaunch { start: START }]);
    let started = Command::ReportStarted { start: START, process: PROCESS, shim: None, at: at(50) };
    check(phase.clone(), SHIM_DEAD, [Step::Report(started), Step::Adopt]);
    check(phase.clone(), NOTHING, [undo_start("the daemon and the shim ended before the start did")]);
    for seen in [REBOOTED, Observation { boot: NEXT_BOOT, ..LIVES }] {
        check(phase.clone(), seen, [undo_start("the host was restarted during the start")]);
    }
}

#[test]
fn a_start_with_an_exit_record_counts_as_run() {
    let started = Command::ReportStarted { start: START, process: PROCESS, shim: None, at: at(3) };
    for seen in [NOTHING, LIVES, SHIM_DEAD, PROCESS_DEAD, REBOOTED] {
        let boot = seen.boot;
        let expected = [Step::Report(started.clone()), report_exit(boot), Step::Release];
        check(Phase::Starting(starting()), exited(START, seen), expected);
    }
}

#[test]
fn a_container_that_does_not_run_is_released() {
    for seen in [NOTHING, LIVES, REBOOTED, exited(START, NOTHING), frozen(NOTHING)] {
        check(Phase::Created, seen.clone(), [Step::Release]);
        check(Phase::Exited(end()), seen, [Step::Release]);
    }
}

#[test]
fn a_removal_is_finished_also_one_that_failed() {
    for failed in [None, Some("busy")] {
        for seen in [NOTHING, LIVES, REBOOTED, exited(START, NOTHING)] {
            check(removing(None, failed), seen, [Step::Dismantle]);
        }
    }
}

#[test]
fn a_removal_by_force_kills_a_live_process_and_reports_a_dead_one() {
    for failed in [None, Some("busy")] {
        let phase = removing(Some(run()), failed);
        check(phase.clone(), LIVES, [Step::Reattach, Step::Kill]);
        check(phase.clone(), frozen(LIVES), [Step::Reattach, Step::Kill]);
        check(phase.clone(), PROCESS_DEAD, [Step::Reattach, Step::Kill]);
        check(phase.clone(), SHIM_DEAD, [lost(), Step::Adopt, Step::Kill]);
        check(phase.clone(), exited(START, PROCESS_DEAD), [report_exit(BOOT), Step::Dismantle]);
        check(
            phase.clone(),
            exited(STALE, NOTHING),
            [report_unknown(Cause::ShimAndProcessLost, BOOT), Step::Dismantle],
        );
        check(phase.clone(), REBOOTED, [report_unknown(Cause::HostReboot, NEXT_BOOT), Step::Dismantle]);
        check(phase, exited(START, REBOOTED), [report_exit(NEXT_BOOT), Step::Dismantle]);
    }
}

#[test]
fn a_removal_by_force_does_not_wait_for_the_stop_it_overtook() {
    check(removing(Some(stopping()), None), LIVES, [Step::Reattach, Step::Kill]);
    check(removing(Some(restarting()), None), SHIM_DEAD, [lost(), Step::Adopt, Step::Kill]);
}

fn with(phase: Phase, change: impl FnOnce(&mut Container)) -> Container {
    let mut container = container(phase);
    change(&mut container);
    container
}

#[test]
fn a_wait_for_the_next_start_goes_on() {
    let resumed = Step::ResumeRestart { start: START, due: at(12) };
    for seen in [NOTHING, LIVES, REBOOTED] {
        check(Phase::Restarting(waiting()), seen, [Step::Release, resumed.clone()]);
    }
}

#[test]
fn a_container_with_policy_always_is_started_with_the_daemon() {
    let start = |boot| Step::Report(Command::Start { boot, at: at(50) });
    let always = |container: &mut Container| container.card.restart = RestartPolicy::Always;
    let ended = with(Phase::Exited(end()), always);
    assert_eq!(recover(&ended, &NOTHING), [Step::Release, start(BOOT)]);
    assert_eq!(recover(&ended, &REBOOTED), [Step::Release, start(NEXT_BOOT)]);
    // Without a run there is nothing to start again, and `UnlessStopped` leaves an exited container alone.
    assert_eq!(recover(&with(Phase::Created, always), &NOTHING), [Step::Release]);
    let failed = with(Phase::Exited(End { started_at: None, ..end() }), always);
    assert_eq!(recover(&failed, &NOTHING), [Step::Release]);
    let unless_stopped = with(Phase::Exited(end()), |container| container.card.restart = RestartPolicy::UnlessStopped);
    assert_eq!(recover(&unless_stopped, &NOTHING), [Step::Release]);
}

#[test]
fn an_interrupted_update_is_finished() {
    let update = Update { definition: Digest([6; 32]), restart: RestartPolicy::Always };
    let updating = |container: &mut Container| container.update = Some(update);
    let updated = Step::Report(Command::ReportUpdated);
    let running = with(Phase::Running(run()), updating);
    assert_eq!(recover(&running, &LIVES), [Step::Reattach, Step::ResumeUpdate]);
    assert_eq!(recover(&running, &SHIM_DEAD), [lost(), Step::Adopt, Step::ResumeUpdate]);
    assert_eq!(recover(&running, &exited(START, NOTHING)), [updated.clone(), report_exit(BOOT), Step::Release]);
    assert_eq!(recover(&with(Phase::Exited(end()), updating), &NOTHING), [updated, Step::Release]);
    // A removal needs no further step for the update.
    assert_eq!(recover(&with(removing(None, None), updating), &NOTHING), [Step::Dismantle]);
}

#[test]
fn an_unhealthy_container_with_action_kill_is_killed_once_more() {
    let unhealthy = Run { health: Some(Health::Unhealthy), ..run() };
    let condemned = |container: &mut Container| container.card.health = HealthAction::Kill;
    let running = with(Phase::Running(unhealthy.clone()), condemned);
    assert_eq!(recover(&running, &LIVES), [Step::Reattach, Step::Kill]);
    assert_eq!(recover(&running, &SHIM_DEAD), [lost(), Step::Adopt, Step::Kill]);
    check(Phase::Running(unhealthy), LIVES, [Step::Reattach]);
}
