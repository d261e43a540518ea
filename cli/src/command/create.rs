//! `isula create`: prepares a container and prints its id. Nothing runs.

use clap::{ArgMatches, Command};
use cri_api::isula::v1::{CreateRequest, PullRequest};
use tonic::{Code, Response, Status};

use super::image::pull;
use super::{Invocation, Verb};
use crate::client::Client;
use crate::container::Pull;
use crate::failure::{Failure, USAGE};
use crate::{container, output};

pub(super) const VERB: Verb = Verb {
    name: "create",
    about: "Create a container without starting it",
    usage: "create [OPTIONS] --external-rootfs=DIR|IMAGE [COMMAND] [ARG...]",
    refusal: USAGE,
    hidden: false,
    flags,
    run: |invocation| Box::pin(run(invocation)),
};

fn flags(command: Command) -> Command {
    container::flags(command)
}

async fn run(Invocation { matches, daemon, .. }: Invocation) -> Result<u8, Failure> {
    let request = container::request(&matches, VERB.name)?;
    let client = daemon.connect().await?;
    let create = async |request| client.containers().create(request).await;
    let created = with_image(&client, &matches, request, create).await?;
    super::warn(&created.warnings);
    output::line(&created.id)?;
    Ok(0)
}

/// Makes a container, and before that brings its image according to `--pull`.
pub(super) async fn with_image<T>(
    client: &Client,
    matches: &ArgMatches,
    request: CreateRequest,
    make: impl AsyncFn(CreateRequest) -> Result<Response<T>, Status>,
) -> Result<T, Failure> {
    let image = request.image.clone();
    let wanted = PullRequest { image: image.clone(), ..PullRequest::default() };
    match Pull::of(matches) {
        // A root filesystem of the host is here already.
        Pull::Always if !image.is_empty() => {
            pull::bring(client, wanted, false).await?;
        }
        Pull::Missing if !image.is_empty() => match make(request.clone()).await {
            Err(status) if is_missing_image(&status) => {
                output::complain(&format!("Unable to find image '{image}' locally"));
                pull::bring(client, wanted, false).await?;
            }
            answer => return Ok(answer?.into_inner()),
        },
        Pull::Always | Pull::Missing | Pull::Never => {}
    }
    Ok(make(request).await?.into_inner())
}

/// Other things that were not found, such as a container to share a namespace with, are not to be pulled.
fn is_missing_image(status: &Status) -> bool {
    status.code() == Code::NotFound && status.message().starts_with("No such image")
}
