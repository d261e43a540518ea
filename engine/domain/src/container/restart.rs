//! Restart policies: when an exited container is started again, and after how long a wait.

use super::{End, ExitStatus};
use crate::id::{Signal, Timestamp};

/// Which ends lead to another start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RestartPolicy {
    #[default]
    No,
    /// After every end; a container stopped by a user is started again with the daemon.
    Always,
    /// After every end but a user's stop.
    UnlessStopped,
    /// After a failure, which an unknown status is too; `retries` of 0 is no limit.
    OnFailure { retries: u32 },
    /// When the container asks for its reboot: reboot(2) ends the first process of a pid namespace by SIGHUP.
    OnReboot,
}

/// Counters of the starts by policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Restarts {
    /// Since a user's last start.
    pub count: u32,
    /// Short runs in a row: each doubles the wait.
    pub streak: u32,
    /// A user has ended it.
    pub stopped: bool,
}

// In nanoseconds.
const FIRST_WAIT: u64 = 100_000_000;
const LONGEST_WAIT: u64 = 60_000_000_000;
/// A run of this length resets the wait.
const LONG_RUN: u64 = 10_000_000_000;

impl RestartPolicy {
    pub fn wants(self, status: ExitStatus, restarts: &Restarts) -> bool {
        match self {
            Self::No => false,
            Self::Always | Self::UnlessStopped => true,
            Self::OnFailure { retries } => status != ExitStatus::Code(0) && (retries == 0 || restarts.count < retries),
            Self::OnReboot => matches!(status, ExitStatus::Code(129) | ExitStatus::Signal(Signal(1))),
        }
    }
}

impl Restarts {
    /// When the start that follows this end is due.
    pub(super) fn due(&self, end: &End) -> Timestamp {
        let doubled = self.streak_after(end).saturating_sub(1).min(10);
        Timestamp(end.at.0.saturating_add((FIRST_WAIT << doubled).min(LONGEST_WAIT)))
    }

    /// The streak with this end counted.
    pub(super) fn streak_after(&self, end: &End) -> u32 {
        let lasted = end.started_at.map_or(0, |begun| end.at.0.saturating_sub(begun.0));
        if lasted >= LONG_RUN { 1 } else { self.streak.saturating_add(1) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::Cause;
    use crate::container::testing::{at, end};

    #[test]
    fn each_policy_has_its_ends() {
        use super::RestartPolicy::*;
        let fresh = Restarts::default();
        let tried = Restarts { count: 2, ..fresh };
        let zero = ExitStatus::Code(0);
        let seven = ExitStatus::Code(7);
        let killed = ExitStatus::Signal(Signal::KILL);
        let unknown = ExitStatus::Unknown(Cause::HostReboot);
        for (policy, status, restarts, wants) in [
            (No, seven, &fresh, false),
            (Always, zero, &fresh, true),
            (UnlessStopped, zero, &tried, true),
            (OnFailure { retries: 0 }, zero, &fresh, false),
            (OnFailure { retries: 0 }, seven, &tried, true),
            (OnFailure { retries: 2 }, seven, &tried, false),
            (OnFailure { retries: 3 }, killed, &tried, true),
            (OnFailure { retries: 1 }, unknown, &fresh, true),
            (OnReboot, zero, &fresh, false),
            (OnReboot, killed, &fresh, false),
            (OnReboot, ExitStatus::Signal(Signal(1)), &fresh, true),
            (OnReboot, ExitStatus::Code(129), &fresh, true),
        ] {
            assert_eq!(policy.wants(status, restarts), wants, "{policy:?} {status:?} {restarts:?}");
        }
    }

    #[test]
    fn waits_double_up_to_a_minute_and_begin_anew_after_a_long_run() {
        let short = End { started_at: Some(at(100)), at: at(109), ..end() };
        let wait = |streak| Restarts { streak, ..Restarts::default() }.due(&short).0 - short.at.0;
        let millis: Vec<u64> = (0..12).map(|streak| wait(streak) / 1_000_000).collect();
        assert_eq!(millis, [100, 200, 400, 800, 1600, 3200, 6400, 12800, 25600, 51200, 60000, 60000]);
        assert_eq!(wait(u32::MAX), 60_000_000_000);
        let long = End { started_at: Some(at(99)), ..short };
        let tired = Restarts { streak: 9, ..Restarts::default() };
        assert_eq!(tired.due(&long).0 - long.at.0, 100_000_000);
        assert_eq!(tired.streak_after(&long), 1);
        // A start that failed has not run at all.
        assert_eq!(tired.streak_after(&End { started_at: None, ..long }), 10);
    }
}
