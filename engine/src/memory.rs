//! Limits the daemon's memory: after its start, and after a burst of work, what was needed for it goes back to the host.

use std::time::Duration;

use crate::sys;

const PAUSE: Duration = Duration::from_secs(10);
/// Growth, in bytes, after which memory is given back.
const SLACK: u64 = 2 << 20;

/// Bytes of the daemon in memory.
#[derive(Debug, Clone, Copy, Default)]
struct Resident {
    own: u64,
    /// Of mapped files: nearly all of the program itself.
    mapped: u64,
}

/// Gives memory back whenever a kind of it has grown. The allocator gives back by itself only what is free at the end of
/// its heaps, and one block in use there keeps all below it. Pages of the program are needed most for the start; those
/// that are needed again come back from the page cache. Never returns.
pub(crate) async fn trim() {
    tokio::time::sleep(PAUSE).await;
    if tokio::task::spawn_blocking(sys::give_back_program).await.is_err() {
        return;
    }
    let (mut least, mut least_free) = (resident().unwrap_or_default(), sys::free_memory());
    loop {
        tokio::time::sleep(PAUSE).await;
        let Some(before) = resident() else { return };
        if before.mapped > least.mapped + SLACK {
            if tokio::task::spawn_blocking(sys::give_back_program).await.is_err() {
                return;
            }
            least.mapped = resident().unwrap_or(before).mapped;
        }
        let free = sys::free_memory();
        if before.own <= least.own + SLACK && free <= least_free + SLACK {
            (least.own, least_free) = (least.own.min(before.own), least_free.min(free));
            continue;
        }
        // Takes some milliseconds for a large heap.
        if tokio::task::spawn_blocking(sys::give_back_memory).await.is_err() {
            return;
        }
        // Memory given back still counts as free.
        (least.own, least_free) = (resident().unwrap_or(before).own, sys::free_memory());
        tracing::debug!(before = before.own, after = least.own, "memory that was free is given back");
    }
}

fn resident() -> Option<Resident> {
    let text = std::fs::read_to_string("/proc/self/statm").ok()?;
    let mut pages = text.split(' ').skip(1).map(|word| word.trim().parse::<u64>().ok());
    let (all, shared) = (pages.next()??, pages.next()??);
    let page = sys::page_size();
    Some(Resident { own: all.saturating_sub(shared) * page, mapped: shared * page })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_in_use_counts() {
        let before = resident().unwrap().own;
        assert!(before > 0);
        let block = vec![1_u8; 64 << 20];
        assert!(resident().unwrap().own > before + (32 << 20));
        drop(block);
    }

    #[test]
    fn pages_of_the_program_leave_and_come_back() {
        let before = resident().unwrap().mapped;
        sys::give_back_program();
        let after = resident().unwrap().mapped;
        assert!(after < before / 2, "{after} of {before}");
        // The program goes on, with its tables of functions, which hold relocations.
        let parts: Vec<Box<dyn std::fmt::Display>> = vec![Box::new(1), Box::new("b"), Box::new('c')];
        assert_eq!(parts.iter().map(ToString::to_string).collect::<String>(), "1bc");
    }
}
