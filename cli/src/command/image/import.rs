//! `isula import`: an image made of a root filesystem.

use clap::Command;
use cri_api::isula::v1::import_request::Request;
use cri_api::isula::v1::{ImportOpen, ImportRequest};
use tokio_stream::StreamExt;

use super::{Invocation, Verb};
use crate::archive::Archive;
use crate::failure::{Failure, GENERAL};
use crate::interrupt::unless_interrupted;
use crate::{flag, output};

pub(crate) const VERB: Verb = Verb {
    name: "import",
    about: "Make an image of a root filesystem in a tar archive",
    usage: "import [OPTIONS] FILE|- [REPOSITORY[:TAG]]",
    refusal: GENERAL,
    hidden: false,
    flags,
    run: |invocation| Box::pin(run(invocation)),
};

fn flags(command: Command) -> Command {
    command
        .arg(
            flag::list("change", "INSTRUCTION", "As in a Dockerfile: CMD, ENTRYPOINT, ENV, USER, WORKDIR, ...")
                .short('c'),
        )
        .arg(flag::value("message", "TEXT", "For the image's history").short('m'))
        .arg(flag::value("platform", "OS/ARCH[/VARIANT]", "What it is for [default: this machine's]"))
        .arg(flag::words("FILE NAME"))
}

async fn run(Invocation { name: verb, matches, daemon }: Invocation) -> Result<u8, Failure> {
    let words = flag::given_words(&matches);
    let (path, name) = match &words[..] {
        [path] => (path, String::new()),
        [path, name] => (path, name.clone()),
        _ => {
            let message = format!("\"{verb}\" requires 1 or 2 arguments.\nSee 'isula {verb} --help'.");
            return Err(Failure::usage(message));
        }
    };
    let open = ImportOpen {
        name,
        changes: flag::owned(&matches, "change"),
        message: flag::text_or_empty(&matches, "message"),
        platform: flag::text_or_empty(&matches, "platform"),
    };
    let archive = Archive::open(path)?;
    let client = daemon.connect().await?;
    let call = async |pieces| {
        let pieces = StreamExt::map(pieces, |bytes| ImportRequest { request: Some(Request::Bytes(bytes)) });
        let open = tokio_stream::once(ImportRequest { request: Some(Request::Open(open)) });
        Ok(client.images().import(open.chain(pieces)).await?.into_inner().id)
    };
    let id = unless_interrupted(archive.send(|_| {}, call)).await?;
    output::line(&id)?;
    Ok(0)
}
