//! `isula wait`: blocks until containers are not running and prints their exit codes.

use clap::Command;
use cri_api::isula::v1::ContainerRequest;

use super::{Invocation, Verb};
use crate::failure::{Failure, GENERAL};
use crate::flag;
use crate::targets::{self, AT_ONCE};

pub(super) const VERB: Verb = Verb {
    name: "wait",
    about: "Wait until containers stop, then print their exit codes",
    usage: "wait CONTAINER [CONTAINER...]",
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
        let answer = client.containers().wait(ContainerRequest { container: name.to_owned() }).await?.into_inner();
        Ok(Some(match answer.status {
            // The container never ran.
            None => "0".to_owned(),
            // A number that looks real would be a lie.
            Some(status) => status.code.map_or_else(|| "unknown".to_owned(), |code| code.to_string()),
        }))
    })
    .await
}
