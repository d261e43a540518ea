//! One round of measurements: the usage of many containers, read one after the other by one thread.
//!
//! A share of a processor is the difference of two samples. The first is that of the last round, if it is neither too
//! fresh nor too old; otherwise all containers without one are sampled at the beginning of the round and, a moment
//! later, at its end.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use isulad_shim::ProcessRef;

use super::network::{self, Traffic};
use super::{Counters, Meter, Usage};
use crate::clock;
use crate::domain::id::{ContainerId, StartId, Timestamp};
use crate::records::{Entity, to_reference};
use crate::spec::GroupPath;

/// Between two samples of one round.
const GAP: Duration = Duration::from_millis(20);
/// A younger sample is too close for a difference, an older one is not of the present.
const YOUNGEST: Duration = Duration::from_millis(100);
const OLDEST: Duration = Duration::from_secs(60);

/// The usage of a running container.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Measured {
    pub at: Timestamp,
    /// Percent of one processor; absent when there was no earlier sample.
    pub cpu_percent: Option<f64>,
    pub counters: Counters,
    /// Absent without a network of its own.
    pub traffic: Option<Traffic>,
}

/// The last samples of processor time.
#[derive(Debug, Default)]
pub(super) struct Samples(Mutex<HashMap<ContainerId, Sample>>);

#[derive(Debug, Clone, Copy)]
struct Sample {
    start: StartId,
    at: Instant,
    used: u64,
}

impl Sample {
    /// The share of a processor between two samples of the same start.
    fn percent_until(&self, later: &Self) -> Option<f64> {
        let wall = later.at.checked_duration_since(self.at)?.as_nanos();
        let used = later.used.checked_sub(self.used)?;
        (self.start == later.start && wall > 0).then(|| used as f64 / wall as f64 * 100.0)
    }
}

impl Samples {
    fn last(&self, id: &ContainerId, now: Instant) -> Option<Sample> {
        let last = self.lock().get(id).copied()?;
        let age = now.saturating_duration_since(last.at);
        (YOUNGEST..=OLDEST).contains(&age).then_some(last)
    }

    /// Keeps the newest sample of each container, and none that is too old to be compared.
    fn keep(&self, newest: impl Iterator<Item = (ContainerId, Sample)>) {
        let mut kept = self.lock();
        kept.retain(|_, sample| sample.at.elapsed() <= OLDEST);
        kept.extend(newest);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<ContainerId, Sample>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A running container that is to be measured.
struct Subject {
    id: ContainerId,
    start: StartId,
    process: ProcessRef,
    group: GroupPath,
}

impl Usage {
    /// The usage of those containers that run now. `None` when the kernel did not answer in time.
    pub(crate) async fn measure(
        self: &Arc<Self>,
        containers: Vec<Arc<Entity>>,
    ) -> Option<HashMap<ContainerId, Measured>> {
        let usage = self.clone();
        self.read(move || usage.measure_now(&containers)).await
    }

    fn measure_now(&self, containers: &[Arc<Entity>]) -> HashMap<ContainerId, Measured> {
        let subjects: Vec<Subject> = containers.iter().filter_map(|entity| self.subject(entity)).collect();
        let meter = Meter::new(&self.node.host.cgroups);
        let sample = |subject: &Subject| {
            let used = meter.cpu_usage(&subject.group)?;
            Some(Sample { start: subject.start, at: Instant::now(), used })
        };
        let begun = Instant::now();
        let mut before: HashMap<ContainerId, Sample> = HashMap::new();
        let mut wait = false;
        for subject in &subjects {
            let last = self.samples.last(&subject.id, begun).filter(|last| last.start == subject.start);
            wait |= last.is_none();
            before.extend(last.or_else(|| sample(subject)).map(|sample| (subject.id, sample)));
        }
        let mut measured: HashMap<ContainerId, Measured> = HashMap::new();
        for subject in &subjects {
            let counters = meter.others(&subject.group);
            let traffic = network::traffic(subject.process);
            let one = Measured { at: clock::now(), cpu_percent: None, counters, traffic };
            measured.insert(subject.id, one);
        }
        if wait {
            std::thread::sleep(GAP.saturating_sub(begun.elapsed()));
        }
        let mut newest = Vec::with_capacity(subjects.len());
        for subject in &subjects {
            let Some(now) = sample(subject) else { continue };
            newest.push((subject.id, now));
            if let Some(one) = measured.get_mut(&subject.id) {
                one.at = clock::now();
                one.counters.cpu_usage = Some(now.used);
                one.cpu_percent = before.get(&subject.id).and_then(|before| before.percent_until(&now));
            }
        }
        self.samples.keep(newest.into_iter());
        measured
    }

    fn subject(&self, entity: &Entity) -> Option<Subject> {
        let run = entity.state.phase.run()?;
        let group = self.containers.group(&entity.state)?;
        Some(Subject { id: entity.state.id, start: run.start, process: to_reference(run.process), group })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(start: u64, at: Instant, used: u64) -> Sample {
        Sample { start: StartId(start), at, used }
    }

    #[test]
    fn a_share_is_the_difference_of_two_samples_of_one_start() {
        let begun = Instant::now();
        let later = begun + Duration::from_secs(2);
        let first = sample(1, begun, 1_000_000_000);
        assert_eq!(first.percent_until(&sample(1, later, 2_000_000_000)), Some(50.0));
        assert_eq!(first.percent_until(&sample(1, later, 5_000_000_000)), Some(200.0));
        assert_eq!(first.percent_until(&sample(2, later, 2_000_000_000)), None, "another start counts from nothing");
        assert_eq!(first.percent_until(&sample(1, later, 1)), None, "a counter never goes back");
        assert_eq!(first.percent_until(&sample(1, begun, 2_000_000_000)), None);
    }

    #[test]
    fn only_samples_of_suitable_age_are_compared() {
        let samples = Samples::default();
        let id = ContainerId::from_bytes([1; 32]);
        let now = Instant::now();
        samples.keep([(id, sample(1, now, 5))].into_iter());
        for (age, known) in [(50, false), (100, true), (60_000, true), (60_001, false)] {
            assert_eq!(samples.last(&id, now + Duration::from_millis(age)).is_some(), known, "{age} ms");
        }
    }
}
