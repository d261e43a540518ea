//! `isula save`: images as an archive that any engine loads.

use clap::Command;
use cri_api::isula::v1::SaveRequest;
use cri_api::isula::v1::save_request::Format;

use super::{Invocation, Verb};
use crate::archive::Target;
use crate::failure::{Failure, GENERAL};
use crate::interrupt::unless_interrupted;
use crate::{flag, targets};

pub(crate) const VERB: Verb = Verb {
    name: "save",
    about: "Save images to an archive",
    usage: "save [OPTIONS] IMAGE [IMAGE...]",
    refusal: GENERAL,
    hidden: false,
    flags,
    run: |invocation| Box::pin(run(invocation)),
};

fn flags(command: Command) -> Command {
    command
        .arg(flag::value("output", "FILE", "The archive [default: standard output]").short('o'))
        .arg(flag::value("format", "FORMAT", "docker-archive or oci [default: docker-archive]").value_parser(format))
        .arg(flag::words("IMAGE"))
}

fn format(text: &str) -> Result<Format, &'static str> {
    match text {
        "docker-archive" => Ok(Format::DockerArchive),
        "oci" => Ok(Format::OciLayout),
        _ => Err("known are docker-archive and oci"),
    }
}

async fn run(Invocation { name: verb, matches, daemon }: Invocation) -> Result<u8, Failure> {
    let images = targets::names(&matches, &verb)?;
    let format = matches.get_one::<Format>("format").copied().unwrap_or(Format::DockerArchive);
    let target = Target::open(flag::text(&matches, "output"))?;
    let client = daemon.connect().await?;
    unless_interrupted(async {
        let pieces = client.images().save(SaveRequest { images, format: format.into() }).await?.into_inner();
        target.fill(pieces).await
    })
    .await?;
    Ok(0)
}
