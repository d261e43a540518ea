//! Decides on a command: events, none if the state is already as wanted, or a rejection. Changes nothing.

use super::{Command, Event, Image};
use crate::id::Digest;

/// An answer that refuses a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rejection {
    NoSuchImage,
    /// Its names would not fit into a record: some have to be removed first.
    TooManyNames {
        id: Digest,
    },
}

impl std::fmt::Display for Rejection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NoSuchImage => f.write_str("no such image"),
            Self::TooManyNames { id } => {
                write!(f, "image {} has too many names: remove some of them first (isula rmi NAME)", id.short())
            }
        }
    }
}

type Decision = Result<Vec<Event>, Rejection>;

/// `id` is the image's, also when the image is absent.
pub fn decide(id: Digest, image: Option<&Image>, command: &Command) -> Decision {
    match command {
        Command::Add { source, facts, names, since } => {
            let mut wanted: Vec<String> = Vec::new();
            for name in names {
                if !wanted.contains(name) {
                    wanted.push(name.clone());
                }
            }
            check_names(id, image, &wanted)?;
            let facts = facts.clone();
            // Recorded even when nothing changes: readers of the journal see each pull.
            Ok(vec![Event::Added { id, source: *source, facts, names: wanted, since: *since }])
        }
        Command::Tag { name, since } => {
            let image = image.ok_or(Rejection::NoSuchImage)?;
            if image.names.iter().any(|held| held.name == *name && held.since >= *since) {
                return Ok(vec![]);
            }
            check_names(id, Some(image), std::slice::from_ref(name))?;
            Ok(vec![Event::Tagged { name: name.clone(), since: *since }])
        }
        Command::Untag { name } => {
            let image = image.ok_or(Rejection::NoSuchImage)?;
            Ok(if image.holds(name) { vec![Event::Untagged { name: name.clone() }] } else { vec![] })
        }
        Command::Remove => image.map(|_| vec![Event::Removed]).ok_or(Rejection::NoSuchImage),
    }
}

/// Checks that all names after the command fit into a record.
fn check_names(id: Digest, image: Option<&Image>, coming: &[String]) -> Result<(), Rejection> {
    let held = image.into_iter().flat_map(|image| &image.names).map(|held| &held.name);
    let kept = held.filter(|name| !coming.contains(name));
    let total: usize = kept.chain(coming).map(|name| Image::name_cost(name)).sum();
    if total > Image::NAMES_LIMIT { Err(Rejection::TooManyNames { id }) } else { Ok(()) }
}
