//! The end of a container is the end of what was run in it.

use std::sync::Arc;
use std::time::Duration;

use isulad_shim::sys::pidfd::PidFd;
use isulad_shim::{StateDir, pid_file};

use super::keep::DIRECTORY;
use crate::domain::container::Container;
use crate::engine::Engine;

/// A shim notices the end of its process, drains its output, and leaves, or at least writes its record.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two looks for records.
const PAUSE: Duration = Duration::from_millis(200);

/// Waits until every exec of a container that has ended is recorded; shims that stay are told to kill and to leave, then
/// killed. False when some are still there.
pub async fn end_all(engine: &Arc<Engine>, container: &Container) -> bool {
    if gone(engine, container).await {
        return true;
    }
    for signal in [15, 9] {
        let parent = engine.state_dir(container).file(DIRECTORY);
        for entry in std::fs::read_dir(parent).into_iter().flatten().flatten() {
            let shim = pid_file::read(&StateDir::new(entry.path()).shim_pid());
            if let Ok(Some(shim)) = shim
                && let Ok(pidfd) = PidFd::open(shim)
            {
                let _ = pidfd.send_signal(signal);
            }
        }
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
