//! The end of all execs of a container, when the container has ended.

use std::sync::Arc;
use std::time::Duration;

use isulad_shim::StateDir;
use isulad_shim::sys::pidfd::PidFd;

use super::keep::DIRECTORY;
use crate::cancel;
use crate::domain::container::Container;
use crate::engine::Engine;
use crate::shim_process;

/// How long a shim may take after the end of its process: it drains the output, and leaves, or at least writes its
/// record.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two checks for records.
const PAUSE: Duration = Duration::from_millis(200);

/// Waits until every exec of a container that has ended is recorded; shims that stay get SIGTERM, upon which they kill
/// and leave, then SIGKILL. False when some are still there.
pub(crate) async fn end_all(engine: &Arc<Engine>, container: &Container) -> bool {
    if gone(engine, container).await {
        return true;
    }
    for signal in [15, 9] {
        let parent = engine.node.state_dir(container).file(DIRECTORY);
        let signalling = cancel::blocking(move |_| {
            for entry in std::fs::read_dir(parent).into_iter().flatten().flatten() {
                for shim in shim_process::living_shims(&StateDir::new(entry.path())).unwrap_or_default() {
                    let _ = PidFd::open(shim).and_then(|pidfd| pidfd.send_signal(signal));
                }
            }
        });
        let _ = signalling.await;
        if gone(engine, container).await {
            return true;
        }
    }
    false
}

async fn gone(engine: &Engine, container: &Container) -> bool {
    let end = tokio::time::Instant::now() + PATIENCE;
    loop {
        if engine.execs.gone(&container.id, PAUSE).await {
            return true;
        }
        if tokio::time::Instant::now() >= end {
            return false;
        }
        engine.execs.hurry();
    }
}
