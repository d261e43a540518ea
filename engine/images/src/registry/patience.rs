//! Deadlines, and the number and pauses of retries.

use std::time::Duration;

/// Deadlines and retries of everything that is asked of a registry.
#[derive(Debug, Clone)]
pub struct Patience {
    /// Longest for a connection, TLS included.
    pub connect: Duration,
    /// Longest from a request to the head of its answer.
    pub header: Duration,
    /// Longest without a byte of an answer's body.
    pub stall: Duration,
    /// Further attempts after one that failed, each without progress.
    pub attempts: u32,
    /// Bytes that count as progress.
    pub progress: u64,
    /// The pause before the first retry; twice as long before each next one.
    pub backoff: Duration,
    pub longest_backoff: Duration,
    /// The longest pause that a server may ask for.
    pub longest_retry_after: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            header: Duration::from_secs(30),
            stall: Duration::from_secs(30),
            attempts: 5,
            progress: 64 << 10,
            backoff: Duration::from_millis(200),
            longest_backoff: Duration::from_secs(10),
            longest_retry_after: Duration::from_secs(30),
        }
    }
}

impl Patience {
    /// The pause before attempt `number` (from 1) after a failure: the server's `Retry-After`, or a doubling time of
    /// which a random half is taken away, so that clients that failed together do not come back together.
    pub fn pause(&self, number: u32, retry_after: Option<Duration>) -> Duration {
        if let Some(asked) = retry_after {
            return asked.min(self.longest_retry_after);
        }
        let doubled = self.backoff.saturating_mul(1 << number.saturating_sub(1).min(16));
        let longest = doubled.min(self.longest_backoff);
        longest / 2 + longest.mul_f64(random_fraction() / 2.0)
    }
}

/// 0 to 1. Without randomness the middle is good enough.
fn random_fraction() -> f64 {
    let mut bytes = [0; 4];
    getrandom::fill(&mut bytes).map_or(0.5, |()| f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_limit_and_obey_the_server_up_to_another() {
        let patience = Patience::default();
        for (number, longest) in [(1, 200), (2, 400), (3, 800), (7, 10_000), (u32::MAX, 10_000)] {
            let pause = patience.pause(number, None);
            let longest = Duration::from_millis(longest);
            assert!(pause >= longest / 2 && pause <= longest, "{number}: {pause:?}");
        }
        assert_eq!(patience.pause(1, Some(Duration::from_secs(7))), Duration::from_secs(7));
        assert_eq!(patience.pause(1, Some(Duration::MAX)), patience.longest_retry_after);
    }
}
