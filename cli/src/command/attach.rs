//! `isula attach`: joins the terminal or the streams of a running container.

use clap::Command;
use cri_api::isula::v1::{AttachOpen, ContainerRequest};
use serde_json::Value;

use super::{Invocation, Verb};
use crate::client::{self, Client};
use crate::failure::{Failure, GENERAL};
use crate::stream::{self, Session};
use crate::{flag, targets};

pub(super) const VERB: Verb = Verb {
    name: "attach",
    about: "Attach to a running container",
    usage: "attach CONTAINER",
    refusal: GENERAL,
    hidden: false,
    flags,
    run: |invocation| Box::pin(run(invocation)),
};

fn flags(command: Command) -> Command {
    command.arg(flag::words("CONTAINER"))
}

async fn run(Invocation { matches, daemon, .. }: Invocation) -> Result<u8, Failure> {
    let [container] = targets::exactly(&matches, VERB.name)?;
    let client = daemon.connect().await?;
    let session = session(&client, &container, false).await?;
    stream::run(&client, session).await
}

/// Asks how the container was made: whether it has a terminal and an open stdin.
pub(super) async fn session(client: &Client, container: &str, start: bool) -> Result<Session, Failure> {
    let request = ContainerRequest { container: container.to_owned() };
    let json = client::read(client.containers().inspect(request)).await?.json;
    let details: Value = serde_json::from_str(&json)
        .map_err(|error| Failure::Client(format!("the daemon's description of {container} is not JSON: {error}")))?;
    let config = |key: &str| details["Config"][key].as_bool();
    let tty = config("Tty").unwrap_or(false);
    // Input for a container that wants none is dropped by the daemon.
    let stdin = config("OpenStdin").unwrap_or(true);
    // The id, so that a rename in between does not matter.
    let container = details["Id"].as_str().unwrap_or(container).to_owned();
    let open = AttachOpen { container, stdin, stdout: true, stderr: !tty, size: None };
    Ok(Session { open, tty, start })
}
