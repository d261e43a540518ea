//! The end of all execs of a container, when the container has ended.

use std::time::Duration;

use isulad_shim::StateDir;
use isulad_shim::sys::pidfd::PidFd;

use super::Execs;
use super::keep::DIRECTORY;
use crate::cancel;
use crate::domain::container::Container;
use crate::shim_process;

/// How long a shim may take after the end of its process: it drains the output, and leaves, or at least writes its
/// record.
const PATIENCE: Duration = Duration::from_secs(10);
/// Before the first signal, and after each.
pub(crate) const END_ALL_LIMIT: Duration = PATIENCE.saturating_mul(1 + SIGNALS.len() as u32);
/// To shims that stay.
const SIGNALS: [i32; 2] = [15, 9];
/// Between two checks for records.
const PAUSE: Duration = Duration::from_millis(200);

impl Execs {
    /// Waits until every exec of a container that has ended is recorded; shims that stay get SIGTERM, upon which they
    /// kill and leave, then SIGKILL. False when some are still there.
    pub(crate) async fn end_all(&self, container: &Container) -> bool {
        if self.gone(container).await {
            return true;
        }
        for signal in SIGNALS {
            let parent = self.node.state_dir(container).file(DIRECTORY);
            let signalling = cancel::blocking(move |_| {
                for entry in std::fs::read_dir(parent).into_iter().flatten().flatten() {
                    for shim in shim_process::living_shims(&StateDir::new(entry.path())).unwrap_or_default() {
                        let _ = PidFd::open(shim).and_then(|pidfd| pidfd.send_signal(signal));
                    }
                }
            });
            let _ = signalling.await;
            if self.gone(container).await {
                return true;
            }
        }
        false
    }

    async fn gone(&self, container: &Container) -> bool {
        let end = tokio::time::Instant::now() + PATIENCE;
        loop {
            if self.keepers.gone(&container.id, PAUSE).await {
                return true;
            }
            if tokio::time::Instant::now() >= end {
                return false;
            }
            self.keepers.hurry();
        }
    }
}
