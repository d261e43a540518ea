//! `isula create`: prepares a container and prints its id. Nothing runs.

use clap::Command;

use super::{Invocation, Verb};
use crate::failure::{Failure, USAGE};
use crate::{container, output};

pub(super) const VERB: Verb = Verb {
    name: "create",
    about: "Create a container without starting it",
    usage: "create [OPTIONS] --external-rootfs=DIR|IMAGE [COMMAND] [ARG...]",
    refusal: USAGE,
    hidden: false,
    flags,
    run: |invocation| Box::pin(run(invocation)),
};

fn flags(command: Command) -> Command {
    container::flags(command)
}

async fn run(Invocation { matches, daemon }: Invocation) -> Result<u8, Failure> {
    let request = container::request(&matches, VERB.name)?;
    let client = daemon.connect().await?;
    let created = client.containers().create(request).await?.into_inner();
    warn(&created.warnings);
    output::line(&created.id)?;
    Ok(0)
}

/// What the daemon did differently from what was asked.
pub(super) fn warn(warnings: &[String]) {
    for warning in warnings {
        output::complain(&format!("WARNING: {warning}"));
    }
}
