//! `isula kill`: a signal to the container's first process.

use clap::Command;
use cri_api::isula::v1::KillRequest;

use super::{Invocation, Verb};
use crate::failure::{Failure, GENERAL};
use crate::flag;
use crate::targets::{self, AT_ONCE};

pub(super) const VERB: Verb = Verb {
    name: "kill",
    about: "Send a signal to containers",
    usage: "kill [OPTIONS] CONTAINER [CONTAINER...]",
    refusal: GENERAL,
    hidden: false,
    flags,
    run: |invocation| Box::pin(run(invocation)),
};

fn flags(command: Command) -> Command {
    command
        .arg(flag::value("signal", "SIGNAL", "Name or number [default: SIGKILL]").short('s'))
        .arg(flag::words("CONTAINER"))
}

async fn run(Invocation { matches, daemon, .. }: Invocation) -> Result<u8, Failure> {
    let names = targets::names(&matches, VERB.name)?;
    let signal = flag::text_or_empty(&matches, "signal");
    let client = daemon.connect().await?;
    targets::each_at_once(&names, AT_ONCE, async |name| {
        client.containers().kill(KillRequest { container: name.to_owned(), signal: signal.clone() }).await?;
        Ok(Some(name.to_owned()))
    })
    .await
}
