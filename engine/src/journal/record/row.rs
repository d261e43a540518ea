//! A container's state as a savepoint row.

use migrations::codec;
use migrations::kinds::CONTAINER_ROW_SCHEMA;
use migrations::v1::*;
use migrations::v2::{CardV2, ContainerRowV2, PhaseV2, RemovingV2};
use migrations::{Upcasts, What};
use store::{Row, SavedRow};

use super::{CONTAINER, DecodeError, Problem, container_of, load_process, refused, store_process};
use crate::domain::container::{Card, Cause, Container, End, Event, ExitStatus, Phase, Removing, Run, Starting, Stop};
use crate::domain::id::{BootId, Digest, Name, Signal, StartId, Timestamp};
use crate::domain::text::cut;

/// The row that saves this state, for the batch that brings it about. Always small enough for the journal.
pub fn encode_row(container: &Container) -> Row {
    let row = ContainerRowV2 {
        card: store_card(&container.card),
        phase: store_phase(&container.phase),
        last: match (&container.last, &container.phase) {
            (None, _) => LastV1::Never,
            (Some(last), Phase::Exited(end)) if last == end => LastV1::AsPhase,
            (Some(last), _) => LastV1::Ended(store_end(last)),
        },
    };
    Row::Put { schema: CONTAINER_ROW_SCHEMA, bytes: codec::encode(&row) }
}

/// The state that a row saves, in whatever shape it was written.
pub fn decode_row(row: &SavedRow) -> Result<Container, DecodeError> {
    let what = What::Row(row.stream.kind());
    let damaged = |problem| DecodeError::Damaged { what, stream: row.stream.clone(), problem };
    let id = container_of(&row.stream).ok_or_else(|| DecodeError::UnknownKind { what, stream: row.stream.clone() })?;
    let (_, bytes) = Upcasts::of_today()
        .to_today(What::Row(CONTAINER), row.schema, row.bytes.clone())
        .map_err(|error| refused(what, &row.stream, error))?;
    let stored: ContainerRowV2 = codec::decode(&bytes).map_err(|error| damaged(error.into()))?;
    let phase = load_phase(stored.phase);
    let last = match (stored.last, &phase) {
        (LastV1::Never, _) => None,
        (LastV1::AsPhase, Phase::Exited(end)) => Some(end.clone()),
        (LastV1::AsPhase, _) => return Err(damaged(Problem::LastEnd)),
        (LastV1::Ended(end), _) => Some(load_end(end)),
    };
    Ok(Container { id, version: row.version, card: load_card(stored.card).map_err(damaged)?, phase, last })
}

pub(super) fn store_card(card: &Card) -> CardV2 {
    CardV2 {
        name: card.name.as_str().to_owned(),
        image: cut(&card.image, Card::IMAGE_LIMIT).to_owned(),
        image_id: card.image_id.map(|id| id.0),
        runtime: cut(&card.runtime, Card::RUNTIME_LIMIT).to_owned(),
        command: cut(&card.command, Card::COMMAND_LIMIT).to_owned(),
        definition: card.definition.0,
        created_at: card.created_at.0,
        auto_remove: card.auto_remove,
        tty: card.tty,
        open_stdin: card.open_stdin,
        stop_signal: card.stop_signal.0,
        stop_timeout: card.stop_timeout,
    }
}

pub(super) fn load_card(stored: CardV2) -> Result<Card, Problem> {
    Ok(Card {
        name: load_name(stored.name)?,
        image: stored.image,
        image_id: stored.image_id.map(Digest),
        runtime: stored.runtime,
        command: stored.command,
        definition: Digest(stored.definition),
        created_at: Timestamp(stored.created_at),
        auto_remove: stored.auto_remove,
        tty: stored.tty,
        open_stdin: stored.open_stdin,
        stop_signal: Signal(stored.stop_signal),
        stop_timeout: stored.stop_timeout,
    })
}

pub(super) fn load_name(text: String) -> Result<Name, Problem> {
    text.parse().map_err(|_| Problem::Name { text })
}

pub(super) fn store_status(status: ExitStatus) -> ExitStatusV1 {
    match status {
        ExitStatus::Code(code) => ExitStatusV1::Code(code),
        ExitStatus::Signal(signal) => ExitStatusV1::Signal(signal.0),
        ExitStatus::Unknown(cause) => ExitStatusV1::Unknown(match cause {
            Cause::HostReboot => CauseV1::HostReboot,
            Cause::ShimAndProcessLost => CauseV1::ShimAndProcessLost,
            Cause::ShimLost => CauseV1::ShimLost,
        }),
    }
}

pub(super) fn load_status(stored: ExitStatusV1) -> ExitStatus {
    match stored {
        ExitStatusV1::Code(code) => ExitStatus::Code(code),
        ExitStatusV1::Signal(signal) => ExitStatus::Signal(Signal(signal)),
        ExitStatusV1::Unknown(cause) => ExitStatus::Unknown(match cause {
            CauseV1::HostReboot => Cause::HostReboot,
            CauseV1::ShimAndProcessLost => Cause::ShimAndProcessLost,
            CauseV1::ShimLost => Cause::ShimLost,
        }),
    }
}

fn store_phase(phase: &Phase) -> PhaseV2 {
    match phase {
        Phase::Creating => PhaseV2::Creating,
        Phase::Created => PhaseV2::Created,
        Phase::Starting(Starting { start, boot, since }) => {
            PhaseV2::Starting(StartingV1 { start: start.0, boot: boot.0, since: since.0 })
        }
        Phase::Running(run) => PhaseV2::Running(store_run(run)),
        Phase::Pausing(run) => PhaseV2::Pausing(store_run(run)),
        Phase::Paused(run) => PhaseV2::Paused(store_run(run)),
        Phase::Resuming(run) => PhaseV2::Resuming(store_run(run)),
        Phase::Exited(end) => PhaseV2::Exited(store_end(end)),
        Phase::Removing(Removing { run, failed, volumes }) => PhaseV2::Removing(RemovingV2 {
            run: run.as_ref().map(store_run),
            failed: failed.as_ref().map(|text| cut(text, Event::MESSAGE_LIMIT).to_owned()),
            volumes: *volumes,
        }),
    }
}

fn load_phase(stored: PhaseV2) -> Phase {
    match stored {
        PhaseV2::Creating => Phase::Creating,
        PhaseV2::Created => Phase::Created,
        PhaseV2::Starting(StartingV1 { start, boot, since }) => {
            Phase::Starting(Starting { start: StartId(start), boot: BootId(boot), since: Timestamp(since) })
        }
        PhaseV2::Running(run) => Phase::Running(load_run(run)),
        PhaseV2::Pausing(run) => Phase::Pausing(load_run(run)),
        PhaseV2::Paused(run) => Phase::Paused(load_run(run)),
        PhaseV2::Resuming(run) => Phase::Resuming(load_run(run)),
        PhaseV2::Exited(end) => Phase::Exited(load_end(end)),
        PhaseV2::Removing(RemovingV2 { run, failed, volumes }) => {
            Phase::Removing(Removing { run: run.map(load_run), failed, volumes })
        }
    }
}

fn store_run(run: &Run) -> RunV1 {
    RunV1 {
        start: run.start.0,
        boot: run.boot.0,
        process: store_process(&run.process),
        shim: run.shim.as_ref().map(store_process),
        since: run.since.0,
        stop: run.stop.as_ref().map(|stop| StopV1 {
            signal: stop.signal.0,
            deadline: stop.deadline.0,
            killed: stop.killed,
            then_start: stop.then_start,
        }),
        oom: run.oom,
    }
}

fn load_run(stored: RunV1) -> Run {
    Run {
        start: StartId(stored.start),
        boot: BootId(stored.boot),
        process: load_process(stored.process),
        shim: stored.shim.map(load_process),
        since: Timestamp(stored.since),
        stop: stored.stop.map(|stop| Stop {
            signal: Signal(stop.signal),
            deadline: Timestamp(stop.deadline),
            killed: stop.killed,
            then_start: stop.then_start,
        }),
        oom: stored.oom,
    }
}

fn store_end(end: &End) -> EndV1 {
    EndV1 {
        start: end.start.0,
        status: store_status(end.status),
        started_at: end.started_at.map(|at| at.0),
        at: end.at.0,
        oom: end.oom,
        error: end.error.as_ref().map(|text| cut(text, Event::MESSAGE_LIMIT).to_owned()),
    }
}

fn load_end(stored: EndV1) -> End {
    End {
        start: StartId(stored.start),
        status: load_status(stored.status),
        started_at: stored.started_at.map(Timestamp),
        at: Timestamp(stored.at),
        oom: stored.oom,
        error: stored.error,
    }
}
