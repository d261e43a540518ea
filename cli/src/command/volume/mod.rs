//! Volumes: data that outlives containers.

mod create;
mod inspect;
mod list;
mod prune;

use super::inspect as inspection;
use super::table::REMOVE_VOLUME;
use super::{Group, Invocation, Verb};

pub(super) static GROUP: Group = Group {
    name: "volume",
    about: "Work with volumes",
    verbs: &[list::VERB, create::VERB, inspect::VERB, REMOVE_VOLUME, prune::VERB],
};
