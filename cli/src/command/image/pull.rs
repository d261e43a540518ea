//! `isula pull`: brings an image from a registry.

use clap::Command;
use cri_api::isula::v1::pull_progress::Progress as ProgressEvent;
use cri_api::isula::v1::{PullDone, PullRequest};

use super::{Invocation, Verb};
use crate::client::Client;
use crate::failure::{Failure, GENERAL};
use crate::interrupt::unless_interrupted;
use crate::progress::{self, Progress};
use crate::{flag, output, targets};

pub(crate) const VERB: Verb = Verb {
    name: "pull",
    about: "Pull an image from a registry",
    usage: "pull [OPTIONS] NAME[:TAG|@DIGEST]",
    refusal: GENERAL,
    hidden: false,
    flags,
    run: |invocation| Box::pin(run(invocation)),
};

fn flags(command: Command) -> Command {
    command
        .arg(flag::switch("quiet", "No progress; print the image's id").short('q'))
        .arg(flag::value("platform", "OS/ARCH[/VARIANT]", "Of an image for several [default: this machine's]"))
        .arg(flag::words("NAME"))
}

async fn run(Invocation { name: verb, matches, daemon }: Invocation) -> Result<u8, Failure> {
    let [image] = targets::exactly(&matches, &verb)?;
    let request = PullRequest { image, platform: flag::text_or_empty(&matches, "platform"), credentials: None };
    let quiet = flag::is_on(&matches, "quiet");
    let client = daemon.connect().await?;
    let done = bring(&client, request, quiet).await?;
    if quiet {
        output::line(&done.id)?;
    }
    Ok(0)
}

/// Pulls, with progress on standard error. A signal ends it, and the daemon then leaves nothing of it.
pub(crate) async fn bring(client: &Client, request: PullRequest, quiet: bool) -> Result<PullDone, Failure> {
    let image = request.image.clone();
    let announce = |word: &str| {
        if !quiet {
            output::complain(&format!("Image \"{image}\" {word}"));
        }
    };
    announce("pulling");
    let done = unless_interrupted(follow(client, request, Progress::new(quiet, &progress::PULL))).await?;
    announce("pulled");
    Ok(done)
}

async fn follow(client: &Client, request: PullRequest, mut progress: Progress) -> Result<PullDone, Failure> {
    let mut messages = client.images().pull(request).await?.into_inner();
    while let Some(message) = messages.message().await? {
        match message.progress {
            Some(ProgressEvent::Resolved(resolved)) => progress.expect(&resolved.layers),
            Some(ProgressEvent::Layer(layer)) => progress.layer(&layer),
            Some(ProgressEvent::Done(done)) => {
                progress.finish();
                return Ok(done);
            }
            // A kind of message that came after this program.
            None => {}
        }
    }
    Err(Failure::Lost("it ended before the image was there".into()))
}
