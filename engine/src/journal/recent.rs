//! Execs and sessions that earlier daemons began and perhaps never ended, from the journal's newest records: read once
//! after a start of the daemon, for all containers.

use std::collections::{HashMap, HashSet};

use store::{Journal, ReadError, Record, Seq};

use super::record::{Actor, Codec};
use crate::domain::container::{Container, Event};
use crate::domain::id::{BootId, ContainerId, SessionId};

/// How many records are read: those in the database and not yet in an archive, and a few more. An operation that was
/// pending when a daemon ended is among its last records, except for a client that had been attached for very long; an
/// older exec has a directory as evidence, unless the host was restarted. After a restart of the host all records are
/// read.
const LOOK_BACK: u64 = 10_000;
/// How many are in memory at once: as many as an archive file has.
const PORTION: u64 = 1_000;

/// Execs and sessions of earlier daemons.
#[derive(Debug, Default)]
pub(crate) struct Recent {
    /// `false` when the newest records could not be read.
    known: bool,
    /// Execs with a recorded beginning and no recorded end.
    open: HashMap<SessionId, Exec>,
    /// Execs with a recorded end, wherever their beginning: their directories may still exist.
    ended: HashSet<SessionId>,
    /// Clients that were attached when their daemon ended.
    attached: HashMap<ContainerId, HashMap<SessionId, Attached>>,
    /// The last record, and its time.
    seq: Seq,
    last: u64,
}

#[derive(Debug)]
struct Exec {
    container: ContainerId,
    boot: [u8; 16],
}

/// The state of an exec according to the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ExecRecord {
    Open,
    Ended,
    /// Not recorded within the records read.
    Never,
    /// The journal could not be read.
    Unknown,
}

#[derive(Debug)]
struct Attached {
    since: u64,
    /// The time of the last record of the daemon that it was attached to.
    until: Option<u64>,
}

impl Recent {
    /// Reads the newest records. Blocks. `on_error` is called for records that cannot be read; newer ones are used all
    /// the same.
    pub(crate) fn read(journal: &Journal, boot: BootId, on_error: impl FnMut(&ReadError)) -> Self {
        Self::look_back(journal, boot, LOOK_BACK, on_error)
    }

    fn look_back(journal: &Journal, boot: BootId, records: u64, mut on_error: impl FnMut(&ReadError)) -> Self {
        let last = journal.last();
        let mut next = last.saturating_sub(records).max(journal.first());
        if is_of_another(journal, next, boot) {
            next = journal.first();
        }
        let mut recent = Self { known: true, ..Self::default() };
        while next <= last {
            let portion = PORTION.min(last - next + 1);
            match journal.read(next, portion as usize) {
                Ok(records) => {
                    let Some(newest) = records.last() else { break };
                    next = newest.seq + 1;
                    records.iter().for_each(|record| recent.take(record));
                }
                Err(error) => {
                    on_error(&error);
                    // A damaged file of the archive affects none of the newer records in the database.
                    let hot = journal.first_hot();
                    if next >= hot {
                        return Self::default();
                    }
                    next = hot;
                }
            }
        }
        recent
    }

    /// Takes the next record.
    fn take(&mut self, record: &Record) {
        if record.seq != self.seq + 1 {
            // Records are missing, and may be the ends of earlier beginnings.
            self.open.clear();
            self.attached.clear();
        }
        // An unreadable record is ignored.
        if let (Some(id), Ok((context, event))) = (Container::id_of(&record.stream), Container::decode(record)) {
            if context.actor == Actor::Recovery {
                // A record by recovery marks the end of the daemon before it.
                for session in self.attached.values_mut().flat_map(HashMap::values_mut) {
                    session.until.get_or_insert(self.last);
                }
            }
            self.fold(id, record, event);
        }
        (self.seq, self.last) = (record.seq, record.at);
    }

    fn fold(&mut self, id: ContainerId, record: &Record, event: Event) {
        if let Event::ExecStarted { exec, .. } = event {
            self.open.insert(exec, Exec { container: id, boot: record.boot });
        } else if let Event::ExecExited { exec, .. } = event {
            self.open.remove(&exec);
            self.ended.insert(exec);
        } else if let Event::Attached { session, .. } = event {
            let began = Attached { since: record.at, until: None };
            self.attached.entry(id).or_default().insert(session, began);
        } else if let Event::Detached { session, .. } = event {
            self.attached.entry(id).or_default().remove(&session);
        }
    }

    pub(crate) fn exec(&self, exec: &SessionId) -> ExecRecord {
        match (self.open.contains_key(exec), self.ended.contains(exec), self.known) {
            (_, true, _) => ExecRecord::Ended,
            (true, false, _) => ExecRecord::Open,
            (false, false, true) => ExecRecord::Never,
            (false, false, false) => ExecRecord::Unknown,
        }
    }

    /// The execs of a container without a recorded end, and whether each began in `boot`.
    pub(crate) fn open_execs(&self, id: &ContainerId, boot: BootId) -> Vec<(SessionId, bool)> {
        let open = self.open.iter().filter(|(_, exec)| exec.container == *id);
        open.map(|(session, exec)| (*session, BootId(exec.boot) == boot)).collect()
    }

    /// The sessions of a container without a recorded end, and how many milliseconds each lasted at least: until the
    /// last record of its daemon, of whatever container. The daemon was killed some time later, at an unknown moment.
    pub(crate) fn attached(&self, id: &ContainerId) -> Vec<(SessionId, u64)> {
        let known = |session: &Attached| session.until.unwrap_or(self.last).saturating_sub(session.since) / 1_000_000;
        let open = self.attached.get(id).into_iter().flatten();
        open.map(|(session, attached)| (*session, known(attached))).collect()
    }
}

/// Whether this record was made before the host was restarted. False for an unreadable one, which the caller meets
/// again.
fn is_of_another(journal: &Journal, seq: Seq, boot: BootId) -> bool {
    journal.read(seq, 1).is_ok_and(|records| records.first().is_some_and(|record| BootId(record.boot) != boot))
}

#[cfg(test)]
mod tests;
