//! How much memory the daemon keeps. A machine full of containers has better uses for what a burst of work has needed once.

use std::time::Duration;

use crate::sys;

const PAUSE: Duration = Duration::from_secs(10);
/// Growth, in bytes, after which the allocator is asked what it can do without.
const SLACK: u64 = 2 << 20;

/// Gives back what is free whenever the process has grown, or more of its heaps has become free: the allocator does so by
/// itself only at the end of its heaps, and one block in use there keeps all below it. Never returns.
pub async fn keep_small() {
    let (mut least, mut least_free) = (resident().unwrap_or(0), sys::free_memory());
    loop {
        tokio::time::sleep(PAUSE).await;
        let Some(now) = resident() else { return };
        let free = sys::free_memory();
        if now <= least + SLACK && free <= least_free + SLACK {
            (least, least_free) = (least.min(now), least_free.min(free));
            continue;
        }
        // Some milliseconds for a large heap.
        if tokio::task::spawn_blocking(sys::give_back_memory).await.is_err() {
            return;
        }
        // What was given back counts as free all the same.
        (least, least_free) = (resident().unwrap_or(now), sys::free_memory());
        tracing::debug!(before = now, after = least, "memory that was free is given back");
    }
}

/// Bytes of memory of our own, without what is mapped from files.
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
    fn what_is_in_use_counts() {
        let before = resident().unwrap();
        assert!(before > 0);
        let block = vec![1_u8; 64 << 20];
        assert!(resident().unwrap() > before + (32 << 20));
        drop(block);
    }
}
