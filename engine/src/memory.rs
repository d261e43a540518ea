//! Limits the daemon's memory: the needs of its start, and of a burst of work, go back to the host.

use std::time::Duration;

use crate::sys;

const PAUSE: Duration = Duration::from_secs(10);
/// Growth, in bytes, after which memory is given back.
const SLACK: u64 = 2 << 20;
/// Time of the processors within a pause below which the daemon counts as idle.
const QUIET: Duration = Duration::from_millis(200);

/// Bytes of the daemon in memory.
#[derive(Debug, Clone, Copy, Default)]
struct Resident {
    own: u64,
    /// Of mapped files: nearly all of the program itself.
    mapped: u64,
}

/// Gives memory back whenever a kind of it has grown. Never returns.
///
/// Heaps: the allocator gives back by itself only free memory at their ends, and one block in use there keeps all below
/// it. The program: most of its pages are needed by the start alone. It is given back only while the daemon is idle,
/// and the pages that come back within the next pause are the daemon's needs from then on.
pub(crate) async fn trim() {
    let (mut least, mut least_free) = (resident().unwrap_or_default().own, sys::free_memory());
    let (mut needed, mut given_back, mut worked) = (0, false, sys::processor_time());
    loop {
        tokio::time::sleep(PAUSE).await;
        let Some(now) = resident() else { return };
        let before = std::mem::replace(&mut worked, sys::processor_time());
        let idle = worked.saturating_sub(before) < QUIET;
        if given_back {
            (needed, given_back) = (now.mapped, false);
        } else if idle && now.mapped > needed + SLACK {
            if tokio::task::spawn_blocking(sys::give_back_program).await.is_err() {
                return;
            }
            given_back = true;
        }
        let free = sys::free_memory();
        if now.own <= least + SLACK && free <= least_free + SLACK {
            (least, least_free) = (least.min(now.own), least_free.min(free));
            continue;
        }
        // Takes some milliseconds for a large heap.
        if tokio::task::spawn_blocking(sys::give_back_memory).await.is_err() {
            return;
        }
        // Memory given back still counts as free.
        (least, least_free) = (resident().unwrap_or(now).own, sys::free_memory());
        tracing::debug!(before = now.own, after = least, "memory that was free is given back");
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
    use std::time::Instant;

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
        let deadline = Instant::now() + Duration::from_secs(60);
        // Tests beside this one bring pages back.
        let shrinks = || {
            let before = resident().unwrap().mapped;
            sys::give_back_program();
            resident().unwrap().mapped < before * 3 / 4
        };
        while !shrinks() {
            assert!(Instant::now() < deadline, "the pages stay");
            // All pages of a hash, a format and a sort are in memory again.
            let mut words: Vec<String> = (0..1000).map(|n| format!("{:x}", n * 7919)).collect();
            words.sort();
        }
        // The program goes on, with its tables of functions, which hold relocations.
        let parts: Vec<Box<dyn std::fmt::Display>> = vec![Box::new(1), Box::new("b"), Box::new('c')];
        assert_eq!(parts.iter().map(ToString::to_string).collect::<String>(), "1bc");
    }

    #[test]
    fn work_takes_processor_time() {
        let before = sys::processor_time();
        let deadline = Instant::now() + Duration::from_secs(60);
        while sys::processor_time() == before {
            assert!(Instant::now() < deadline, "it stands still");
        }
    }
}
