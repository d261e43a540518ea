//! `isula export`: the root filesystem of a container as an archive, which `isula import` takes.

use clap::Command;
use cri_api::isula::v1::ContainerRequest;

use super::{Invocation, Verb};
use crate::archive::Target;
use crate::failure::{Failure, GENERAL};
use crate::interrupt::unless_interrupted;
use crate::{flag, targets};

pub(super) const VERB: Verb = Verb {
    name: "export",
    about: "Write a container's root filesystem to an archive",
    usage: "export [OPTIONS] CONTAINER",
    refusal: GENERAL,
    hidden: false,
    flags,
    run: |invocation| Box::pin(run(invocation)),
};

fn flags(command: Command) -> Command {
    command
        .arg(flag::value("output", "FILE", "The archive [default: standard output]").short('o'))
        .arg(flag::words("CONTAINER"))
}

async fn run(Invocation { name: verb, matches, daemon }: Invocation) -> Result<u8, Failure> {
    let [container] = targets::exactly::<1>(&matches, &verb)?;
    let target = Target::open(flag::text(&matches, "output"))?;
    let client = daemon.connect().await?;
    unless_interrupted(async {
        let pieces = client.files().export(ContainerRequest { container }).await?.into_inner();
        target.fill(pieces).await
    })
    .await?;
    Ok(0)
}
