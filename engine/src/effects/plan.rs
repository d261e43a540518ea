//! The effects of containers, and which of them follow from events.

use std::time::Duration;

use super::deadlines::{DISMANTLE_LIMIT, LAUNCH_LIMIT, RELEASE_LIMIT};
use crate::domain::container::{Container, Event, Health, HealthAction, Phase, Run};
use crate::domain::id::{Signal, StartId, Timestamp};
use crate::ledger;

/// A change of the world that follows from an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Effect {
    Launch {
        start: StartId,
    },
    Freeze,
    Thaw,
    Signal {
        run: Box<Run>,
        signal: Signal,
    },
    /// After SIGKILL, which a frozen process does not receive.
    ThawKilled {
        start: StartId,
    },
    StopTimer {
        start: StartId,
        deadline: Timestamp,
    },
    /// The wait before a start by the restart policy, after the end of this start.
    RestartTimer {
        start: StartId,
        due: Timestamp,
    },
    /// Changes a running container's limits to those of its pending update.
    Update,
    Release,
    Adopt {
        start: StartId,
    },
    Dismantle,
}

impl ledger::Effect for Effect {
    /// Whether the effect waits behind the container's earlier effects.
    fn queues(&self) -> bool {
        match self {
            Self::Signal { .. } | Self::StopTimer { .. } | Self::RestartTimer { .. } => false,
            Self::Launch { .. }
            | Self::Update
            | Self::ThawKilled { .. }
            | Self::Freeze
            | Self::Thaw
            | Self::Release
            | Self::Adopt { .. }
            | Self::Dismantle => true,
        }
    }

    /// The limit of effects that queue: longer than the deadlines of all their parts together. An effect that takes
    /// longer hangs in the kernel.
    fn limit(&self) -> Duration {
        match self {
            Self::Launch { .. } => LAUNCH_LIMIT,
            Self::Dismantle => DISMANTLE_LIMIT,
            Self::Release => RELEASE_LIMIT,
            // Their parts take less time than those of a release.
            Self::Adopt { .. } | Self::Freeze | Self::Thaw | Self::ThawKilled { .. } | Self::Update => RELEASE_LIMIT,
            // Not queued: a timer has its own length, a signal is sent at once.
            Self::Signal { .. } | Self::StopTimer { .. } | Self::RestartTimer { .. } => Duration::MAX,
        }
    }
}

/// Plans the effects of one decision's events; `after` is the container after all of them.
pub(super) fn plan(events: &[Event], after: Option<&Container>) -> Vec<Effect> {
    let Some(after) = after else { return vec![] };
    let mut effects = Vec::new();
    for event in events {
        match event {
            Event::StartRequested { start, .. } => effects.push(Effect::Launch { start: *start }),
            Event::PauseRequested => effects.push(Effect::Freeze),
            Event::ResumeRequested => effects.push(Effect::Thaw),
            Event::StopRequested { start, signal, deadline, .. } => {
                effects.extend(signal_run(after, *signal));
                if *signal != Signal::KILL {
                    effects.push(Effect::StopTimer { start: *start, deadline: *deadline });
                }
            }
            Event::Killed { signal, .. } => effects.extend(signal_run(after, *signal)),
            Event::Exited { .. } => effects.push(Effect::Release),
            Event::RestartScheduled { start, due, .. } => {
                effects.push(Effect::RestartTimer { start: *start, due: *due });
            }
            // An update that is not pending takes effect at the next start.
            Event::UpdateRequested { .. } if after.update.is_some() => effects.push(Effect::Update),
            Event::HealthChanged { health: Health::Unhealthy, .. } if after.card.health == HealthAction::Kill => {
                effects.extend(signal_run(after, Signal::KILL));
            }
            Event::ShimLost { start } => effects.push(Effect::Adopt { start: *start }),
            // By force: the exit of a running container leads to its dismantling.
            Event::RemoveRequested { .. } => {
                effects.push(signal_run(after, Signal::KILL).unwrap_or(Effect::Dismantle));
            }
            Event::Created { .. }
            | Event::Started { .. }
            | Event::StartFailed { .. }
            | Event::Paused
            | Event::PauseFailed { .. }
            | Event::Resumed
            | Event::ResumeFailed { .. }
            | Event::OomKilled { .. }
            | Event::Renamed { .. }
            | Event::ShimAdopted { .. }
            | Event::UpdateRequested { .. }
            | Event::Updated
            | Event::UpdateFailed { .. }
            | Event::RestartCancelled { .. }
            | Event::HealthChanged { .. }
            | Event::ExecStarted { .. }
            | Event::ExecExited { .. }
            | Event::Attached { .. }
            | Event::Detached { .. }
            | Event::NetworkAttached { .. }
            | Event::NetworkDetached { .. }
            | Event::RemoveFailed { .. }
            | Event::Removed => {}
        }
    }
    // This is the exit for which a removal by force was waiting.
    let removing = matches!(&after.phase, Phase::Removing(removing) if removing.run.is_none());
    if removing && effects.last() == Some(&Effect::Release) {
        effects.push(Effect::Dismantle);
    }
    effects
}

fn signal_run(after: &Container, signal: Signal) -> Option<Effect> {
    after.phase.run().map(|run| Effect::Signal { run: Box::new(run.clone()), signal })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::container::testing::card;
    use crate::domain::container::{Card, Command, ExitStatus, decide, evolve};
    use crate::domain::id::{BootId, ContainerId, Process};

    const START: StartId = StartId(2);

    /// Takes a container through commands and returns the effects of the last one.
    fn planned(auto_remove: bool, commands: &[Command]) -> Vec<Effect> {
        let id = ContainerId::from_bytes([7; 32]);
        let card = Card { auto_remove, ..card() };
        let mut state = None;
        let mut effects = vec![];
        for command in [Command::Create { id, card }].iter().chain(commands) {
            let events = decide(state.as_ref(), command).unwrap();
            state = events.iter().fold(state, evolve);
            effects = plan(&events, state.as_ref());
        }
        effects
    }

    fn running() -> Vec<Command> {
        let (boot, at) = (BootId::default(), Timestamp(5));
        let process = Process { pid: 42, start_time: 1 };
        let shim = Some(Process { pid: 41, start_time: 1 });
        vec![Command::Start { boot, at }, Command::ReportStarted { start: START, process, shim, at }]
    }

    fn then(command: Command) -> Vec<Command> {
        let mut commands = running();
        commands.push(command);
        commands
    }

    fn exit() -> Command {
        Command::ReportExit {
            start: START,
            status: ExitStatus::Code(0),
            at: Timestamp(9),
            oom: false,
            boot: BootId::default(),
        }
    }

    fn kinds(effects: &[Effect]) -> Vec<&'static str> {
        let kind = |effect: &Effect| match effect {
            Effect::Launch { .. } => "launch",
            Effect::Freeze => "freeze",
            Effect::Thaw => "thaw",
            Effect::ThawKilled { .. } => "thaw killed",
            Effect::Signal { signal: Signal::KILL, .. } => "kill",
            Effect::Signal { .. } => "signal",
            Effect::StopTimer { .. } => "timer",
            Effect::RestartTimer { .. } => "restart timer",
            Effect::Update => "update",
            Effect::Release => "release",
            Effect::Adopt { .. } => "adopt",
            Effect::Dismantle => "dismantle",
        };
        effects.iter().map(kind).collect()
    }

    #[test]
    fn each_intent_has_its_effect_and_outcomes_have_none() {
        let stop = |grace| Command::Stop { signal: None, grace: Some(grace), at: Timestamp(6) };
        for (commands, expected) in [
            (vec![], vec![]),
            (running()[..1].to_vec(), vec!["launch"]),
            (running(), vec![]),
            (then(stop(5)), vec!["signal", "timer"]),
            (then(stop(0)), vec!["kill"]),
            (then(Command::Kill { signal: Signal::TERM }), vec!["signal"]),
            (then(Command::Pause), vec!["freeze"]),
            (then(Command::ReportShimLost { start: START }), vec!["adopt"]),
            (then(exit()), vec!["release"]),
            (then(Command::Remove { force: true, volumes: false }), vec!["kill"]),
            (vec![Command::Remove { force: false, volumes: false }], vec!["dismantle"]),
        ] {
            assert_eq!(kinds(&planned(false, &commands)), expected, "{commands:?}");
        }
    }

    #[test]
    fn an_exit_releases_before_its_further_effects() {
        let restart = Command::Restart { grace: Some(5), boot: BootId::default(), at: Timestamp(6) };
        let mut restarted = then(restart);
        restarted.push(exit());
        assert_eq!(kinds(&planned(false, &restarted)), ["release", "launch"]);
        assert_eq!(kinds(&planned(true, &then(exit()))), ["release", "dismantle"]);
        let mut removed = then(Command::Remove { force: true, volumes: false });
        removed.push(exit());
        assert_eq!(kinds(&planned(false, &removed)), ["release", "dismantle"]);
    }

    #[test]
    fn a_run_recorded_in_one_step_launches_once() {
        let id = ContainerId::from_bytes([7; 32]);
        let mut events = vec![];
        let mut state = None;
        let card = card();
        let start = Command::Start { boot: BootId::default(), at: Timestamp(2) };
        for command in [Command::Create { id, card }, start] {
            let decided = decide(state.as_ref(), &command).unwrap();
            state = decided.iter().fold(state, evolve);
            events.extend(decided);
        }
        assert_eq!(plan(&events, state.as_ref()), [Effect::Launch { start: START }]);
    }
}
