//! `isula attach`: joins the terminal or the streams of a running container.

use std::io::IsTerminal;

use clap::{ArgMatches, Command};
use cri_api::isula::v1::{AttachOpen, ContainerRequest};
use serde_json::Value;

use super::{Invocation, Verb};
use crate::client::{self, Client};
use crate::failure::{Failure, GENERAL};
use crate::stream::keys::{self, DetachKeys};
use crate::stream::{self, Attach, Session};
use crate::{flag, targets};

pub(super) const VERB: Verb = Verb {
    name: "attach",
    about: "Attach to a running container",
    usage: "attach [OPTIONS] CONTAINER",
    refusal: GENERAL,
    hidden: false,
    flags,
    run: |invocation| Box::pin(run(invocation)),
};

fn flags(command: Command) -> Command {
    stream::flags(command).arg(flag::switch("no-stdin", "Do not attach the input")).arg(flag::words("CONTAINER"))
}

async fn run(Invocation { matches, daemon, .. }: Invocation) -> Result<u8, Failure> {
    let [container] = targets::exactly(&matches, VERB.name)?;
    let options = SessionOptions::given(&matches, !flag::is_on(&matches, "no-stdin"))?;
    let client = daemon.connect().await?;
    let session = session(&client, &container, options, false).await?;
    stream::run(&client, session).await
}

/// The session's options, from the flags.
pub(super) struct SessionOptions {
    stdin: bool,
    keys: DetachKeys,
    sig_proxy: bool,
}

impl SessionOptions {
    pub(super) fn given(matches: &ArgMatches, stdin: bool) -> Result<Self, Failure> {
        Ok(Self { stdin, keys: keys::given(matches)?, sig_proxy: stream::sig_proxy(matches) })
    }
}

/// Inspects the container for its terminal and its open stdin, and makes the session accordingly.
pub(super) async fn session(
    client: &Client,
    container: &str,
    options: SessionOptions,
    start: bool,
) -> Result<Session<Attach>, Failure> {
    let request = ContainerRequest { container: container.to_owned() };
    let json = client::read(client.containers().inspect(request)).await?.json;
    let details: Value = serde_json::from_str(&json)
        .map_err(|error| Failure::Client(format!("the daemon's description of {container} is not JSON: {error}")))?;
    let config = |key: &str| details["Config"][key].as_bool();
    let tty = config("Tty").unwrap_or(false);
    // Input for a container that wants none is dropped by the daemon.
    let stdin = options.stdin && config("OpenStdin").unwrap_or(true);
    if tty && stdin && !std::io::stdin().is_terminal() {
        return Err(Failure::Client("The input device is not a TTY; --no-stdin attaches without input".into()));
    }
    // The id, so that a rename in between does not matter.
    let id = details["Id"].as_str().unwrap_or(container).to_owned();
    let open = AttachOpen { container: id.clone(), stdin, stdout: true, stderr: !tty, size: None };
    Ok(Session {
        call: Attach { open, start },
        open_call: None,
        container: id,
        tty,
        stdin,
        keys: options.keys,
        sig_proxy: options.sig_proxy,
        redraw: !start,
        if_lost: stream::may_run_still(container),
    })
}
