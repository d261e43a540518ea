//! `isula load`: takes the images of an archive.

use clap::Command;
use cri_api::isula::v1::load_progress::Progress as ProgressEvent;
use cri_api::isula::v1::load_request::Request;
use cri_api::isula::v1::{LoadDone, LoadOpen, LoadProgress, LoadRequest, LoadedImage};
use tokio_stream::StreamExt;
use tonic::Streaming;

use super::{Invocation, Verb};
use crate::archive::{Archive, STDIN};
use crate::client::Client;
use crate::failure::{Failure, GENERAL};
use crate::interrupt::unless_interrupted;
use crate::progress::{self, Progress, Sent};
use crate::{flag, output};

pub(crate) const VERB: Verb = Verb {
    name: "load",
    about: "Load images from an archive",
    usage: "load [OPTIONS]",
    refusal: GENERAL,
    hidden: false,
    flags,
    run: |invocation| Box::pin(run(invocation)),
};

fn flags(command: Command) -> Command {
    command
        .arg(flag::value("input", "FILE", "The archive [default: standard input]").short('i'))
        .arg(flag::value("tag", "NAME[:TAG]", "Name for the archive's one image, instead of its own"))
        .arg(flag::switch("quiet", "No progress").short('q'))
}

async fn run(Invocation { matches, daemon, .. }: Invocation) -> Result<u8, Failure> {
    let archive = Archive::open(flag::text(&matches, "input").unwrap_or(STDIN))?;
    let (name, open) = (archive.name().to_owned(), LoadOpen { tag: flag::text_or_empty(&matches, "tag") });
    let progress = Progress::new(flag::is_on(&matches, "quiet"), &progress::LOAD);
    let client = daemon.connect().await?;
    let done = unless_interrupted(load(&client, archive, open, progress)).await?;
    for line in done.images.iter().flat_map(lines) {
        output::line(&line)?;
    }
    output::line(&format!("Load image from \"{name}\" success"))?;
    Ok(0)
}

async fn load(client: &Client, archive: Archive, open: LoadOpen, mut progress: Progress) -> Result<LoadDone, Failure> {
    let sent = progress.sending(archive.size());
    let counted = sent.clone();
    let call = async move |pieces| {
        let pieces = StreamExt::map(pieces, |bytes| LoadRequest { request: Some(Request::Bytes(bytes)) });
        let open = tokio_stream::once(LoadRequest { request: Some(Request::Open(open)) });
        let messages = client.images().load(open.chain(pieces)).await?.into_inner();
        follow(messages, progress, sent).await
    };
    archive.send(move |bytes| counted.add(bytes), call).await
}

async fn follow(
    mut messages: Streaming<LoadProgress>,
    mut progress: Progress,
    sent: Sent,
) -> Result<LoadDone, Failure> {
    while let Some(message) = messages.message().await? {
        match message.progress {
            Some(ProgressEvent::Received(_)) => sent.done(),
            Some(ProgressEvent::Layer(layer)) => progress.layer(&layer),
            Some(ProgressEvent::Done(done)) => {
                sent.done();
                progress.finish();
                return Ok(done);
            }
            // A kind of message that came after this program.
            None => {}
        }
    }
    Err(Failure::Lost("it ended before the images were there".into()))
}

fn lines(image: &LoadedImage) -> Vec<String> {
    if image.names.is_empty() {
        return vec![format!("Loaded image ID: {}", image.id)];
    }
    image.names.iter().map(|name| format!("Loaded image: {name}")).collect()
}
