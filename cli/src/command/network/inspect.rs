//! `isula network inspect`: the configurations of networks, as plugins are given them.

use super::{Invocation, Verb, inspection};
use crate::failure::{Failure, GENERAL};

pub(super) const VERB: Verb = Verb {
    name: "inspect",
    about: "Show the configuration of networks",
    usage: "inspect [OPTIONS] NETWORK [NETWORK...]",
    refusal: GENERAL,
    hidden: false,
    flags: |command| inspection::flags(command, "NETWORK"),
    run: |invocation| Box::pin(run(invocation)),
};

async fn run(invocation: Invocation) -> Result<u8, Failure> {
    inspection::show(invocation, Some(inspection::Kind::Network)).await
}
