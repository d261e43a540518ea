//! `isula network rm`: removes networks that no container uses.

use clap::Command;
use cri_api::isula::v1::NetworkRequest;

use super::{Invocation, Verb};
use crate::failure::{Failure, GENERAL};
use crate::flag;
use crate::targets::{self, AT_ONCE};

pub(super) const VERB: Verb = Verb {
    name: "rm",
    about: "Remove networks that no container uses",
    usage: "rm [OPTIONS] NETWORK [NETWORK...]",
    refusal: GENERAL,
    hidden: false,
    flags: |command: Command| command.arg(flag::words("NETWORK")),
    run: |invocation| Box::pin(run(invocation)),
};

async fn run(Invocation { name: verb, matches, daemon }: Invocation) -> Result<u8, Failure> {
    let names = targets::names(&matches, &verb)?;
    let client = daemon.connect().await?;
    targets::each_at_once(&names, AT_ONCE, async |name| {
        client.networks().remove(NetworkRequest { name: name.to_owned() }).await?;
        Ok(Some(name.to_owned()))
    })
    .await
}
