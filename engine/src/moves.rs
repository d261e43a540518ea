//! Prepares the kernel for moves of processes between cgroups, before a runtime makes them.
//!
//! A write to a `cgroup.procs` takes a lock of the whole machine (`cgroup_threadgroup_rwsem`) that every fork and exit
//! reads. The readers are fast because the first writer after a while waits for a grace period of RCU: some 10 ms on a
//! quiet machine, during which a runtime would be idle. A writer that comes while another's period goes on, or until
//! one more has gone by, does not wait (the kernel's `rcu_sync`). So when a request arrives that leads to a runtime, a
//! thread here makes a write that moves nothing, and the grace period passes while the request is carried out. It makes
//! another one when the runtime is about to be started, for a runtime that comes to its own late.
//!
//! No caller waits for the thread, and it is a mere optimisation: where it cannot write, or hangs, a runtime waits as
//! it would have without it.

use std::fs;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use crate::spec::cgroup::Cgroups;

/// The thread that writes. It ends with this value.
#[derive(Debug)]
pub(crate) struct Moves {
    sender: SyncSender<()>,
}

impl Moves {
    pub(crate) fn new(cgroups: Cgroups) -> Arc<Self> {
        // One pending request is enough for all callers meanwhile.
        let (sender, requests) = sync_channel(1);
        // Without the thread, requests are dropped.
        let _ =
            thread::Builder::new().name("cgroup-moves".into()).spawn(move || prepare_on_request(&requests, &cgroups));
        Arc::new(Self { sender })
    }

    /// Announces a runtime that will move processes between cgroups. Does not wait.
    pub(crate) fn expect(&self) {
        let _ = self.sender.try_send(());
    }
}

fn prepare_on_request(requests: &Receiver<()>, cgroups: &Cgroups) {
    while requests.recv().is_ok() {
        if let Err(error) = stay(cgroups) {
            tracing::debug!("moves between cgroups are not prepared for: {error}");
        }
    }
}

/// Moves this process to its present cgroup. Looked up each time: an operator may have moved it.
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
    fn the_write_moves_no_process() {
        let before = own();
        stay(&Cgroups::detect().unwrap()).unwrap();
        assert_eq!(own(), before);
    }

    #[test]
    fn requests_do_not_block_and_the_thread_ends() {
        let (sender, requests) = sync_channel(1);
        let moves = Moves { sender };
        // No thread takes them: each but the first finds one pending.
        (0..1000).for_each(|_| moves.expect());
        drop(moves);
        assert_eq!(requests.iter().count(), 1);
        // A failed write does not end the thread.
        let (sender, requests) = sync_channel(1);
        let thread = thread::spawn(move || prepare_on_request(&requests, &Cgroups::from_mountinfo(b"")));
        sender.send(()).unwrap();
        sender.send(()).unwrap();
        drop(sender);
        let end = Instant::now() + Duration::from_secs(60);
        while !thread.is_finished() {
            assert!(Instant::now() < end, "the thread goes on");
            thread::sleep(Duration::from_millis(1));
        }
    }
}
