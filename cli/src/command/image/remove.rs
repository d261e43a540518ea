//! `isula rmi`: takes names of images away, and with the last one the image.

use clap::Command;
use cri_api::isula::v1::RemoveImageRequest;

use super::{Invocation, Verb, removed_lines};
use crate::failure::{Failure, GENERAL};
use crate::flag;
use crate::targets;

pub(crate) const VERB: Verb = Verb {
    name: "rmi",
    about: "Remove images",
    usage: "rmi [OPTIONS] IMAGE [IMAGE...]",
    refusal: GENERAL,
    hidden: false,
    flags,
    run: |invocation| Box::pin(run(invocation)),
};

fn flags(command: Command) -> Command {
    command
        .arg(flag::switch("force", "Take its names also when containers use it, and all of them for an id").short('f'))
        .arg(flag::words("IMAGE"))
}

async fn run(Invocation { name: verb, matches, daemon }: Invocation) -> Result<u8, Failure> {
    let names = targets::names(&matches, &verb)?;
    let force = flag::is_on(&matches, "force");
    let client = daemon.connect().await?;
    // In turn: whether an id has one name left depends on the names before it.
    targets::each(&names, async |name| {
        let request = RemoveImageRequest { image: name.to_owned(), force };
        let answer = client.images().remove(request).await?.into_inner();
        let mut lines = removed_lines(&answer.untagged, &answer.deleted);
        lines.push(format!("Image \"{name}\" removed"));
        Ok(Some(lines.join("\n")))
    })
    .await
}
