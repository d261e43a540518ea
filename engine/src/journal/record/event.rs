//! Events of containers as records.

use migrations::kinds::ContainerEvent;
use migrations::v1::*;

use super::row::{
    load_card, load_health, load_name, load_restart, load_status, store_card, store_health, store_restart, store_status,
};
use super::{Problem, load_process, store_process};
use crate::domain::container::{Attachment, Event};
use crate::domain::id::{BootId, ContainerId, Digest, SessionId, Signal, StartId, Timestamp};
use crate::domain::text::cut;

pub(super) fn store(event: &Event) -> ContainerEvent {
    let message = |text: &str| cut(text, Event::MESSAGE_LIMIT).to_owned();
    match event {
        // The id is the stream's.
        Event::Created { id: _, card } => ContainerEvent::Created(CreatedV1 { card: store_card(card) }),
        Event::StartRequested { start, boot, at } => {
            ContainerEvent::StartRequested(StartRequestedV1 { start: start.0, boot: boot.0, at: at.0 })
        }
        Event::Started { start, process, shim, at } => ContainerEvent::Started(StartedV1 {
            start: start.0,
            process: store_process(process),
            shim: shim.as_ref().map(store_process),
            at: at.0,
        }),
        Event::StartFailed { start, code, message: text, at } => {
            ContainerEvent::StartFailed(StartFailedV1 { start: start.0, code: *code, message: message(text), at: at.0 })
        }
        Event::PauseRequested => ContainerEvent::PauseRequested(PauseRequestedV1 {}),
        Event::Paused => ContainerEvent::Paused(PausedV1 {}),
        Event::PauseFailed { message: text } => ContainerEvent::PauseFailed(PauseFailedV1 { message: message(text) }),
        Event::ResumeRequested => ContainerEvent::ResumeRequested(ResumeRequestedV1 {}),
        Event::Resumed => ContainerEvent::Resumed(ResumedV1 {}),
        Event::ResumeFailed { message: text } => {
            ContainerEvent::ResumeFailed(ResumeFailedV1 { message: message(text) })
        }
        Event::StopRequested { start, signal, deadline, then_start } => {
            ContainerEvent::StopRequested(StopRequestedV1 {
                start: start.0,
                signal: signal.0,
                deadline: deadline.0,
                then_start: *then_start,
            })
        }
        Event::Killed { start, signal } => ContainerEvent::Killed(KilledV1 { start: start.0, signal: signal.0 }),
        Event::Exited { start, status, at } => {
            ContainerEvent::Exited(ExitedV1 { start: start.0, status: store_status(*status), at: at.0 })
        }
        Event::OomKilled { start } => ContainerEvent::OomKilled(OomKilledV1 { start: start.0 }),
        Event::Renamed { from, to } => {
            ContainerEvent::Renamed(RenamedV1 { from: from.as_str().to_owned(), to: to.as_str().to_owned() })
        }
        Event::ShimLost { start } => ContainerEvent::ShimLost(ShimLostV1 { start: start.0 }),
        Event::ShimAdopted { start, shim } => {
            ContainerEvent::ShimAdopted(ShimAdoptedV1 { start: start.0, shim: store_process(shim) })
        }
        Event::UpdateRequested { definition, restart } => ContainerEvent::UpdateRequested(UpdateRequestedV1 {
            definition: definition.0,
            restart: store_restart(*restart),
        }),
        Event::Updated => ContainerEvent::Updated(UpdatedV1 {}),
        Event::UpdateFailed { message: text } => {
            ContainerEvent::UpdateFailed(UpdateFailedV1 { message: message(text) })
        }
        Event::RestartScheduled { start, attempt, due } => {
            ContainerEvent::RestartScheduled(RestartScheduledV1 { start: start.0, attempt: *attempt, due: due.0 })
        }
        Event::RestartCancelled { start } => ContainerEvent::RestartCancelled(RestartCancelledV1 { start: start.0 }),
        Event::HealthChanged { start, health } => {
            ContainerEvent::HealthChanged(HealthChangedV1 { start: start.0, health: store_health(*health) })
        }
        Event::ExecStarted { start, exec, argv, user, tty, detached } => ContainerEvent::ExecStarted(ExecStartedV1 {
            start: start.0,
            exec: exec.0,
            argv: cut(argv, Event::ARGV_LIMIT).to_owned(),
            user: cut(user, Event::USER_LIMIT).to_owned(),
            tty: *tty,
            detached: *detached,
        }),
        Event::ExecExited { exec, status, at, lasted_ms } => ContainerEvent::ExecExited(ExecExitedV1 {
            exec: exec.0,
            status: store_status(*status),
            at: at.0,
            lasted_ms: *lasted_ms,
        }),
        Event::Attached { session, stdin, tty } => {
            ContainerEvent::Attached(AttachedV1 { session: session.0, stdin: *stdin, tty: *tty })
        }
        Event::Detached { session, lasted_ms } => {
            ContainerEvent::Detached(DetachedV1 { session: session.0, lasted_ms: *lasted_ms })
        }
        Event::NetworkAttached { start, network, addresses } => {
            let attachment = Attachment::cut(*start, network, addresses);
            ContainerEvent::NetworkAttached(NetworkAttachedV1 {
                start: start.0,
                network: attachment.network,
                addresses: attachment.addresses,
            })
        }
        Event::NetworkDetached { start } => ContainerEvent::NetworkDetached(NetworkDetachedV1 { start: start.0 }),
        Event::RemoveRequested { force, volumes } => {
            ContainerEvent::RemoveRequested(RemoveRequestedV1 { force: *force, volumes: *volumes })
        }
        Event::RemoveFailed { message: text } => {
            ContainerEvent::RemoveFailed(RemoveFailedV1 { message: message(text) })
        }
        Event::Removed => ContainerEvent::Removed(RemovedV1 {}),
    }
}

pub(super) fn load(id: ContainerId, stored: ContainerEvent) -> Result<Event, Problem> {
    Ok(match stored {
        ContainerEvent::Created(CreatedV1 { card }) => Event::Created { id, card: load_card(card)? },
        ContainerEvent::StartRequested(StartRequestedV1 { start, boot, at }) => {
            Event::StartRequested { start: StartId(start), boot: BootId(boot), at: Timestamp(at) }
        }
        ContainerEvent::Started(StartedV1 { start, process, shim, at }) => Event::Started {
            start: StartId(start),
            process: load_process(process),
            shim: shim.map(load_process),
            at: Timestamp(at),
        },
        ContainerEvent::StartFailed(StartFailedV1 { start, code, message, at }) => {
            Event::StartFailed { start: StartId(start), code, message, at: Timestamp(at) }
        }
        ContainerEvent::PauseRequested(PauseRequestedV1 {}) => Event::PauseRequested,
        ContainerEvent::Paused(PausedV1 {}) => Event::Paused,
        ContainerEvent::PauseFailed(PauseFailedV1 { message }) => Event::PauseFailed { message },
        ContainerEvent::ResumeRequested(ResumeRequestedV1 {}) => Event::ResumeRequested,
        ContainerEvent::Resumed(ResumedV1 {}) => Event::Resumed,
        ContainerEvent::ResumeFailed(ResumeFailedV1 { message }) => Event::ResumeFailed { message },
        ContainerEvent::StopRequested(StopRequestedV1 { start, signal, deadline, then_start }) => {
            let (start, signal, deadline) = (StartId(start), Signal(signal), Timestamp(deadline));
            Event::StopRequested { start, signal, deadline, then_start }
        }
        ContainerEvent::Killed(KilledV1 { start, signal }) => {
            Event::Killed { start: StartId(start), signal: Signal(signal) }
        }
        ContainerEvent::Exited(ExitedV1 { start, status, at }) => {
            Event::Exited { start: StartId(start), status: load_status(status), at: Timestamp(at) }
        }
        ContainerEvent::OomKilled(OomKilledV1 { start }) => Event::OomKilled { start: StartId(start) },
        ContainerEvent::Renamed(RenamedV1 { from, to }) => {
            Event::Renamed { from: load_name(from)?, to: load_name(to)? }
        }
        ContainerEvent::ShimLost(ShimLostV1 { start }) => Event::ShimLost { start: StartId(start) },
        ContainerEvent::ShimAdopted(ShimAdoptedV1 { start, shim }) => {
            Event::ShimAdopted { start: StartId(start), shim: load_process(shim) }
        }
        ContainerEvent::UpdateRequested(UpdateRequestedV1 { definition, restart }) => {
            Event::UpdateRequested { definition: Digest(definition), restart: load_restart(restart) }
        }
        ContainerEvent::Updated(UpdatedV1 {}) => Event::Updated,
        ContainerEvent::UpdateFailed(UpdateFailedV1 { message }) => Event::UpdateFailed { message },
        ContainerEvent::RestartScheduled(RestartScheduledV1 { start, attempt, due }) => {
            Event::RestartScheduled { start: StartId(start), attempt, due: Timestamp(due) }
        }
        ContainerEvent::RestartCancelled(RestartCancelledV1 { start }) => {
            Event::RestartCancelled { start: StartId(start) }
        }
        ContainerEvent::HealthChanged(HealthChangedV1 { start, health }) => {
            Event::HealthChanged { start: StartId(start), health: load_health(health) }
        }
        ContainerEvent::ExecStarted(ExecStartedV1 { start, exec, argv, user, tty, detached }) => {
            Event::ExecStarted { start: StartId(start), exec: SessionId(exec), argv, user, tty, detached }
        }
        ContainerEvent::ExecExited(ExecExitedV1 { exec, status, at, lasted_ms }) => {
            Event::ExecExited { exec: SessionId(exec), status: load_status(status), at: Timestamp(at), lasted_ms }
        }
        ContainerEvent::Attached(AttachedV1 { session, stdin, tty }) => {
            Event::Attached { session: SessionId(session), stdin, tty }
        }
        ContainerEvent::Detached(DetachedV1 { session, lasted_ms }) => {
            Event::Detached { session: SessionId(session), lasted_ms }
        }
        ContainerEvent::NetworkAttached(NetworkAttachedV1 { start, network, addresses }) => {
            Event::NetworkAttached { start: StartId(start), network, addresses }
        }
        ContainerEvent::NetworkDetached(NetworkDetachedV1 { start }) => {
            Event::NetworkDetached { start: StartId(start) }
        }
        ContainerEvent::RemoveRequested(RemoveRequestedV1 { force, volumes }) => {
            Event::RemoveRequested { force, volumes }
        }
        ContainerEvent::RemoveFailed(RemoveFailedV1 { message }) => Event::RemoveFailed { message },
        ContainerEvent::Removed(RemovedV1 {}) => Event::Removed,
    })
}
