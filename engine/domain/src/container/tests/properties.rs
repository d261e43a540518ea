//! Properties that hold for every history of a container.

use std::collections::HashSet;

use proptest::prelude::*;

use super::super::testing::random::{Idea, Turn, ideas, live, started};
use super::model::Model;
use super::*;

/// Half of the lives begin with a running container, so that the deeper phases are met often.
fn lives() -> impl Strategy<Value = Vec<Idea>> {
    (any::<bool>(), ideas()).prop_map(|(soon, ideas)| if soon { [started(), ideas].concat() } else { ideas })
}

fn events(turns: &[Turn]) -> Vec<Event> {
    turns.iter().flat_map(|turn| turn.decision.clone().unwrap_or_default()).collect()
}

fn observations() -> impl Strategy<Value = Observation> {
    let start = prop_oneof![Just(None), Just(Some(false)), Just(Some(true))];
    (any::<[bool; 5]>(), start).prop_map(|([same_boot, shim, process, frozen, other], exit)| Observation {
        boot: if same_boot { BOOT } else { NEXT_BOOT },
        at: at(5000),
        shim: shim.then_some(if other { OTHER_SHIM } else { SHIM }),
        process: process.then_some(PROCESS),
        // Corrected when the container is known.
        exit: exit.map(|ours| RecordedExit {
            start: StartId(if ours { 1 } else { 0 }),
            process: PROCESS,
            status: CODE,
            at: at(4000),
            oom: other,
        }),
        frozen,
    })
}

/// The observation of this container: on its own boot, and with a record of its own start, if so.
fn observed(container: &Container, mut seen: Observation) -> Observation {
    let (start, boot) = match &container.phase {
        Phase::Starting(starting) => (Some(starting.start), Some(starting.boot)),
        phase => (phase.run().map(|run| run.start), phase.run().map(|run| run.boot)),
    };
    if let (BOOT, Some(boot)) = (seen.boot, boot) {
        seen.boot = boot;
    }
    if let (Some(found), Some(start)) = (&mut seen.exit, start) {
        found.start = if found.start == StartId(1) { start } else { StartId(start.0 + 1) };
    }
    seen
}

/// The next command on the shortest way to the end of a container.
fn way_out(container: &Container) -> Command {
    let failed = || "given up".to_owned();
    match &container.phase {
        Phase::Starting(starting) => {
            Command::ReportStartFailed { start: starting.start, code: 1, message: failed(), at: at(9000) }
        }
        Phase::Pausing(_) => Command::ReportPauseFailed { message: failed() },
        Phase::Resuming(_) => Command::ReportResumeFailed { message: failed() },
        Phase::Created | Phase::Exited(_) => Command::Remove { force: false, volumes: false },
        Phase::Running(_) | Phase::Paused(_) | Phase::Restarting(_) => Command::Remove { force: true, volumes: false },
        Phase::Removing(removing) => match &removing.run {
            Some(run) => Command::ReportExit { start: run.start, status: CODE, at: at(9000), oom: false, boot: BOOT },
            None => Command::ReportRemoved,
        },
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn the_model_agrees(ideas in lives()) {
        let mut model = Model::default();
        for turn in live(&ideas) {
            let expected = model.turn(&turn.command);
            let word = |rejection: &Rejection| format!("{rejection:?}").split(' ').next().unwrap_or_default().to_owned();
            let decided = turn.decision.as_ref().map(|events| events.len() as u64).map_err(word);
            prop_assert_eq!(decided, expected.map_err(str::to_owned), "{:?} in {:?}", turn.command, turn.before);
            model.check(turn.after.as_ref());
        }
    }

    #[test]
    fn the_replay_of_every_prefix_is_the_state_of_the_time(ideas in lives()) {
        let turns = live(&ideas);
        for length in 0..=turns.len() {
            let now = turns[..length].last().and_then(|turn| turn.after.clone());
            prop_assert_eq!(replay(&events(&turns[..length])), now);
        }
    }

    /// The state at the time of an intent belongs to the stream, so no number is guessed.
    #[test]
    fn the_version_counts_the_events_and_a_start_is_its_requests_version(ideas in lives()) {
        let mut version = 0;
        let mut state = None;
        for event in events(&live(&ideas)) {
            version = if state.is_none() { 1 } else { version + 1 };
            state = evolve(state, &event);
            if let Event::StartRequested { start, .. } = event {
                prop_assert_eq!(start, StartId(version));
            }
            if let Some(container) = &state {
                prop_assert_eq!(container.version, version);
            }
        }
    }

    #[test]
    fn every_event_changes_the_state_or_is_recorded_for_itself(ideas in lives()) {
        let mut state: Option<Container> = None;
        for event in events(&live(&ideas)) {
            let after = evolve(state.clone(), &event);
            let ignored = match (&state, &after) {
                (Some(before), Some(after)) => Container { version: after.version, ..before.clone() } == *after,
                (None, after) => after.is_none(),
                (Some(_), None) => false,
            };
            // A sent signal is recorded even without a known effect, and a session is not part of the state.
            let recorded_alone = matches!(
                event,
                Event::Killed { .. }
                    | Event::ExecStarted { .. }
                    | Event::ExecExited { .. }
                    | Event::Attached { .. }
                    | Event::Detached { .. }
            );
            prop_assert!(!ignored || recorded_alone, "{:?} changes nothing in {:?}", event, state);
            state = after;
        }
    }

    #[test]
    fn a_repeated_report_is_recorded_once(ideas in lives()) {
        for turn in live(&ideas) {
            let report = format!("{:?}", turn.command).starts_with("Report");
            let session = matches!(turn.command, Command::ReportExecExited { .. } | Command::ReportDetached { .. });
            let timer = matches!(turn.command, Command::StopDeadlinePassed { .. } | Command::RestartDue { .. });
            if (report && !session) || timer {
                prop_assert_eq!(super::super::decide(turn.after.as_ref(), &turn.command), Ok(vec![]));
            }
        }
    }

    #[test]
    fn no_start_exits_twice(ideas in lives()) {
        let mut exited = HashSet::new();
        for event in events(&live(&ideas)) {
            match event {
                Event::Created { .. } => exited.clear(),
                Event::Exited { start, .. } | Event::StartFailed { start, .. } => {
                    prop_assert!(exited.insert(start), "{:?} ended twice", start);
                }
                _ => {}
            }
        }
    }

    #[test]
    fn every_state_has_a_way_to_its_end(ideas in lives()) {
        let mut state = live(&ideas).pop().and_then(|turn| turn.after);
        for _ in 0..6 {
            let Some(container) = &state else { break };
            let events = container.decide_for_tests(&way_out(container));
            state = events.iter().fold(state, evolve);
        }
        prop_assert_eq!(state, None);
    }

    #[test]
    fn the_steps_of_a_recovery_are_accepted_in_their_order(ideas in lives(), seen in observations()) {
        for turn in live(&ideas) {
            let Some(container) = turn.after else { continue };
            let seen = observed(&container, seen.clone());
            let mut state = Some(container.clone());
            let steps = super::super::recover(&container, &seen);
            prop_assert!(!steps.is_empty());
            for step in &steps {
                let Step::Report(command) = step else { continue };
                let decision = super::super::decide(state.as_ref(), command);
                prop_assert!(decision.is_ok(), "{:?} of {:?} in {:?}: {:?}", command, steps, state, decision);
                state = decision.unwrap().iter().fold(state, evolve);
            }
        }
    }

    /// After its reports, no process of an earlier boot counts as running, and each pending operation has an owner.
    #[test]
    fn a_recovery_leaves_nothing_without_an_owner(ideas in lives(), seen in observations()) {
        for turn in live(&ideas) {
            let Some(container) = turn.after else { continue };
            let seen = observed(&container, seen.clone());
            let steps = super::super::recover(&container, &seen);
            let mut state = Some(container);
            for step in &steps {
                if let (Step::Report(command), Some(container)) = (step, state.clone()) {
                    state = container.decide_for_tests(command).iter().fold(state, evolve);
                }
            }
            let Some(after) = state else { continue };
            let watched = steps.iter().any(|step| matches!(step, Step::Reattach | Step::Adopt));
            let followed = steps.iter().any(|step| {
                matches!(step, Step::AwaitLaunch { .. } | Step::UndoStart { .. })
            });
            if let Some(run) = after.phase.run() {
                prop_assert_eq!(run.boot, seen.boot);
                prop_assert!(watched);
            }
            match &after.phase {
                // Either the one that was interrupted, or the second half of a restart, which is a new intent.
                Phase::Starting(starting) => prop_assert!(followed || starting.boot == seen.boot),
                // Only while the shim of a dead process is about to report its exit.
                Phase::Pausing(_) | Phase::Resuming(_) => prop_assert!(seen.process.is_none() && seen.shim.is_some()),
                Phase::Restarting(waiting) => {
                    let recorded = steps.iter().any(|step| matches!(step, Step::Report(Command::ReportExit { .. })));
                    let resumed = steps.contains(&Step::ResumeRestart { start: waiting.end.start, due: waiting.due });
                    prop_assert!(recorded || resumed);
                }
                Phase::Created | Phase::Running(_) | Phase::Paused(_) | Phase::Exited(_) | Phase::Removing(_) => {}
            }
        }
    }
}

impl Container {
    fn decide_for_tests(&self, command: &Command) -> Vec<Event> {
        super::super::decide(Some(self), command).unwrap_or_else(|rejection| panic!("{command:?}: {rejection:?}"))
    }
}

/// Checks the generator itself: it meets every phase, every event and every rejection.
#[test]
fn random_lives_meet_everything() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;

    let mut runner = TestRunner::deterministic();
    let (mut recorded, mut refused) = (HashSet::new(), HashSet::new());
    for _ in 0..1000 {
        let ideas = lives().new_tree(&mut runner).unwrap().current();
        for turn in live(&ideas) {
            match turn.decision {
                Ok(events) => recorded.extend(events.iter().map(Event::name)),
                Err(rejection) => {
                    refused.insert(std::mem::discriminant(&rejection));
                }
            }
        }
    }
    assert_eq!((recorded.len(), refused.len()), (32, 10), "{recorded:?}");
}
