//! Health checks: a probe is run in the container again and again, and the last results decide its health. Only a
//! change of health is an event.
//!
//! One watch per running container that has a check, beside the supervision of its shim, so it begins again with the
//! daemon and ends with the run. Probes of one container never overlap, none is run while it is frozen or being
//! stopped, and the number of probes at once is limited for all containers. The consequences of bad health are left to
//! the effects.

mod probe;
mod results;

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

pub(crate) use results::{ProbeResult, Results};

use crate::clock;
use crate::definition::Healthcheck;
use crate::domain::container::{Command, Container, Health, HealthAction, Phase, Run};
use crate::domain::id::{ContainerId, StartId, Timestamp};
use crate::exec::Execs;
use crate::journal::record::{Actor, Context};
use crate::node::Node;
use crate::records::Containers;
use probe::Outcome;

/// The default of a check without its own interval.
pub(crate) const INTERVAL: Duration = Duration::from_secs(30);
pub(crate) const TIMEOUT: Duration = Duration::from_secs(30);
pub(crate) const RETRIES: u32 = 3;
/// Probes of all containers at once: each runs a runtime.
const PARALLEL: usize = 8;
/// The files of a check are small: a read that takes this long hangs.
const READ_DEADLINE: Duration = Duration::from_secs(60);

/// Watches the health of running containers, and has the results of the watched ones.
#[derive(Debug)]
pub(crate) struct HealthWatch {
    node: Arc<Node>,
    containers: Arc<Containers>,
    execs: Arc<Execs>,
    results: Mutex<HashMap<ContainerId, Arc<Results>>>,
    places: Semaphore,
}

/// A health check with defaults in the place of missing settings.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Plan {
    args: Vec<String>,
    interval: Duration,
    timeout: Duration,
    start_period: Duration,
    retries: u32,
}

impl Plan {
    /// `None` for a definition that is no check.
    fn of(check: &Healthcheck) -> Option<Self> {
        let (kind, rest) = check.test.split_first()?;
        let args = match kind.as_str() {
            "CMD" => rest.to_vec(),
            "CMD-SHELL" => vec!["/bin/sh".to_owned(), "-c".to_owned(), rest.first()?.clone()],
            _ => return None,
        };
        let or = |given: u64, usual| if given == 0 { usual } else { Duration::from_nanos(given) };
        (!args.is_empty()).then(|| Self {
            args,
            interval: or(check.interval, INTERVAL),
            timeout: or(check.timeout, TIMEOUT),
            start_period: Duration::from_nanos(check.start_period),
            retries: if check.retries == 0 { RETRIES } else { check.retries },
        })
    }
}

impl HealthWatch {
    pub(crate) fn new(node: Arc<Node>, containers: Arc<Containers>, execs: Arc<Execs>) -> Arc<Self> {
        Arc::new(Self { node, containers, execs, results: Mutex::default(), places: Semaphore::new(PARALLEL) })
    }

    /// The results of a container's present run, or of the run that has ended last. Blocks.
    pub(crate) fn of(&self, container: &Container) -> Option<Arc<Results>> {
        let run = container.phase.run().map(|run| run.start);
        let start = run.or(container.last.as_ref().map(|end| end.start))?;
        let watched = self.lock().get(&container.id).cloned().filter(|results| results.belong_to(start));
        watched.or_else(|| Results::read(&self.node.bundle(container).health(), start).map(Arc::new))
    }

    /// Probes for as long as the run lasts; returns when no further probe can follow. To be dropped with the run.
    pub(crate) async fn watch(&self, id: ContainerId, start: StartId) {
        let Some(entity) = self.containers.get(&id) else { return };
        if entity.state.card.health == HealthAction::Unwatched || running(&self.containers, &id, start).is_none() {
            return;
        }
        let path = self.node.bundle(&entity.state).health();
        let reading = tokio::task::spawn_blocking({
            let (containers, path) = (self.containers.clone(), path.clone());
            move || {
                let plan = Plan::of(containers.definition(&entity).ok()?.healthcheck.as_ref()?)?;
                Some((plan, Results::read(&path, start).unwrap_or_else(|| Results::new(start))))
            }
        });
        let late =
            || self.node.warn(format!("container {}: its health check is not read yet: a disk hangs", id.short()));
        let Some((plan, mut known)) = read(reading, READ_DEADLINE, late).await else {
            return self.node.warn(format!("container {}: its health check cannot be read", id.short()));
        };
        let _forgotten = ForgetResults { of: self, id };
        if let Some(health) = running(&self.containers, &id, start).and_then(|run| run.health) {
            known.status = word(health).to_owned();
        }
        self.keep(id, &known, &path).await;
        tokio::time::sleep(first_wait(&plan, &known, id)).await;
        loop {
            let Some(run) = running(&self.containers, &id, start) else { return };
            if let Some(probed) = self.probe_once(id, &plan, &run).await {
                let counted = probed.counts && !in_start_period(&plan, &run, &probed);
                known.add(probed, counted);
                let verdict = verdict(&plan, &known);
                if let Some(health) = verdict.or(run.health) {
                    known.status = word(health).to_owned();
                }
                self.keep(id, &known, &path).await;
                if let Some(health) = verdict.filter(|health| run.health != Some(*health)) {
                    self.containers
                        .report(&id, &Context::new(Actor::Engine), Command::ReportHealth { start, health })
                        .await;
                }
            }
            tokio::time::sleep(plan.interval).await;
        }
    }

    /// Keeps the results in memory, for as long as the run is watched, and on disk. A failure to write is a debug line.
    async fn keep(&self, id: ContainerId, known: &Results, path: &Path) {
        self.lock().insert(id, Arc::new(known.clone()));
        let writing = tokio::task::spawn_blocking({
            let (known, path) = (known.clone(), path.to_owned());
            move || known.write(&path)
        });
        if let Ok(Err(error)) = writing.await {
            tracing::debug!(container_id = %id.short(), %error, "the results of probes are not kept");
        }
    }

    /// Runs one probe; `None` when it could not be run, or its result has no meaning because the container was frozen
    /// or stopped meanwhile.
    async fn probe_once(&self, id: ContainerId, plan: &Plan, run: &Run) -> Option<ProbeResult> {
        let probed = {
            let _place = self.places.acquire().await.ok()?;
            if !may_be_probed(&self.containers, &id, run.start) {
                return None;
            }
            let begun = clock::now();
            let outcome = probe::probe(&self.execs, id, &plan.args, plan.timeout).await;
            (begun, outcome, clock::now())
        };
        let (begun, outcome, ended) = probed;
        if !may_be_probed(&self.containers, &id, run.start) {
            return None;
        }
        let (code, output, counts) = match outcome {
            Outcome::Ended { code, output } => (i64::from(code), output, true),
            Outcome::Late => (-1, format!("Health check exceeded timeout ({} s)", plan.timeout.as_secs_f64()), true),
            Outcome::EngineError { message } => (-1, message, false),
            Outcome::NotRunning => return None,
        };
        Some(ProbeResult { start: begun.0, end: ended.0, code, output: results::shortened(&output), counts })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ContainerId, Arc<Results>>> {
        self.results.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The word for this health in answers and files.
pub(crate) fn word(health: Health) -> &'static str {
    match health {
        Health::Starting => "starting",
        Health::Healthy => "healthy",
        Health::Unhealthy => "unhealthy",
    }
}

/// Waits for a read from disk; after `deadline`, `late` is called and the wait goes on: probes begin when the disk
/// answers again, and a second attempt would only hang beside the first.
async fn read<T>(mut reading: JoinHandle<Option<T>>, deadline: Duration, late: impl FnOnce()) -> Option<T> {
    let read = match tokio::time::timeout(deadline, &mut reading).await {
        Ok(read) => read,
        Err(_) => {
            late();
            reading.await
        }
    };
    read.ok().flatten()
}

/// Removes the results from memory at the end of the watch.
struct ForgetResults<'a> {
    of: &'a HealthWatch,
    id: ContainerId,
}

impl Drop for ForgetResults<'_> {
    fn drop(&mut self) {
        self.of.lock().remove(&self.id);
    }
}

/// The run, unless it has ended.
fn running(containers: &Containers, id: &ContainerId, start: StartId) -> Option<Run> {
    let entity = containers.get(id)?;
    entity.state.phase.run().filter(|run| run.start == start).cloned()
}

fn may_be_probed(containers: &Containers, id: &ContainerId, start: StartId) -> bool {
    containers.get(id).is_some_and(|entity| match &entity.state.phase {
        Phase::Running(run) => run.start == start && run.stop.is_none(),
        Phase::Created
        | Phase::Starting(_)
        | Phase::Pausing(_)
        | Phase::Paused(_)
        | Phase::Resuming(_)
        | Phase::Exited(_)
        | Phase::Restarting(_)
        | Phase::Removing(_) => false,
    })
}

/// Failures in the start period, which ends with the first success, do not count: the program is still starting.
fn in_start_period(plan: &Plan, run: &Run, probed: &ProbeResult) -> bool {
    let since = Duration::from_nanos(probed.start.saturating_sub(run.since.0));
    run.health == Some(Health::Starting) && since < plan.start_period
}

fn verdict(plan: &Plan, known: &Results) -> Option<Health> {
    match known.log.back()? {
        last if last.counts && last.code == 0 => Some(Health::Healthy),
        _ => (known.streak >= plan.retries).then_some(Health::Unhealthy),
    }
}

/// The wait before the first probe: an interval after the start of the container. A new daemon continues the rhythm of
/// the last one; overdue probes are spread over an interval, each container at a fixed place of its own.
fn first_wait(plan: &Plan, known: &Results, id: ContainerId) -> Duration {
    let Some(last) = known.log.back() else { return plan.interval };
    let due = Timestamp(last.end.saturating_add(plan.interval.as_nanos() as u64));
    match due.0.checked_sub(clock::now().0) {
        Some(left) if left > 0 => Duration::from_nanos(left).min(plan.interval),
        Some(_) | None => spread(plan.interval.min(INTERVAL), id),
    }
}

fn spread(over: Duration, id: ContainerId) -> Duration {
    let place = id.to_string().bytes().fold(0_u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
    over.mul_f64(f64::from(place) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(test: &[&str]) -> Healthcheck {
        let test = test.iter().map(|word| (*word).to_owned()).collect();
        Healthcheck { test, interval: 0, timeout: 0, start_period: 0, retries: 0 }
    }

    fn probed(code: i64) -> ProbeResult {
        ProbeResult { start: 10, end: 20, code, output: String::new(), counts: true }
    }

    #[test]
    fn a_check_is_completed_with_defaults() {
        let plan = Plan::of(&check(&["CMD", "true", "-x"])).unwrap();
        assert_eq!(plan.args, ["true", "-x"]);
        assert_eq!((plan.interval, plan.timeout, plan.retries), (INTERVAL, TIMEOUT, 3));
        assert_eq!(Plan::of(&check(&["CMD-SHELL", "a | b"])).unwrap().args, ["/bin/sh", "-c", "a | b"]);
        for nothing in [&["NONE"][..], &["CMD"], &["CMD-SHELL"], &[], &["other", "x"]] {
            assert_eq!(Plan::of(&check(nothing)), None);
        }
    }

    #[test]
    fn consecutive_failures_are_unhealthy_and_one_success_is_healthy() {
        let plan = Plan { retries: 2, ..Plan::of(&check(&["CMD", "x"])).unwrap() };
        let mut known = Results::new(StartId(1));
        assert_eq!(verdict(&plan, &known), None);
        known.add(probed(1), true);
        assert_eq!(verdict(&plan, &known), None);
        known.add(probed(1), true);
        assert_eq!(verdict(&plan, &known), Some(Health::Unhealthy));
        known.add(probed(0), true);
        assert_eq!((verdict(&plan, &known), known.streak), (Some(Health::Healthy), 0));
        // Failures that do not count change no verdict.
        for _ in 0..5 {
            known.add(probed(1), false);
        }
        assert_eq!(verdict(&plan, &known), None);
    }

    #[tokio::test]
    async fn a_hanging_disk_is_reported_and_waited_for() {
        let (answer, answers) = std::sync::mpsc::channel();
        let reading = tokio::task::spawn_blocking(move || answers.recv().ok());
        assert_eq!(read(reading, Duration::from_millis(1), || answer.send(7).unwrap()).await, Some(7));
        let prompt = tokio::task::spawn_blocking(|| None::<u8>);
        assert_eq!(read(prompt, Duration::from_secs(60), || panic!("it is not late")).await, None);
    }

    #[test]
    fn overdue_probes_are_spread_and_others_keep_their_time() {
        let plan = Plan::of(&check(&["CMD", "x"])).unwrap();
        let id = |byte| ContainerId::from_bytes([byte; 32]);
        let mut known = Results::new(StartId(1));
        assert_eq!(first_wait(&plan, &known, id(1)), INTERVAL);
        known.add(probed(0), true);
        let waits: Vec<Duration> = (0..50).map(|byte| first_wait(&plan, &known, id(byte))).collect();
        assert!(waits.iter().all(|wait| *wait <= INTERVAL));
        let early = waits.iter().filter(|wait| **wait < INTERVAL / 2).count();
        assert!((10..40).contains(&early), "{early} of 50 in the first half");
        known.add(ProbeResult { end: clock::now().0, ..probed(0) }, true);
        assert!(first_wait(&plan, &known, id(1)) > INTERVAL / 2);
    }
}
