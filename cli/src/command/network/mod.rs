//! Networks, to which CNI plugins attach containers.

mod create;
mod inspect;
mod list;

use super::inspect as inspection;
use super::table::REMOVE_NETWORK;
use super::{Group, Invocation, Verb};

pub(super) static GROUP: Group = Group {
    name: "network",
    about: "Work with networks",
    verbs: &[list::VERB, create::VERB, inspect::VERB, REMOVE_NETWORK],
};
