//! Limits the daemon's memory: after a burst of work, free memory goes back to the host.

use std::time::Duration;

use crate::sys;

const PAUSE: Duration = Duration::from_secs(10);
/// Growth, in bytes, after which the allocator is asked to trim its heaps.
const SLACK: u64 = 2 << 20;

/// Gives free memory back whenever the process, or the free part of its heaps, has grown: the allocator does so by
/// itself only at the end of its heaps, and one block in use there keeps all below it. Never returns.
pub(crate) async fn trim_heap() {
    let (mut least, mut least_free) = (resident().unwrap_or(0), sys::free_memory());
    loop {
        tokio::time::sleep(PAUSE).await;
        let Some(now) = resident() else { return };
        let free = sys::free_memory();
        if now <= least + SLACK && free <= least_free + SLACK {
            (least, least_free) = (least.min(now), least_free.min(free));
            continue;
        }
        // Takes some milliseconds for a large heap.
        if tokio::task::spawn_blocking(sys::give_back_memory).await.is_err() {
            return;
        }
        // Memory given back still counts as free.
        (least, least_free) = (resident().unwrap_or(now), sys::free_memory());
        tracing::debug!(before = now, after = least, "memory that was free is given back");
    }
}

/// Bytes of the daemon's own memory, without mapped files.
fn resident() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/statm").ok()?;
    let mut pages = text.split(' ').skip(1).map(|word| word.trim().parse::<u64>().ok());
    let (all, shared) = (pages.next()??, pages.next()??);
    Some(all.saturating_sub(shared) * sys::page_size())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_in_use_counts() {
        let before = resident().unwrap();
        assert!(before > 0);
        let block = vec![1_u8; 64 << 20];
        assert!(resident().unwrap() > before + (32 << 20));
        drop(block);
    }
}
