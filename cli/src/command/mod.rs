//! One file per verb, one folder per noun; verbs that differ in a name and a call are in one table. A verb has its flags,
//! its request to the daemon and its way to show the answer.

mod attach;
mod completion;
mod cp;
mod create;
mod diff;
mod events;
mod exec;
mod export;
mod image;
mod info;
mod inspect;
mod login;
mod logout;
mod logs;
mod network;
mod port;
mod ps;
mod run;
mod start;
mod stats;
mod table;
mod top;
mod update;
pub(crate) mod version;
mod volume;
mod wait;

use std::pin::Pin;

use clap::{ArgMatches, Command};

use crate::client::Daemon;
use crate::failure::Failure;

/// The exit code of a command, or why it has none.
pub(crate) type Outcome = Pin<Box<dyn Future<Output = Result<u8, Failure>>>>;

/// A command as it was given.
pub(crate) struct Invocation {
    /// As it was called: "pull" or "image pull".
    pub(crate) name: String,
    pub(crate) matches: ArgMatches,
    pub(crate) daemon: Daemon,
}

/// A word of the command line.
pub(crate) struct Verb {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    /// One word, and the arguments.
    pub(crate) usage: &'static str,
    /// Exit code when the daemon refuses or cannot be reached.
    pub(crate) refusal: u8,
    pub(crate) hidden: bool,
    pub(crate) flags: fn(Command) -> Command,
    pub(crate) run: fn(Invocation) -> Outcome,
}

/// Verbs of one noun, named behind it: `isula volume ls`.
pub(crate) struct Group {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) verbs: &'static [Verb],
}

/// The meaning of the first word of a command line.
pub(crate) enum Named {
    Verb(&'static Verb),
    Group(&'static Group),
}

/// All of them, in the order of the help page.
pub(crate) static VERBS: &[Verb] = &[
    run::VERB,
    create::VERB,
    start::VERB,
    table::STOP,
    table::RESTART,
    table::KILL,
    table::PAUSE,
    table::UNPAUSE,
    update::VERB,
    table::REMOVE,
    table::RENAME,
    wait::VERB,
    attach::VERB,
    exec::VERB,
    ps::VERB,
    inspect::VERB,
    logs::VERB,
    port::VERB,
    top::VERB,
    stats::VERB,
    cp::VERB,
    diff::VERB,
    export::VERB,
    image::LIST,
    image::PULL,
    image::LOAD,
    image::SAVE,
    image::IMPORT,
    table::TAG,
    image::REMOVE,
    image::HISTORY,
    login::VERB,
    logout::VERB,
    events::VERB,
    info::VERB,
    version::VERB,
    completion::VERB,
];

/// Behind them on the help page.
pub(crate) static GROUPS: &[&Group] = &[&image::GROUP, &volume::GROUP, &network::GROUP];

/// The verb or group of this name.
pub(crate) fn find(name: &str) -> Option<Named> {
    let verb = VERBS.iter().find(|verb| verb.name == name).map(Named::Verb);
    verb.or_else(|| GROUPS.iter().find(|group| group.name == name).map(|&group| Named::Group(group)))
}

/// Prints the daemon's warnings: differences between the request and its result.
pub(crate) fn warn(warnings: &[String]) {
    for warning in warnings {
        crate::output::complain(&format!("WARNING: {warning}"));
    }
}
