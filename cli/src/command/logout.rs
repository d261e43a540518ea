//! `isula logout`: has the daemon forget the credentials of a registry.

use clap::Command;
use cri_api::isula::v1::LogoutRequest;

use super::login::server;
use super::{Invocation, Verb};
use crate::failure::{Failure, GENERAL};
use crate::{flag, output};

pub(super) const VERB: Verb = Verb {
    name: "logout",
    about: "Log out from a registry",
    usage: "logout [SERVER]",
    refusal: GENERAL,
    hidden: false,
    flags,
    run: |invocation| Box::pin(run(invocation)),
};

fn flags(command: Command) -> Command {
    command.arg(flag::words("SERVER"))
}

async fn run(Invocation { name: verb, matches, daemon }: Invocation) -> Result<u8, Failure> {
    let server = server(&matches, &verb)?;
    let client = daemon.connect().await?;
    client.images().logout(LogoutRequest { server }).await?;
    output::line("Logout Succeeded")?;
    Ok(0)
}
