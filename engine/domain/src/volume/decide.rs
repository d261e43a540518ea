//! Decides on a command: events, none if the state is already as wanted, or a rejection. Changes nothing.

use super::{Command, Event, Phase, Volume};
use crate::id::VolumeName;

/// An answer that refuses a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rejection {
    NoSuchVolume,
    BeingRemoved,
    /// The labels would not fit into a record.
    LabelsTooLong,
}

impl std::fmt::Display for Rejection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NoSuchVolume => f.write_str("no such volume"),
            Self::BeingRemoved => f.write_str("the volume is being removed"),
            Self::LabelsTooLong => {
                write!(f, "the labels of the volume are too long: {} bytes in all at most", Volume::LABELS_LIMIT)
            }
        }
    }
}

type Decision = Result<Vec<Event>, Rejection>;

pub fn decide(name: &VolumeName, volume: Option<&Volume>, command: &Command) -> Decision {
    match (volume.map(|volume| volume.phase), command) {
        (None, Command::Create { labels, anonymous, at }) => {
            let cost: usize = labels.iter().map(|(key, value)| Volume::label_cost(key, value)).sum();
            if cost > Volume::LABELS_LIMIT {
                return Err(Rejection::LabelsTooLong);
            }
            let (name, labels) = (name.clone(), labels.clone());
            Ok(vec![Event::Created { name, labels, anonymous: *anonymous, at: *at }])
        }
        (None, Command::Remove) => Err(Rejection::NoSuchVolume),
        (Some(Phase::Ready), Command::Remove) => Ok(vec![Event::RemoveRequested]),
        (Some(Phase::Removing), Command::Create { .. }) => Err(Rejection::BeingRemoved),
        (Some(Phase::Removing), Command::ReportRemoved) => Ok(vec![Event::Removed]),
        // Already in the wanted state: ready, being removed, or gone.
        (Some(Phase::Ready), Command::Create { .. } | Command::ReportRemoved)
        | (Some(Phase::Removing), Command::Remove)
        | (None, Command::ReportRemoved) => Ok(vec![]),
    }
}
