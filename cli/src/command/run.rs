//! `isula run`: creates and starts a container. Detached, it prints the id; in the foreground it stands for the
//! container's process: same output, same input, same exit code.

use std::io::IsTerminal;

use clap::{ArgMatches, Command};
use cri_api::isula::v1::{AttachOpen, CreateRequest};

use super::create::{warn, with_image};
use super::{Invocation, Verb};
use crate::client::Client;
use crate::failure::{Failure, USAGE};
use crate::stream::{self, Session};
use crate::{container, flag, output};

pub(super) const VERB: Verb = Verb {
    name: "run",
    about: "Create and start a container",
    usage: "run [OPTIONS] ROOTFS|IMAGE [COMMAND] [ARG...]",
    refusal: USAGE,
    hidden: false,
    flags,
    run: |invocation| Box::pin(run(invocation)),
};

fn flags(command: Command) -> Command {
    container::flags(command).arg(flag::switch("detach", "Leave it in the background and print its id").short('d'))
}

async fn run(Invocation { matches, daemon, .. }: Invocation) -> Result<u8, Failure> {
    let request = request(&matches)?;
    let detach = flag::is_on(&matches, "detach");
    if !detach && request.tty && request.open_stdin && !std::io::stdin().is_terminal() {
        return Err(Failure::Client("The input device is not a TTY".into()));
    }
    let client = daemon.connect().await?;
    if detach { detached(&client, &matches, request).await } else { foreground(&client, &matches, request).await }
}

fn request(matches: &ArgMatches) -> Result<CreateRequest, Failure> {
    let mut request = container::request(matches, VERB.name)?;
    // Nobody is attached whose leaving could end the input.
    request.stdin_once &= !flag::is_on(matches, "detach");
    Ok(request)
}

/// The id comes first, so that a script has it also when the start failed.
async fn detached(client: &Client, matches: &ArgMatches, request: CreateRequest) -> Result<u8, Failure> {
    let run = async |request| client.containers().run(request).await;
    let answer = with_image(client, matches, request, run).await?;
    warn(&answer.warnings);
    output::line(&answer.id)?;
    match answer.failure {
        None => Ok(0),
        Some(failure) => Ok(stream::start_failed(&failure)),
    }
}

async fn foreground(client: &Client, matches: &ArgMatches, request: CreateRequest) -> Result<u8, Failure> {
    let (tty, stdin) = (request.tty, request.open_stdin);
    let create = async |request| client.containers().create(request).await;
    let created = with_image(client, matches, request, create).await?;
    warn(&created.warnings);
    let open = AttachOpen { container: created.id, stdin, stdout: true, stderr: !tty, size: None };
    stream::run(client, Session { open, tty, start: true }).await
}
