//! Usage of containers, read from the files of their cgroups and from `/proc`: no runtime is run for it, and it changes
//! no state.
//!
//! The files are read on blocking threads, few at a time and each with a deadline: a kernel that hangs on one of them
//! costs an answer, not the daemon.

mod counters;
mod network;
mod processes;
mod ps;
mod rounds;
mod top;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

pub(crate) use counters::{Counters, Meter};
pub(crate) use ps::PsError;
pub(crate) use rounds::Measured;
pub(crate) use top::{Table, TopError};

use crate::node::Node;
use crate::records::Containers;
use rounds::Samples;

/// Reading the kernel's counters takes milliseconds; a read that takes this long hangs.
pub(crate) const READ_DEADLINE: Duration = Duration::from_secs(10);

/// Threads that may read at a time; those that hang count.
const READERS: usize = 4;

/// Readers of containers' usage, and the samples that they compare.
#[derive(Debug)]
pub(crate) struct Usage {
    node: Arc<Node>,
    containers: Arc<Containers>,
    readers: Arc<Semaphore>,
    samples: Samples,
}

impl Usage {
    pub(crate) fn new(node: Arc<Node>, containers: Arc<Containers>) -> Arc<Self> {
        Arc::new(Self { node, containers, readers: Arc::new(Semaphore::new(READERS)), samples: Samples::default() })
    }

    /// Runs `work` on a thread that may block; `None` when it was not done in time.
    async fn read<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        let readers = self.readers.clone();
        let reading = async {
            let place = readers.acquire_owned().await.ok()?;
            let working = tokio::task::spawn_blocking(move || {
                let _place = place;
                work()
            });
            working.await.ok()
        };
        tokio::time::timeout(READ_DEADLINE, reading).await.ok().flatten()
    }
}
