//! `isula image mount`: shows an image's files, read-only, in a directory of the host.

use clap::Command;
use cri_api::isula::v1::ImageRequest;

use super::{Invocation, Verb};
use crate::failure::{Failure, GENERAL};
use crate::{flag, output, targets};

pub(crate) const VERB: Verb = Verb {
    name: "mount",
    about: "Show the files of an image in a directory, read-only, and print it",
    usage: "mount IMAGE",
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
    let mounted = client.images().mount(ImageRequest { image }).await?.into_inner();
    output::line(&mounted.path)?;
    Ok(0)
}
