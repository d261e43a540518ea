//! Volumes: data that outlives containers.

mod create;
mod inspect;
mod list;
mod prune;
mod remove;

use super::inspect as inspection;
use super::{Group, Invocation, Verb};

pub(super) static GROUP: Group = Group {
    name: "volume",
    about: "Work with volumes",
    verbs: &[list::VERB, create::VERB, inspect::VERB, remove::VERB, prune::VERB],
};
