//! `isula volume inspect`: all details of volumes.

use super::{Invocation, Verb, inspection};
use crate::failure::{Failure, GENERAL};

pub(super) const VERB: Verb = Verb {
    name: "inspect",
    about: "Show all details of volumes",
    usage: "inspect [OPTIONS] VOLUME [VOLUME...]",
    refusal: GENERAL,
    hidden: false,
    flags: |command| inspection::flags(command, "VOLUME"),
    run: |invocation| Box::pin(run(invocation)),
};

async fn run(invocation: Invocation) -> Result<u8, Failure> {
    inspection::show(invocation, Some(inspection::Kind::Volume)).await
}
