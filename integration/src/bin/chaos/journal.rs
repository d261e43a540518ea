//! The journal as it is followed across every restart of the daemon: nothing may be missing, come twice, or change
//! later.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use cri_api::isula::v1::Event;

use super::model::Model;
use super::world::World;

/// The longest lag of the stream of events behind acknowledged requests. Only a hang takes as long.
const LAG: Duration = Duration::from_secs(120);

#[derive(Debug, Default)]
pub(crate) struct Journal {
    history: Mutex<History>,
    grown: Condvar,
}

/// All events since the first, and the model that follows from them.
#[derive(Debug, Default)]
pub(crate) struct History {
    pub events: Vec<Event>,
    pub model: Model,
}

impl History {
    pub(crate) fn last(&self) -> u64 {
        self.events.last().map_or(0, |event| event.seq)
    }

    /// The events after `from` up to `to`.
    pub(crate) fn between(&self, from: u64, to: u64) -> &[Event] {
        let place = |seq: u64| self.events.partition_point(|event| event.seq <= seq);
        self.events.get(place(from)..place(to)).unwrap_or_default()
    }
}

impl Journal {
    /// A journal with these events.
    #[cfg(test)]
    pub(crate) fn of(events: Vec<Event>) -> Self {
        let mut history = History::default();
        for event in events {
            history.model.take(&event).expect("it may happen");
            history.events.push(event);
        }
        Self { history: Mutex::new(history), grown: Condvar::default() }
    }

    pub(crate) fn read(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the event of this number has come; `false` when it does not come.
    pub(crate) fn reaches(&self, seq: u64) -> bool {
        self.first(LAG, |history| (history.last() >= seq).then_some(())).is_some()
    }

    /// Waits until `pick` finds its result in the history; `None` when the patience is over.
    pub(crate) fn first<T>(&self, patience: Duration, pick: impl Fn(&History) -> Option<T>) -> Option<T> {
        let end = Instant::now() + patience;
        let mut history = self.read();
        loop {
            let left = end.saturating_duration_since(Instant::now());
            match pick(&history) {
                None if !left.is_zero() => {}
                picked => return picked,
            }
            history = self.grown.wait_timeout(history, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn push(&self, world: &World, event: Event) {
        let mut history = self.read();
        let last = history.last();
        if event.seq != last + 1 {
            let broken = format!("event {} came after event {last}", event.seq);
            drop(history);
            world.report.violation(world, "events are contiguous", Some(&event.id), &broken);
            return;
        }
        let taken = history.model.take(&event);
        history.events.push(event.clone());
        drop(history);
        self.grown.notify_all();
        if let Err(broken) = taken {
            world.report.violation(world, "a container's events follow on one another", Some(&event.id), &broken);
        }
        super::judge::exit(world, &event);
    }
}

/// Follows the journal until the run is over; daemons come and go.
pub(crate) fn follow(world: &World) {
    while !world.is_over() {
        let since = world.journal.read().last() + 1;
        world.wire.follow(since, |event| world.journal.push(world, event), || world.is_over());
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Reads the events since `from` again: they are still there, and the same.
pub(crate) fn compare(world: &World, from: u64) {
    let to = world.journal.read().last();
    let again = match world.wire.events(from + 1, to) {
        Ok(again) => again,
        Err(status) => {
            world.report.violation(world, "events can be read", None, &format!("{from} to {to}: {status}"));
            return;
        }
    };
    let history = world.journal.read();
    // Labels are sent while a container has some, and not later.
    let same = |a: &Event, b: &Event| {
        (a.seq, a.time, &a.id, &a.name, &a.operation, &a.actor)
            == (b.seq, b.time, &b.id, &b.name, &b.operation, &b.actor)
    };
    let before = history.between(from, to);
    let differs = before.iter().zip(&again).find(|(before, now)| !same(before, now));
    let broken = match differs {
        Some((before, now)) => Some(format!("event {} was {before:?}, it is {now:?}", before.seq)),
        None if before.len() != again.len() => {
            Some(format!("{} events came from {} to {to}, {} are there", before.len(), from + 1, again.len()))
        }
        None => None,
    };
    drop(history);
    if let Some(broken) = broken {
        world.report.violation(world, "events stay as they are", None, &broken);
    }
}
