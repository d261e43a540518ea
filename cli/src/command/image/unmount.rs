//! `isula image unmount`: takes away the directory that `isula image mount` has shown.

use clap::Command;
use cri_api::isula::v1::ImageRequest;

use super::{Invocation, Verb};
use crate::failure::{Failure, GENERAL};
use crate::{flag, targets};

pub(crate) const VERB: Verb = Verb {
    name: "unmount",
    about: "Take away what image mount has shown",
    usage: "unmount IMAGE",
    refusal: GENERAL,
    hidden: false,
    flags,
    run: |invocation| Box::pin(run(invocation)),
};

fn flags(command: Command) -> Command {
    command.arg(flag::words("IMAGE"))
}

async fn run(Invocation { name: verb, matches, daemon }: Invocation) -> Result<u8, Failure> {
    let [image] = targets::exactly(&matches, &verb)?;
    let client = daemon.connect().await?;
    client.images().unmount(ImageRequest { image }).await?;
    Ok(0)
}
