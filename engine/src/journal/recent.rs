//! What the newest records say was begun and, perhaps, never ended: read once after a start of the daemon, for all
//! containers.

use std::collections::HashMap;

use store::{Journal, Record};

use super::record::{self, Actor};
use crate::domain::container::Event;
use crate::domain::id::{BootId, ContainerId, SessionId};

/// How many records are looked at: what is in the database and not yet in an archive, and a little more. What was under
/// way when a daemon ended was, but for a client that had been attached for very long, among the last things done.
const LOOK_BACK: u64 = 10_000;

/// What was begun by earlier daemons.
#[derive(Debug, Default)]
pub struct Recent {
    /// Execs whose beginning is recorded; `None` when the journal could not be read.
    execs: Option<HashMap<SessionId, Exec>>,
    /// Clients that were attached when their daemon ended.
    attached: HashMap<ContainerId, HashMap<SessionId, Attached>>,
    /// When the last record was made.
    last: u64,
}

#[derive(Debug)]
struct Exec {
    container: ContainerId,
    boot: [u8; 16],
    ended: bool,
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
    /// Blocks.
    pub fn read(journal: &Journal) -> Self {
        let from = journal.last().saturating_sub(LOOK_BACK).max(journal.first());
        match journal.read(from, LOOK_BACK as usize + 1) {
            Ok(records) => Self::of(&records),
            Err(error) => {
                tracing::warn!(%error, "what was begun before is not known");
                Self::default()
            }
        }
    }

    fn of(records: &[Record]) -> Self {
        let (mut execs, mut attached, mut last) = (HashMap::new(), HashMap::<_, HashMap<_, Attached>>::new(), 0);
        for record in records {
            // What cannot be read tells nothing.
            if let (Some(id), Ok((context, event))) = (record::container_of(&record.stream), record::decode(record)) {
                if context.actor == Actor::Recovery {
                    // A daemon has ended before this.
                    for session in attached.values_mut().flat_map(HashMap::values_mut) {
                        session.until.get_or_insert(last);
                    }
                }
                if let Event::ExecStarted { exec, .. } = event {
                    execs.insert(exec, Exec { container: id, boot: record.boot, ended: false });
                } else if let Event::ExecExited { exec, .. } = event {
                    // Also of one that began before what is looked at: its directory may be there still.
                    let ended = Exec { container: id, boot: record.boot, ended: true };
                    execs.entry(exec).or_insert(ended).ended = true;
                } else if let Event::Attached { session, .. } = event {
                    let began = Attached { since: record.at, until: None };
                    attached.entry(id).or_default().insert(session, began);
                } else if let Event::Detached { session, .. } = event {
                    attached.entry(id).or_default().remove(&session);
                }
            }
            last = record.at;
        }
        Self { execs: Some(execs), attached, last }
    }

    pub fn exec(&self, exec: &SessionId) -> Begun {
        match self.execs.as_ref().map(|execs| execs.get(exec)) {
            None => Begun::Unknown,
            Some(None) => Begun::Never,
            Some(Some(exec)) if exec.ended => Begun::Ended,
            Some(Some(_)) => Begun::Open,
        }
    }

    /// The execs of a container whose end nobody has recorded, and whether that was in `boot`.
    pub fn open_execs(&self, id: &ContainerId, boot: BootId) -> Vec<(SessionId, bool)> {
        let open = self.execs.iter().flatten().filter(|(_, exec)| exec.container == *id && !exec.ended);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::record::Context;

    const X: ContainerId = ContainerId::from_bytes([1; 32]);
    const Y: ContainerId = ContainerId::from_bytes([2; 32]);

    fn session(byte: u8) -> SessionId {
        SessionId([byte; 8])
    }

    fn attached(byte: u8) -> Event {
        Event::Attached { session: session(byte), stdin: true, tty: false }
    }

    fn detached(byte: u8) -> Event {
        Event::Detached { session: session(byte), lasted_ms: 1 }
    }

    /// Of records that were made at these milliseconds.
    fn recent(told: &[(u64, ContainerId, Actor, Event)]) -> Recent {
        let record = |(seq, (ms, id, actor, event)): (u64, &(u64, ContainerId, Actor, Event))| {
            let new = record::encode(&Context::new(actor.clone()), event);
            Record {
                seq,
                stream: record::stream(id),
                version: seq,
                at: ms * 1_000_000,
                boot: [0; 16],
                kind: new.kind,
                schema: new.schema,
                ends_stream: false,
                payload: new.payload.into(),
            }
        };
        Recent::of(&(1..).zip(told).map(record).collect::<Vec<_>>())
    }

    #[test]
    fn who_was_attached_to_the_end_lasted_until_the_last_record_at_least() {
        let recent = recent(&[
            (100, X, Actor::Engine, attached(1)),
            (110, X, Actor::Engine, attached(2)),
            (120, Y, Actor::Engine, attached(3)),
            (130, X, Actor::Engine, detached(1)),
            (150, Y, Actor::Engine, Event::PauseRequested),
        ]);
        assert_eq!(recent.attached(&X), [(session(2), 40)]);
        assert_eq!(recent.attached(&Y), [(session(3), 30)]);
    }

    #[test]
    fn what_the_next_daemon_did_is_no_sign_of_life_of_the_one_before() {
        let recent = recent(&[
            (100, X, Actor::Engine, attached(1)),
            (105, X, Actor::Engine, attached(2)),
            (110, Y, Actor::Engine, Event::PauseRequested),
            (9000, X, Actor::Recovery, detached(1)),
            (9500, Y, Actor::Engine, attached(3)),
            (9600, Y, Actor::Engine, Event::Paused),
        ]);
        assert_eq!(recent.attached(&X), [(session(2), 5)]);
        assert_eq!(recent.attached(&Y), [(session(3), 100)]);
    }

    #[test]
    fn execs_are_open_until_their_end_is_recorded() {
        let began = |byte| Event::ExecStarted {
            start: crate::domain::id::StartId(1),
            exec: session(byte),
            argv: "true".into(),
            user: String::new(),
            tty: false,
            detached: false,
        };
        let ended = |byte| Event::ExecExited {
            exec: session(byte),
            status: crate::domain::container::ExitStatus::Code(0),
            at: crate::domain::id::Timestamp(2),
            lasted_ms: 1,
        };
        let recent = recent(&[
            (1, X, Actor::Engine, began(1)),
            (2, Y, Actor::Engine, began(2)),
            (3, X, Actor::Engine, ended(1)),
            (4, X, Actor::Engine, began(4)),
            // It began long before.
            (5, X, Actor::Engine, ended(5)),
        ]);
        let told: Vec<_> = [1, 2, 3, 4, 5].map(|byte| recent.exec(&session(byte))).into();
        assert_eq!(told, [Begun::Ended, Begun::Open, Begun::Never, Begun::Open, Begun::Ended]);
        assert_eq!(recent.open_execs(&X, BootId([0; 16])), [(session(4), true)]);
        assert_eq!(recent.open_execs(&Y, BootId([1; 16])), [(session(2), false)]);
        assert_eq!(Recent::default().exec(&session(3)), Begun::Unknown);
        assert_eq!(Recent::default().open_execs(&X, BootId([0; 16])), []);
    }
}
