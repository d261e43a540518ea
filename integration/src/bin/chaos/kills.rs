//! The kills and their times: an operation that met a kill may fail, and a container whose helper was killed may end
//! otherwise.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The time after a helper's kill in which its container may still be affected: until it was adopted, or given back.
const AFTERMATH: Duration = Duration::from_secs(20);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Victim {
    Daemon,
    Shim,
    Runtime,
    Plugin,
    Client,
    /// A container's first process.
    First,
}

#[derive(Debug, Clone)]
pub(crate) struct Kill {
    pub victim: Victim,
    pub pid: i32,
    pub at: Instant,
    /// The last event that had come then.
    pub seq: u64,
    /// The containers' ids on the victim's command line or in its environment.
    pub subjects: Vec<String>,
}

/// When no daemon served.
#[derive(Debug, Clone, Copy)]
struct Downtime {
    from: Instant,
    to: Option<Instant>,
}

#[derive(Debug, Default)]
pub(crate) struct Kills(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    kills: Vec<Kill>,
    downtimes: Vec<Downtime>,
}

impl Kills {
    /// Called before the kill, so that an observer of the consequence finds the cause.
    pub(crate) fn note(&self, kill: Kill) {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kill.victim == Victim::Daemon && inner.downtimes.last().is_none_or(|last| last.to.is_some()) {
            inner.downtimes.push(Downtime { from: kill.at, to: None });
        }
        inner.kills.push(kill);
    }

    /// A daemon serves again.
    pub(crate) fn served(&self) {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(last) = inner.downtimes.last_mut() {
            last.to.get_or_insert_with(Instant::now);
        }
    }

    /// Whether something was killed that the operation on these containers may have met.
    pub(crate) fn met(&self, ids: &[String], from: Instant, to: Instant) -> bool {
        let inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Interrupted operations are being finished or undone for a while.
        let down =
            inner.downtimes.iter().any(|time| time.from <= to && time.to.is_none_or(|end| end + AFTERMATH >= from));
        let helper = |kill: &&Kill| match kill.victim {
            Victim::Shim | Victim::Runtime | Victim::Plugin | Victim::First => {
                kill.at <= to
                    && kill.at + AFTERMATH >= from
                    && (kill.subjects.is_empty() || kill.subjects.iter().any(|subject| ids.contains(subject)))
            }
            Victim::Daemon | Victim::Client => false,
        };
        down || inner.kills.iter().any(|kill| helper(&kill))
    }

    /// Whether one of these was killed that had to do with the container since this event.
    pub(crate) fn touched(&self, id: &str, victims: &[Victim], since: u64) -> bool {
        self.about(id).iter().any(|kill| victims.contains(&kill.victim) && kill.seq + 1 >= since)
    }

    /// All that had to do with the container.
    pub(crate) fn about(&self, id: &str) -> Vec<Kill> {
        let inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let concerns = |kill: &&Kill| kill.subjects.is_empty() || kill.subjects.iter().any(|subject| subject == id);
        inner.kills.iter().filter(concerns).cloned().collect()
    }

    /// How often each was killed.
    pub(crate) fn counts(&self) -> String {
        let inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let all = [Victim::Daemon, Victim::Shim, Victim::Runtime, Victim::Plugin, Victim::Client, Victim::First];
        let count = |victim| inner.kills.iter().filter(|kill| kill.victim == victim).count();
        all.map(|victim| format!("{} {victim:?}", count(victim))).join(", ")
    }

    /// Whether this daemon was killed on purpose.
    pub(crate) fn has_killed_daemon(&self, pid: i32) -> bool {
        let inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        inner.kills.iter().any(|kill| kill.victim == Victim::Daemon && kill.pid == pid)
    }
}
