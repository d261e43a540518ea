//! Hands jobs to one thread, which takes all waiting jobs at once.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How long the taker waits for more jobs when the batch before had several. Callers woken together return together,
/// and long before this limit.
const LINGER: Duration = Duration::from_micros(150);

pub(crate) struct Queue<T> {
    state: Mutex<State<T>>,
    ready: Condvar,
}

struct State<T> {
    jobs: VecDeque<T>,
    closed: bool,
    /// How many jobs the taker waits for: fewer do not wake it.
    wanted: usize,
}

/// The result of taking jobs.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Taken<T> {
    Jobs(Vec<T>),
    /// No job at present.
    Nothing,
    /// The queue is closed and empty.
    Closed,
}

impl<T> Queue<T> {
    pub(crate) fn new() -> Self {
        let state = State { jobs: VecDeque::new(), closed: false, wanted: 1 };
        Self { state: Mutex::new(state), ready: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a job, or returns it when the queue is closed.
    pub(crate) fn push(&self, job: T) -> Result<(), T> {
        let mut state = self.lock();
        if state.closed {
            return Err(job);
        }
        state.jobs.push_back(job);
        let enough = state.jobs.len() >= state.wanted;
        drop(state);
        if enough {
            self.ready.notify_one();
        }
        Ok(())
    }

    /// Rejects later jobs. Queued jobs are still served.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.ready.notify_one();
    }

    /// Takes up to `max` jobs, waiting for the first; then shortly for `expected` of them.
    pub(crate) fn take(&self, max: usize, expected: usize) -> Taken<T> {
        let mut state = self.lock();
        while state.jobs.is_empty() {
            if state.closed {
                return Taken::Closed;
            }
            state.wanted = 1;
            state = self.ready.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.jobs.len() < expected {
            state.wanted = expected;
            let short = |state: &mut State<T>| state.jobs.len() < expected && !state.closed;
            (state, _) = self.ready.wait_timeout_while(state, LINGER, short).unwrap_or_else(PoisonError::into_inner);
        }
        Taken::Jobs(drain(&mut state, max))
    }

    /// Takes up to `max` jobs without waiting.
    pub(crate) fn take_now(&self, max: usize) -> Taken<T> {
        let mut state = self.lock();
        match (state.jobs.is_empty(), state.closed) {
            (true, true) => Taken::Closed,
            (true, false) => Taken::Nothing,
            (false, _) => Taken::Jobs(drain(&mut state, max)),
        }
    }
}

fn drain<T>(state: &mut State<T>, max: usize) -> Vec<T> {
    let count = state.jobs.len().min(max);
    state.jobs.drain(..count).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::thread;

    #[test]
    fn jobs_queued_before_closing_are_served() {
        let queue = Queue::new();
        queue.push(1).unwrap();
        queue.push(2).unwrap();
        queue.close();
        assert_eq!(queue.push(3), Err(3));
        assert_eq!(queue.take(1, 1), Taken::Jobs(vec![1]));
        assert_eq!(queue.take_now(9), Taken::Jobs(vec![2]));
        assert_eq!((queue.take(9, 1), queue.take_now(9)), (Taken::Closed, Taken::Closed));
    }

    #[test]
    fn a_waiting_taker_is_woken() {
        let queue = Arc::new(Queue::new());
        assert_eq!(queue.take_now(9), Taken::Nothing);
        let taker = thread::spawn({
            let queue = queue.clone();
            move || (queue.take(9, 1), queue.take(9, 5))
        });
        queue.push(1).unwrap();
        while !queue.lock().jobs.is_empty() {
            thread::yield_now();
        }
        // Expecting five jobs, it takes the available ones after the limit.
        queue.push(2).unwrap();
        assert_eq!(taker.join().unwrap(), (Taken::Jobs(vec![1]), Taken::Jobs(vec![2])));
    }
}
