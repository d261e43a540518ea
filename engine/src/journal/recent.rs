//! What the newest records say was begun and, perhaps, never ended: read once after a start of the daemon, for all
//! containers.

use std::collections::{HashMap, HashSet};

use store::{Journal, ReadError, Record, Seq};

use super::record::{Actor, Codec};
use crate::domain::container::{Container, Event};
use crate::domain::id::{BootId, ContainerId, SessionId};

/// How many records are looked at: what is in the database and not yet in an archive, and a little more. What was under
/// way when a daemon ended was, but for a client that had been attached for very long, among the last things done; an older
/// exec has a directory that tells of it, unless the host was restarted. After that everything is looked at.
const LOOK_BACK: u64 = 10_000;
/// How many are in memory at once: as many as an archive file has.
const PORTION: u64 = 1_000;

/// What was begun by earlier daemons.
#[derive(Debug, Default)]
pub struct Recent {
    /// `false` when the newest records could not be read.
    known: bool,
    /// Execs whose beginning is recorded, and not their end.
    open: HashMap<SessionId, Exec>,
    /// Those whose end is, wherever their beginning: their directories may be there still.
    ended: HashSet<SessionId>,
    /// Clients that were attached when their daemon ended.
    attached: HashMap<ContainerId, HashMap<SessionId, Attached>>,
    /// The last record, and when it was made.
    seq: Seq,
    last: u64,
}

#[derive(Debug)]
struct Exec {
    container: ContainerId,
    boot: [u8; 16],
}

/// Whether an exec is one that somebody has to see the end of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begun {
    Open,
    Ended,
    /// Or so long ago that nobody looks.
    Never,
    /// The journal could not be read.
    Unknown,
}

#[derive(Debug)]
struct Attached {
    since: u64,
    /// The last sign of life of the daemon that it was attached to.
    until: Option<u64>,
}

impl Recent {
    /// `trouble` hears of what cannot be read: what is newer than that is known all the same. Blocks.
    pub fn read(journal: &Journal, boot: BootId, trouble: impl FnMut(&ReadError)) -> Self {
        Self::look_back(journal, boot, LOOK_BACK, trouble)
    }

    fn look_back(journal: &Journal, boot: BootId, records: u64, mut trouble: impl FnMut(&ReadError)) -> Self {
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
                    trouble(&error);
                    // A damaged file of the archive takes nothing away from what the database has.
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

    /// The next record.
    fn take(&mut self, record: &Record) {
        if record.seq != self.seq + 1 {
            // Some are missing, and may be the ends of what began before them.
            self.open.clear();
            self.attached.clear();
        }
        // What cannot be read tells nothing.
        if let (Some(id), Ok((context, event))) = (Container::id_of(&record.stream), Container::decode(record)) {
            if context.actor == Actor::Recovery {
                // A daemon has ended before this.
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

    pub fn exec(&self, exec: &SessionId) -> Begun {
        match (self.open.contains_key(exec), self.ended.contains(exec), self.known) {
            (_, true, _) => Begun::Ended,
            (true, false, _) => Begun::Open,
            (false, false, true) => Begun::Never,
            (false, false, false) => Begun::Unknown,
        }
    }

    /// The execs of a container whose end nobody has recorded, and whether that was in `boot`.
    pub fn open_execs(&self, id: &ContainerId, boot: BootId) -> Vec<(SessionId, bool)> {
        let open = self.open.iter().filter(|(_, exec)| exec.container == *id);
        open.map(|(session, exec)| (*session, BootId(exec.boot) == boot)).collect()
    }

    /// The sessions of a container whose end nobody has recorded, and how many milliseconds each is known to have lasted:
    /// until the last record that its daemon has made, of whatever container. It was killed some time after that, and
    /// nobody knows when.
    pub fn attached(&self, id: &ContainerId) -> Vec<(SessionId, u64)> {
        let known = |session: &Attached| session.until.unwrap_or(self.last).saturating_sub(session.since) / 1_000_000;
        let open = self.attached.get(id).into_iter().flatten();
        open.map(|(session, attached)| (*session, known(attached))).collect()
    }
}

/// Whether this record was made before the host was restarted. One that cannot be read is met again.
fn is_of_another(journal: &Journal, seq: Seq, boot: BootId) -> bool {
    journal.read(seq, 1).is_ok_and(|records| records.first().is_some_and(|record| BootId(record.boot) != boot))
}

#[cfg(test)]
mod tests;
