//! Moves of processes between cgroups, which the kernel is prepared for before a runtime makes them.
//!
//! A write to a `cgroup.procs` takes a lock of the whole machine (`cgroup_threadgroup_rwsem`) that every fork and exit
//! reads, and whose readers are fast because its first writer after a while waits for a grace period of RCU: some 10 ms on
//! a quiet machine, for which a runtime does nothing. A writer who comes while that of another goes on, or until one more
//! has gone by, does not wait (the kernel's `rcu_sync`). So when a request arrives that leads to a runtime, a thread
//! here makes a write that moves nothing, and the grace period passes while the request is carried out. It makes another one
//! when the runtime is about to be started, for a runtime that comes to its own late.
//!
//! Nobody waits for the thread, and nothing depends on it: where it cannot write, or does not come back, a runtime waits as
//! it would have without it.

use std::fs;
use std::io;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use crate::spec::cgroup::Cgroups;

/// The thread that writes. It ends with this.
#[derive(Debug)]
pub struct Moves {
    expected: SyncSender<()>,
}

impl Moves {
    pub fn new(cgroups: Cgroups) -> Self {
        // One that waits stands for all who expect moves meanwhile.
        let (expected, told) = sync_channel(1);
        // Without the thread nobody is told anything.
        let _ = thread::Builder::new().name("cgroup-moves".into()).spawn(move || prepare_when(&told, &cgroups));
        Self { expected }
    }

    /// Somebody is about to start a runtime that moves processes between cgroups. Does not wait.
    pub fn expect(&self) {
        let _ = self.expected.try_send(());
    }
}

fn prepare_when(told: &Receiver<()>, cgroups: &Cgroups) {
    while told.recv().is_ok() {
        if let Err(error) = stay(cgroups) {
            tracing::debug!("moves between cgroups are not prepared for: {error}");
        }
    }
}

/// Moves this process to the cgroup that it is in. Looked up each time: an operator may have moved it.
fn stay(cgroups: &Cgroups) -> io::Result<()> {
    let own = fs::read_to_string("/proc/self/cgroup")?;
    let procs = cgroups.procs_of(&own).ok_or_else(|| io::Error::other("the daemon is in no cgroup that is mounted"))?;
    fs::write(procs, "0")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    fn own() -> String {
        fs::read_to_string("/proc/self/cgroup").unwrap()
    }

    #[test]
    fn the_write_moves_nobody() {
        let before = own();
        stay(&Cgroups::detect().unwrap()).unwrap();
        assert_eq!(own(), before);
    }

    #[test]
    fn nobody_waits_and_the_thread_ends() {
        let (expected, told) = sync_channel(1);
        let moves = Moves { expected };
        // Nobody takes them: each but the first finds one that waits.
        (0..1000).for_each(|_| moves.expect());
        drop(moves);
        assert_eq!(told.iter().count(), 1);
        // Nowhere to write: it goes on all the same.
        let (expected, told) = sync_channel(1);
        let thread = thread::spawn(move || prepare_when(&told, &Cgroups::from_mountinfo(b"")));
        expected.send(()).unwrap();
        expected.send(()).unwrap();
        drop(expected);
        let end = Instant::now() + Duration::from_secs(60);
        while !thread.is_finished() {
            assert!(Instant::now() < end, "the thread goes on");
            thread::sleep(Duration::from_millis(1));
        }
    }
}
