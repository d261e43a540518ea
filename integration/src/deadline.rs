//! Waiting with an end. A wait is for a descriptor wherever the kernel offers one.

use std::time::{Duration, Instant};

use rustix::event::{PollFd, Timespec, poll};

/// Nothing the tests wait for takes this long unless it hangs, also on a machine that has ten times too much to do.
pub const PATIENCE: Duration = Duration::from_secs(180);

/// Waits until one of the descriptors is ready or the time is over; `true` when one is.
pub fn ready(fds: &mut [PollFd<'_>], patience: Duration) -> bool {
    let end = Instant::now() + patience;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left).expect("a deadline of a test fits");
        match poll(fds, Some(&left)) {
            Ok(count) => return count > 0,
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => panic!("cannot poll: {errno}"),
        }
    }
}

/// Polls facts that have no notification (a cgroup that goes, a thread that ends) until `holds`.
///
/// # Panics
/// When it is not so within [`PATIENCE`].
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < end, "still not so after {} s: {what}", PATIENCE.as_secs());
        std::thread::sleep(Duration::from_millis(5));
    }
}
