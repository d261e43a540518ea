//! `isula rm`: removes containers and all that is theirs.

use clap::Command;
use cri_api::isula::v1::RemoveRequest;

use super::{Invocation, Verb};
use crate::failure::{Failure, GENERAL};
use crate::flag;
use crate::targets::{self, AT_ONCE};

pub(super) const VERB: Verb = Verb {
    name: "rm",
    about: "Remove containers",
    usage: "rm [OPTIONS] CONTAINER [CONTAINER...]",
    refusal: GENERAL,
    hidden: false,
    flags,
    run: |invocation| Box::pin(run(invocation)),
};

fn flags(command: Command) -> Command {
    command
        .arg(flag::switch("force", "Also when it is running (kills it)").short('f'))
        .arg(flag::switch("volumes", "With its anonymous volumes").short('v'))
        .arg(flag::words("CONTAINER"))
}

async fn run(Invocation { matches, daemon, .. }: Invocation) -> Result<u8, Failure> {
    let names = targets::names(&matches, VERB.name)?;
    let (force, volumes) = (flag::is_on(&matches, "force"), flag::is_on(&matches, "volumes"));
    let client = daemon.connect().await?;
    // The second of two containers that share a volume removes it: in parallel, each would leave it to the other.
    let at_once = if volumes { 1 } else { AT_ONCE };
    targets::each_at_once(&names, at_once, async |name| {
        client.containers().remove(RemoveRequest { container: name.to_owned(), force, volumes }).await?;
        Ok(Some(name.to_owned()))
    })
    .await
}
