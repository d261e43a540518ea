//! `isula rename`: gives a container another name.

use clap::Command;
use cri_api::isula::v1::RenameRequest;

use super::{Invocation, Verb};
use crate::failure::{Failure, GENERAL};
use crate::{flag, targets};

pub(super) const VERB: Verb = Verb {
    name: "rename",
    about: "Rename a container",
    usage: "rename OLD_NAME NEW_NAME",
    refusal: GENERAL,
    hidden: false,
    flags,
    run: |invocation| Box::pin(run(invocation)),
};

fn flags(command: Command) -> Command {
    command.arg(flag::words("NAME"))
}

async fn run(Invocation { matches, daemon, .. }: Invocation) -> Result<u8, Failure> {
    let [container, name] = targets::exactly(&matches, VERB.name)?;
    let client = daemon.connect().await?;
    client.containers().rename(RenameRequest { container, name }).await?;
    Ok(0)
}
