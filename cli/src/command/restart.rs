//! `isula restart`: stop and start in one request.

use clap::{Command, value_parser};
use cri_api::isula::v1::RestartRequest;

use super::{Invocation, Verb};
use crate::failure::{Failure, GENERAL};
use crate::{flag, targets};

pub(super) const VERB: Verb = Verb {
    name: "restart",
    about: "Restart containers",
    usage: "restart [OPTIONS] CONTAINER [CONTAINER...]",
    refusal: GENERAL,
    hidden: false,
    flags,
    run: |invocation| Box::pin(run(invocation)),
};

fn flags(command: Command) -> Command {
    command
        .arg(
            flag::value("time", "SECONDS", "Grace before SIGKILL [default: the container's own, 10]")
                .short('t')
                .value_parser(value_parser!(u32)),
        )
        .arg(flag::words("CONTAINER"))
}

async fn run(Invocation { matches, daemon, .. }: Invocation) -> Result<u8, Failure> {
    let names = targets::names(&matches, VERB.name)?;
    let timeout = matches.get_one::<u32>("time").copied();
    let client = daemon.connect().await?;
    // In turn: a user who names a database before its dependants means that order.
    targets::each(&names, async |name| {
        client.containers().restart(RestartRequest { container: name.to_owned(), timeout }).await?;
        Ok(Some(name.to_owned()))
    })
    .await
}
