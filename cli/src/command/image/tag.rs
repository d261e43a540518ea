//! `isula tag`: gives an image a further name.

use clap::Command;
use cri_api::isula::v1::TagRequest;

use super::{Invocation, Verb};
use crate::failure::{Failure, GENERAL};
use crate::{flag, targets};

pub(crate) const VERB: Verb = Verb {
    name: "tag",
    about: "Give an image a further name",
    usage: "tag IMAGE NAME[:TAG]",
    refusal: GENERAL,
    hidden: false,
    flags,
    run: |invocation| Box::pin(run(invocation)),
};

fn flags(command: Command) -> Command {
    command.arg(flag::words("IMAGE NAME"))
}

async fn run(Invocation { name: verb, matches, daemon }: Invocation) -> Result<u8, Failure> {
    let [image, name] = targets::exactly(&matches, &verb)?;
    let client = daemon.connect().await?;
    client.images().tag(TagRequest { image, name }).await?;
    Ok(0)
}
