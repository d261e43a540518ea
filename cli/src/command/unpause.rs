//! `isula unpause`: thaws frozen containers.

use clap::Command;
use cri_api::isula::v1::ContainerRequest;

use super::{Invocation, Verb};
use crate::failure::{Failure, GENERAL};
use crate::flag;
use crate::targets::{self, AT_ONCE};

pub(super) const VERB: Verb = Verb {
    name: "unpause",
    about: "Thaw frozen containers",
    usage: "unpause CONTAINER [CONTAINER...]",
    refusal: GENERAL,
    hidden: false,
    flags,
    run: |invocation| Box::pin(run(invocation)),
};

fn flags(command: Command) -> Command {
    command.arg(flag::words("CONTAINER"))
}

async fn run(Invocation { matches, daemon, .. }: Invocation) -> Result<u8, Failure> {
    let names = targets::names(&matches, VERB.name)?;
    let client = daemon.connect().await?;
    targets::each_at_once(&names, AT_ONCE, async |name| {
        client.containers().unpause(ContainerRequest { container: name.to_owned() }).await?;
        Ok(Some(name.to_owned()))
    })
    .await
}
