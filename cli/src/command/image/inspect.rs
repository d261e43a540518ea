//! `isula image inspect`: all details of images.

use super::{Invocation, Verb, inspection};
use crate::failure::{Failure, GENERAL};

pub(crate) const VERB: Verb = Verb {
    name: "inspect",
    about: "Show all details of images",
    usage: "inspect [OPTIONS] IMAGE [IMAGE...]",
    refusal: GENERAL,
    hidden: false,
    flags: |command| inspection::flags(command, "IMAGE"),
    run: |invocation| Box::pin(run(invocation)),
};

async fn run(invocation: Invocation) -> Result<u8, Failure> {
    inspection::show(invocation, Some(inspection::Kind::Image)).await
}
