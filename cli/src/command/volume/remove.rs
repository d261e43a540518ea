//! `isula volume rm`: removes volumes with their data.

use clap::Command;
use cri_api::isula::v1::RemoveVolumeRequest;

use super::{Invocation, Verb};
use crate::failure::{Failure, GENERAL};
use crate::flag;
use crate::targets::{self, AT_ONCE};

pub(super) const VERB: Verb = Verb {
    name: "rm",
    about: "Remove volumes and their data",
    usage: "rm [OPTIONS] VOLUME [VOLUME...]",
    refusal: GENERAL,
    hidden: false,
    flags,
    run: |invocation| Box::pin(run(invocation)),
};

fn flags(command: Command) -> Command {
    command.arg(flag::switch("force", "One that does not exist is fine").short('f')).arg(flag::words("VOLUME"))
}

async fn run(Invocation { name: verb, matches, daemon }: Invocation) -> Result<u8, Failure> {
    let names = targets::names(&matches, &verb)?;
    let force = flag::is_on(&matches, "force");
    let client = daemon.connect().await?;
    targets::each_at_once(&names, AT_ONCE, async |name| {
        client.volumes().remove(RemoveVolumeRequest { volume: name.to_owned(), force }).await?;
        Ok(Some(name.to_owned()))
    })
    .await
}
