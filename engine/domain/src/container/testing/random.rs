//! Random histories of containers: commands that mostly fit the state they meet, and some that do not.

use proptest::prelude::*;

use super::super::*;
use super::*;
use crate::id::SessionId;

/// How many commands there are.
pub const VERBS: usize = 33;

/// A command with a start that is still open.
#[derive(Debug, Clone)]
pub struct Idea {
    pub verb: usize,
    /// Of the current start; an older or future one otherwise.
    pub fresh: bool,
    pub flag: bool,
    pub number: u8,
    pub seconds: u8,
    pub message: String,
}

/// Ideas for one history; reports are as likely as all others together, so most intents find their outcome.
pub fn ideas() -> impl Strategy<Value = Vec<Idea>> {
    prop::collection::vec(idea(), 1..60)
}

prop_compose! {
    fn idea()(
        verb in 0..VERBS, fresh in prop::bool::weighted(0.9), flag in any::<bool>(), number in any::<u8>(),
        seconds in any::<u8>(), message in "[a-zé]{0,3}",
    ) -> Idea {
        Idea { verb, fresh, flag, number, seconds, message }
    }
}

fn status(number: u8) -> ExitStatus {
    match number % 5 {
        0 => ExitStatus::Unknown(Cause::ShimLost),
        1 => ExitStatus::Signal(Signal((number % 64).into())),
        _ => ExitStatus::Code(number),
    }
}

fn policy(number: u8) -> RestartPolicy {
    match number % 5 {
        0 => RestartPolicy::No,
        1 => RestartPolicy::OnReboot,
        2 => RestartPolicy::UnlessStopped,
        3 => RestartPolicy::Always,
        _ => RestartPolicy::OnFailure { retries: (number / 5 % 3).into() },
    }
}

impl Idea {
    /// The idea's command in this state.
    pub fn command(&self, container: Option<&Container>, now: Timestamp) -> Command {
        let Self { fresh, flag, number, seconds, .. } = *self;
        let current = container.and_then(current_start).unwrap_or(StartId(1));
        let start = if fresh { current } else { StartId(number.into()) };
        let message = self.message.clone();
        let process = Process { pid: 1000 + u32::from(number), start_time: now.0 };
        let name = || ["web", "db", "cache"][usize::from(number) % 3].parse().unwrap();
        let boot = BootId([number; 16]);
        let grace = if flag { Some(u32::from(seconds) % 20) } else { None };
        match self.verb {
            0 => {
                let health =
                    [HealthAction::Unwatched, HealthAction::Watch, HealthAction::Kill][usize::from(number) % 3];
                let auto_remove = seconds % 4 == 0;
                let restart = policy(number);
                Command::Create { id: ID, card: Card { name: name(), auto_remove, restart, health, ..card() } }
            }
            1 => Command::Start { boot, at: now },
            2 => Command::Stop { signal: flag.then_some(Signal(number.into())), grace, at: now },
            3 => Command::Restart { grace, boot, at: now },
            4 => Command::Kill { signal: if flag { Signal::KILL } else { Signal(number.into()) } },
            5 => Command::Pause,
            6 => Command::Resume,
            7 => Command::Rename { name: name() },
            8 => Command::Remove { force: flag, volumes: seconds % 2 == 0 },
            9 => Command::ReportStarted { start, process, shim: flag.then_some(process), at: now },
            10 => Command::ReportStartFailed { start, code: number, message, at: now },
            11 => Command::ReportPaused,
            12 => Command::ReportPauseFailed { message },
            13 => Command::ReportResumed,
            14 => Command::ReportResumeFailed { message },
            15 => Command::StopDeadlinePassed { start },
            16 => Command::ReportExit { start, status: status(number), at: now, oom: flag, boot },
            17 => Command::ReportOom { start },
            18 => Command::ReportShimLost { start },
            19 => Command::ReportShimAdopted { start, shim: process },
            20 => Command::ReportRemoved,
            21 => Command::ReportRemoveFailed { message },
            22 => {
                let base = container.filter(|_| fresh).map_or(Digest([9; 32]), |container| container.card.definition);
                let definition = Digest([number % 4; 32]);
                Command::Update { base, definition, restart: policy(seconds), live: flag }
            }
            23 => Command::BeginExec {
                start,
                exec: SessionId([number; 8]),
                argv: message,
                user: String::new(),
                tty: flag,
                detached: !flag,
            },
            24 => Command::BeginAttach {
                session: SessionId([number; 8]),
                stdin: flag,
                tty: !flag,
                starting: number % 3 == 0,
            },
            25 => Command::ReportUpdated,
            26 => Command::ReportUpdateFailed { message },
            27 => Command::RestartDue { start, boot, at: now },
            28 => {
                let health = [Health::Starting, Health::Healthy, Health::Unhealthy][usize::from(number) % 3];
                Command::ReportHealth { start, health }
            }
            29 => Command::ReportExecExited {
                exec: SessionId([number; 8]),
                status: status(number),
                at: now,
                lasted_ms: seconds.into(),
            },
            30 => Command::ReportDetached { session: SessionId([number; 8]), lasted_ms: seconds.into() },
            31 => Command::ReportNetworkAttached {
                start,
                network: ["front", "back"][usize::from(number) % 2].to_owned(),
                addresses: vec![format!("10.1.0.{}/16", seconds % 3)],
            },
            32 => Command::ReportNetworkDetached { start },
            verb => unreachable!("there is no verb {verb}"),
        }
    }
}

fn current_start(container: &Container) -> Option<StartId> {
    match &container.phase {
        Phase::Starting(starting) => Some(starting.start),
        Phase::Exited(end) | Phase::Restarting(Restarting { end, .. }) => Some(end.start),
        phase => phase.run().map(|run| run.start),
    }
}

/// One turn of a history.
#[derive(Debug, Clone)]
pub struct Turn {
    pub before: Option<Container>,
    pub command: Command,
    pub decision: Result<Vec<Event>, Rejection>,
    pub after: Option<Container>,
}

/// Takes the turns of these ideas; a removed container may be created anew, in the same stream.
pub fn live(ideas: &[Idea]) -> Vec<Turn> {
    let mut now = at(1000);
    let mut state: Option<Container> = None;
    let mut turns = Vec::with_capacity(ideas.len());
    for idea in ideas {
        now = now.plus_seconds(u64::from(idea.seconds) % 7);
        let before = state.clone();
        let command = idea.command(before.as_ref(), now);
        let decision = super::super::decide(before.as_ref(), &command);
        let events = decision.as_deref().unwrap_or_default();
        state = events.iter().fold(state, evolve);
        turns.push(Turn { before, command, decision, after: state.clone() });
    }
    turns
}

/// Turns after which every other phase is near: a history that begins with a running container.
pub fn started() -> Vec<Idea> {
    let idea = |verb, seconds| Idea { verb, fresh: true, flag: true, number: 8, seconds, message: String::new() };
    vec![idea(0, 1), idea(1, 1), idea(9, 1)]
}
