//! Ignored signals, which children inherit through every exec.

use std::sync::Once;

use tokio::signal::unix::{SignalKind, signal};

/// The caller of the tests may ignore signals, as a shell does for programs in the background, and so would the daemon,
/// `isula` and all that they start. A handler is not inherited: ignored signals get handlers here, which do nothing.
pub(crate) fn heed(runtime: &tokio::runtime::Runtime) {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let _context = runtime.enter();
        let kinds = [SignalKind::interrupt(), SignalKind::quit(), SignalKind::terminate(), SignalKind::hangup()];
        for kind in kinds.into_iter().filter(|kind| is_ignored(*kind)) {
            // The handler stays when this is dropped.
            drop(signal(kind).expect("a handler can be installed"));
        }
    });
}

fn is_ignored(kind: SignalKind) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap_or_default();
    let mask = u64::from_str_radix(mask.trim(), 16).unwrap_or(0);
    mask & (1 << (kind.as_raw_value() - 1)) != 0
}
