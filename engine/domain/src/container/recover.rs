//! Recovery of a container after a restart of the daemon: from its recorded state and an observation of the world to
//! steps.
//!
//! Pure: the caller has made the observation. "Alive" always means that pid and start time match.

use super::{
    Cause, Command, Container, ExitStatus, Health, HealthAction, Phase, Removing, RestartPolicy, Restarting, Run,
    Starting,
};
use crate::id::{BootId, Process, StartId, Timestamp};

/// The state of a container's processes and files, as observed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observation {
    pub boot: BootId,
    pub at: Timestamp,
    /// The container's shim, when alive.
    pub shim: Option<Process>,
    /// The container's first process, when alive. In a start without a shim only when the runtime reports it as
    /// running: a process that is merely created waits for ever, and is undone.
    pub process: Option<Process>,
    /// The exit record.
    pub exit: Option<RecordedExit>,
    /// Frozen, according to the runtime or the cgroup.
    pub frozen: bool,
}

/// An exit record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordedExit {
    pub start: StartId,
    pub process: Process,
    pub status: ExitStatus,
    pub at: Timestamp,
    pub oom: bool,
}

/// One step of a recovery. Steps are taken in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Run this command as a turn.
    Report(Command),
    /// A shim is at work on the start: ask it for the outcome, and report that.
    AwaitLaunch { start: StartId },
    /// Kill and delete everything that the start has made, then report the failure.
    UndoStart { start: StartId, message: String },
    /// Watch the shim and the process again.
    Reattach,
    /// Start a new shim for a living process.
    Adopt,
    /// Run the stop's timer again, from the recorded deadline; thaw a frozen container, so that the signal arrives.
    ResumeStop,
    /// Send SIGKILL to the process once more, and thaw a frozen container: a removal by force was pending, or the
    /// container is unhealthy and has to be killed.
    Kill,
    /// Apply the update's limits to a running container, then report it.
    ResumeUpdate,
    /// Run the timer of the pending restart again.
    ResumeRestart { start: StartId, due: Timestamp },
    /// Unmount, delete at the runtime, clear the state directory.
    Release,
    /// Remove everything that is left of the container, then report it.
    Dismantle,
}

pub fn recover(container: &Container, seen: &Observation) -> Vec<Step> {
    let mut steps = recover_phase(container, seen);
    let lives = steps.iter().any(|step| matches!(step, Step::Reattach | Step::Adopt | Step::AwaitLaunch { .. }));
    if let Some(run) = container.phase.run().filter(|_| lives) {
        let condemned = run.health == Some(Health::Unhealthy) && container.card.health == HealthAction::Kill;
        if condemned && !steps.contains(&Step::Kill) {
            steps.push(Step::Kill);
        }
    }
    if container.update.is_some() && !matches!(container.phase, Phase::Removing(_)) {
        // For a container that does not run, the definition alone changes. This comes before a step that may start it
        // again.
        if lives { steps.push(Step::ResumeUpdate) } else { steps.insert(0, Step::Report(Command::ReportUpdated)) }
    }
    steps
}

fn recover_phase(container: &Container, seen: &Observation) -> Vec<Step> {
    match &container.phase {
        Phase::Created => vec![Step::Release],
        Phase::Exited(end) => {
            let mut steps = vec![Step::Release];
            if container.card.restart == RestartPolicy::Always && end.started_at.is_some() {
                steps.push(Step::Report(Command::Start { boot: seen.boot, at: seen.at }));
            }
            steps
        }
        Phase::Restarting(Restarting { end, due, .. }) => {
            vec![Step::Release, Step::ResumeRestart { start: end.start, due: *due }]
        }
        Phase::Starting(starting) => recover_start(starting, seen),
        Phase::Running(run) => recover_run(run, seen, correct_running(run, seen.frozen)),
        Phase::Paused(run) => recover_run(run, seen, correct_paused(seen.frozen)),
        Phase::Pausing(run) => {
            let outcome = if seen.frozen { Command::ReportPaused } else { interrupted_pause() };
            recover_run(run, seen, vec![Step::Report(outcome)])
        }
        Phase::Resuming(run) => {
            let outcome = if seen.frozen { interrupted_resume() } else { Command::ReportResumed };
            recover_run(run, seen, vec![Step::Report(outcome)])
        }
        Phase::Removing(removing) => recover_removal(removing, seen),
    }
}

fn recover_start(starting: &Starting, seen: &Observation) -> Vec<Step> {
    let start = starting.start;
    if let Some(found) = exit_of(start, seen) {
        let started = Command::ReportStarted { start, process: found.process, shim: None, at: starting.since };
        return vec![Step::Report(started), report_exit(start, found, seen.boot), Step::Release];
    }
    if starting.boot != seen.boot {
        return vec![Step::UndoStart { start, message: "the host was restarted during the start".to_owned() }];
    }
    match (seen.shim, seen.process) {
        (Some(_), _) => vec![Step::AwaitLaunch { start }],
        (None, Some(process)) => {
            vec![Step::Report(Command::ReportStarted { start, process, shim: None, at: seen.at }), Step::Adopt]
        }
        (None, None) => {
            vec![Step::UndoStart { start, message: "the daemon and the shim ended before the start did".to_owned() }]
        }
    }
}

/// `living` is taken first when the process is alive.
fn recover_run(run: &Run, seen: &Observation, living: Vec<Step>) -> Vec<Step> {
    if let Some(found) = exit_of(run.start, seen) {
        return vec![report_exit(run.start, found, seen.boot), Step::Release];
    }
    if run.boot != seen.boot {
        return vec![report_unknown(run.start, Cause::HostReboot, seen), Step::Release];
    }
    let mut steps = match (seen.shim, seen.process) {
        // A shim whose container is gone is writing the exit record, and will report the exit itself.
        (Some(_), Some(_) | None) => {
            let ended = seen.process.is_none();
            let mut steps = if ended { vec![] } else { living };
            // A replacement that the last daemon had no time to record, or with a lost record.
            if let Some(shim) = seen.shim.filter(|shim| run.shim != Some(*shim)) {
                steps.push(Step::Report(Command::ReportShimAdopted { start: run.start, shim }));
            }
            steps.push(Step::Reattach);
            if ended {
                return steps;
            }
            steps
        }
        (None, Some(_)) => {
            let mut steps = living;
            steps.push(Step::Report(Command::ReportShimLost { start: run.start }));
            steps.push(Step::Adopt);
            steps
        }
        (None, None) => return vec![report_unknown(run.start, Cause::ShimAndProcessLost, seen), Step::Release],
    };
    if run.stop.is_some() {
        steps.push(Step::ResumeStop);
    }
    steps
}

fn recover_removal(removing: &Removing, seen: &Observation) -> Vec<Step> {
    match &removing.run {
        None => vec![Step::Dismantle],
        Some(run) => {
            let mut steps = recover_run(run, seen, vec![]);
            if matches!(steps.last(), Some(Step::Release)) {
                steps.pop();
                steps.push(Step::Dismantle);
            } else {
                // The kill overtakes a stop that was under way.
                steps.retain(|step| *step != Step::ResumeStop);
                steps.push(Step::Kill);
            }
            steps
        }
    }
}

fn correct_running(run: &Run, frozen: bool) -> Vec<Step> {
    // The freeze came from outside the daemon, so the record follows it. Not while a stop is pending, which has to thaw
    // it.
    if frozen && run.stop.is_none() {
        vec![Step::Report(Command::Pause), Step::Report(Command::ReportPaused)]
    } else {
        vec![]
    }
}

fn correct_paused(frozen: bool) -> Vec<Step> {
    if frozen { vec![] } else { vec![Step::Report(Command::Resume), Step::Report(Command::ReportResumed)] }
}

fn interrupted_pause() -> Command {
    Command::ReportPauseFailed { message: "the daemon ended before the container was frozen".to_owned() }
}

fn interrupted_resume() -> Command {
    Command::ReportResumeFailed { message: "the daemon ended before the container was thawed".to_owned() }
}

fn exit_of(start: StartId, seen: &Observation) -> Option<&RecordedExit> {
    seen.exit.as_ref().filter(|found| found.start == start)
}

fn report_exit(start: StartId, found: &RecordedExit, boot: BootId) -> Step {
    Step::Report(Command::ReportExit { start, status: found.status, at: found.at, oom: found.oom, boot })
}

fn report_unknown(start: StartId, cause: Cause, seen: &Observation) -> Step {
    Step::Report(Command::ReportExit {
        start,
        status: ExitStatus::Unknown(cause),
        at: seen.at,
        oom: false,
        boot: seen.boot,
    })
}
