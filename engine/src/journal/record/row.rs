//! A container's state as a savepoint row.

use migrations::kinds::{CONTAINER_ROW_SCHEMA, CONTAINER_STREAM, ContainerEvent};
use migrations::v1::*;

use super::{Codec, Problem, event, load_process, store_process};
use crate::domain::container::{
    Attachment, Card, Cause, Container, End, Event, ExitStatus, Health, HealthAction, Phase, Removing, RestartPolicy,
    Restarting, Restarts, Run, Starting, Stop, Update,
};
use crate::domain::id::{BootId, ContainerId, Digest, Name, Signal, StartId, Timestamp};
use crate::domain::text::cut;

impl Codec for Container {
    const STREAM: u8 = CONTAINER_STREAM;
    const ROW_SCHEMA: u16 = CONTAINER_ROW_SCHEMA;

    type StoredEvent = ContainerEvent;
    type StoredRow = ContainerRowV1;

    fn id_bytes(id: &ContainerId) -> &[u8] {
        id.as_bytes()
    }

    fn id_from(bytes: &[u8]) -> Option<ContainerId> {
        bytes.try_into().ok().map(ContainerId::from_bytes)
    }

    fn store_event(event: &Event) -> ContainerEvent {
        event::store(event)
    }

    fn load_event(id: ContainerId, stored: ContainerEvent) -> Result<Event, Problem> {
        event::load(id, stored)
    }

    fn store_row(&self) -> ContainerRowV1 {
        ContainerRowV1 {
            card: store_card(&self.card),
            phase: store_phase(&self.phase),
            last: match (&self.last, &self.phase) {
                (None, _) => LastV1::Never,
                // Compared in stored form, since they may differ only beyond the cut.
                (Some(last), Phase::Exited(end) | Phase::Restarting(Restarting { end, .. }))
                    if store_end(last) == store_end(end) =>
                {
                    LastV1::AsPhase
                }
                (Some(last), _) => LastV1::Ended(store_end(last)),
            },
            restarts: store_restarts(self.restarts),
            update: self.update.map(store_update),
            networks: self.networks.iter().take(Attachment::LIMIT).map(store_attachment).collect(),
        }
    }

    fn load_row(id: ContainerId, version: u64, stored: ContainerRowV1) -> Result<Self, Problem> {
        let phase = load_phase(stored.phase);
        let last = match (stored.last, &phase) {
            (LastV1::Never, _) => None,
            (LastV1::AsPhase, Phase::Exited(end) | Phase::Restarting(Restarting { end, .. })) => Some(end.clone()),
            (LastV1::AsPhase, _) => return Err(Problem::LastEnd),
            (LastV1::Ended(end), _) => Some(load_end(end)),
        };
        Ok(Container {
            id,
            version,
            card: load_card(stored.card)?,
            phase,
            last,
            restarts: load_restarts(stored.restarts),
            update: stored.update.map(load_update),
            networks: stored.networks.into_iter().map(load_attachment).collect(),
        })
    }
}

pub(super) fn store_card(card: &Card) -> CardV1 {
    CardV1 {
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
        restart: store_restart(card.restart),
        health: match card.health {
            HealthAction::Unwatched => HealthActionV1::Unwatched,
            HealthAction::Watch => HealthActionV1::Watch,
            HealthAction::Kill => HealthActionV1::Kill,
        },
    }
}

pub(super) fn load_card(stored: CardV1) -> Result<Card, Problem> {
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
        restart: load_restart(stored.restart),
        health: match stored.health {
            HealthActionV1::Unwatched => HealthAction::Unwatched,
            HealthActionV1::Watch => HealthAction::Watch,
            HealthActionV1::Kill => HealthAction::Kill,
        },
    })
}

pub(super) fn store_restart(policy: RestartPolicy) -> RestartPolicyV1 {
    match policy {
        RestartPolicy::No => RestartPolicyV1::No,
        RestartPolicy::Always => RestartPolicyV1::Always,
        RestartPolicy::UnlessStopped => RestartPolicyV1::UnlessStopped,
        RestartPolicy::OnFailure { retries } => RestartPolicyV1::OnFailure { retries },
        RestartPolicy::OnReboot => RestartPolicyV1::OnReboot,
    }
}

pub(super) fn load_restart(stored: RestartPolicyV1) -> RestartPolicy {
    match stored {
        RestartPolicyV1::No => RestartPolicy::No,
        RestartPolicyV1::Always => RestartPolicy::Always,
        RestartPolicyV1::UnlessStopped => RestartPolicy::UnlessStopped,
        RestartPolicyV1::OnFailure { retries } => RestartPolicy::OnFailure { retries },
        RestartPolicyV1::OnReboot => RestartPolicy::OnReboot,
    }
}

pub(super) fn store_health(health: Health) -> HealthV1 {
    match health {
        Health::Starting => HealthV1::Starting,
        Health::Healthy => HealthV1::Healthy,
        Health::Unhealthy => HealthV1::Unhealthy,
    }
}

pub(super) fn load_health(stored: HealthV1) -> Health {
    match stored {
        HealthV1::Starting => Health::Starting,
        HealthV1::Healthy => Health::Healthy,
        HealthV1::Unhealthy => Health::Unhealthy,
    }
}

fn store_restarts(restarts: Restarts) -> RestartsV1 {
    RestartsV1 { count: restarts.count, streak: restarts.streak, stopped: restarts.stopped }
}

fn load_restarts(stored: RestartsV1) -> Restarts {
    Restarts { count: stored.count, streak: stored.streak, stopped: stored.stopped }
}

fn store_update(update: Update) -> UpdateV1 {
    UpdateV1 { definition: update.definition.0, restart: store_restart(update.restart) }
}

fn load_update(stored: UpdateV1) -> Update {
    Update { definition: Digest(stored.definition), restart: load_restart(stored.restart) }
}

fn store_attachment(attachment: &Attachment) -> AttachmentV1 {
    let Attachment { start, network, addresses } =
        Attachment::cut(attachment.start, &attachment.network, &attachment.addresses);
    AttachmentV1 { start: start.0, network, addresses }
}

fn load_attachment(stored: AttachmentV1) -> Attachment {
    Attachment { start: StartId(stored.start), network: stored.network, addresses: stored.addresses }
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

fn store_phase(phase: &Phase) -> PhaseV1 {
    match phase {
        Phase::Created => PhaseV1::Created,
        Phase::Starting(Starting { start, boot, since }) => {
            PhaseV1::Starting(StartingV1 { start: start.0, boot: boot.0, since: since.0 })
        }
        Phase::Running(run) => PhaseV1::Running(store_run(run)),
        Phase::Pausing(run) => PhaseV1::Pausing(store_run(run)),
        Phase::Paused(run) => PhaseV1::Paused(store_run(run)),
        Phase::Resuming(run) => PhaseV1::Resuming(store_run(run)),
        Phase::Exited(end) => PhaseV1::Exited(store_end(end)),
        Phase::Restarting(Restarting { end, due, attempt }) => {
            PhaseV1::Restarting(RestartingV1 { end: store_end(end), due: due.0, attempt: *attempt })
        }
        Phase::Removing(Removing { run, failed, volumes }) => PhaseV1::Removing(RemovingV1 {
            run: run.as_ref().map(store_run),
            failed: failed.as_ref().map(|text| cut(text, Event::MESSAGE_LIMIT).to_owned()),
            volumes: *volumes,
        }),
    }
}

fn load_phase(stored: PhaseV1) -> Phase {
    match stored {
        PhaseV1::Created => Phase::Created,
        PhaseV1::Starting(StartingV1 { start, boot, since }) => {
            Phase::Starting(Starting { start: StartId(start), boot: BootId(boot), since: Timestamp(since) })
        }
        PhaseV1::Running(run) => Phase::Running(load_run(run)),
        PhaseV1::Pausing(run) => Phase::Pausing(load_run(run)),
        PhaseV1::Paused(run) => Phase::Paused(load_run(run)),
        PhaseV1::Resuming(run) => Phase::Resuming(load_run(run)),
        PhaseV1::Exited(end) => Phase::Exited(load_end(end)),
        PhaseV1::Restarting(RestartingV1 { end, due, attempt }) => {
            Phase::Restarting(Restarting { end: load_end(end), due: Timestamp(due), attempt })
        }
        PhaseV1::Removing(RemovingV1 { run, failed, volumes }) => {
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
        health: run.health.map(store_health),
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
        health: stored.health.map(load_health),
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
