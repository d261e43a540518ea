//! Images: each verb is a member of `isula image`, and most are commands of their own too, some under an older name.

mod history;
mod import;
mod inspect;
mod list;
mod load;
mod mount;
mod prune;
pub(super) mod pull;
mod remove;
mod save;

use super::inspect as inspection;
use super::table::{TAG, UNMOUNT};
use super::{Group, Invocation, Verb};

pub(super) use history::VERB as HISTORY;
pub(super) use import::VERB as IMPORT;
pub(super) use list::VERB as LIST;
pub(super) use load::VERB as LOAD;
pub(super) use pull::VERB as PULL;
pub(super) use remove::VERB as REMOVE;
pub(super) use save::VERB as SAVE;

pub(super) static GROUP: Group = Group {
    name: "image",
    about: "Work with images",
    verbs: &[
        Verb { name: "ls", ..LIST },
        PULL,
        LOAD,
        SAVE,
        IMPORT,
        TAG,
        Verb { name: "rm", ..REMOVE },
        inspect::VERB,
        HISTORY,
        prune::VERB,
        mount::VERB,
        UNMOUNT,
    ],
};

const SHORT_ID: usize = 12;

/// An id of an image for a table: its first digits, or in full with the name of the hash.
fn shown_id(id: &str, full: bool) -> String {
    if full {
        return id.to_owned();
    }
    id.strip_prefix("sha256:").unwrap_or(id).chars().take(SHORT_ID).collect()
}

/// The names and images that a removal has removed, a line each.
fn removed_lines(untagged: &[String], deleted: &[String]) -> Vec<String> {
    let untagged = untagged.iter().map(|name| format!("Untagged: {name}"));
    untagged.chain(deleted.iter().map(|id| format!("Deleted: {id}"))).collect()
}
