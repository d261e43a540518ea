//! `isula stop`: the stop signal, then SIGKILL after the grace period.

use clap::{Command, value_parser};
use cri_api::isula::v1::StopRequest;

use super::{Invocation, Verb};
use crate::failure::{Failure, GENERAL};
use crate::flag;
use crate::targets::{self, AT_ONCE};

pub(super) const VERB: Verb = Verb {
    name: "stop",
    about: "Stop containers",
    usage: "stop [OPTIONS] CONTAINER [CONTAINER...]",
    refusal: GENERAL,
    hidden: false,
    flags,
    run: |invocation| Box::pin(run(invocation)),
};

fn flags(command: Command) -> Command {
    command
        .arg(flag::switch("force", "Kill at once").short('f'))
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
    let force = flag::is_on(&matches, "force");
    let client = daemon.connect().await?;
    targets::each_at_once(&names, AT_ONCE, async |name| {
        client.containers().stop(StopRequest { container: name.to_owned(), timeout, force }).await?;
        Ok(Some(name.to_owned()))
    })
    .await
}
