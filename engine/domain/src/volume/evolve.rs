//! Applies one event to a volume. Never refuses, since events are facts.

use super::{Event, Phase, Volume};

/// The volume after the event; `None` when it is gone.
pub fn evolve(volume: Option<Volume>, event: &Event) -> Option<Volume> {
    match (volume, event) {
        (None, Event::Created { name, labels, anonymous, at }) => Some(Volume {
            name: name.clone(),
            version: 1,
            labels: labels.clone(),
            anonymous: *anonymous,
            created_at: *at,
            phase: Phase::Ready,
        }),
        (None, Event::RemoveRequested | Event::Removed) | (Some(_), Event::Removed) => None,
        (Some(volume), Event::RemoveRequested) => {
            Some(Volume { version: volume.version + 1, phase: Phase::Removing, ..volume })
        }
        // Only in a damaged journal, which lacks the end before it.
        (Some(volume), Event::Created { .. }) => Some(Volume { version: volume.version + 1, ..volume }),
    }
}
