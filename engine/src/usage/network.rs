//! Traffic over a container's network interfaces.

use isulad_shim::ProcessRef;

/// Bytes, over all interfaces but the loopback.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Traffic {
    pub received: u64,
    pub sent: u64,
}

/// The traffic of the process's network namespace; `None` when the process has ended, or shares the daemon's namespace.
pub(super) fn traffic(process: ProcessRef) -> Option<Traffic> {
    let own = std::fs::read_link("/proc/self/ns/net").ok()?;
    let namespace = std::fs::read_link(format!("/proc/{}/ns/net", process.pid)).ok()?;
    let text = std::fs::read_to_string(format!("/proc/{}/net/dev", process.pid)).ok()?;
    // Checked last: all three files were of this process.
    (namespace != own && process.alive()).then(|| sum(&text))
}

/// `eth0: <received> <7 more> <sent> …` below two lines of titles.
fn sum(text: &str) -> Traffic {
    let mut all = Traffic::default();
    for line in text.lines() {
        let Some((name, numbers)) = line.split_once(':') else { continue };
        let mut numbers = numbers.split_whitespace().map(|number| number.parse::<u64>().unwrap_or(0));
        if let (false, Some(received), Some(sent)) = (name.trim() == "lo", numbers.next(), numbers.nth(7)) {
            all.received = all.received.saturating_add(received);
            all.sent = all.sent.saturating_add(sent);
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interfaces_are_summed_without_the_loopback() {
        let text = "Inter-|   Receive                  |  Transmit\n face |bytes packets errs |bytes packets\n\
                    lo: 99 1 0 0 0 0 0 0 99 1 0 0 0 0 0 0\n  eth0: 100 1 0 0 0 0 0 0 20 1 0 0 0 0 0 0\n\
                    eth1:5 1 0 0 0 0 0 0 6 1 0 0 0 0 0 0\n";
        assert_eq!(sum(text), Traffic { received: 105, sent: 26 });
        assert_eq!(sum(""), Traffic::default());
    }
}
