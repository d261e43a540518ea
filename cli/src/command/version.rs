//! `isula version`: of the client and of the daemon.

use clap::Command;
use cri_api::isula::v1::{Empty, VersionResponse};

use super::{Invocation, Verb};
use crate::failure::{Failure, GENERAL};
use crate::{client, output};

pub(super) const VERB: Verb = Verb {
    name: "version",
    about: "Show the versions of client and daemon",
    usage: "version",
    refusal: GENERAL,
    hidden: false,
    flags,
    run: |invocation| Box::pin(run(invocation)),
};

const VERSION: &str = env!("CARGO_PKG_VERSION");
/// Given by the build, which knows; a build from an archive does not.
const COMMIT: Option<&str> = option_env!("ISULA_GIT_COMMIT");
const BUILT: Option<&str> = option_env!("ISULA_BUILT");
const UNKNOWN: &str = "unknown";

fn flags(command: Command) -> Command {
    command
}

/// The line that `isula --version` prints.
pub(crate) fn line() -> String {
    format!("Version {VERSION}, commit {}\n", COMMIT.unwrap_or(UNKNOWN))
}

async fn run(Invocation { daemon, .. }: Invocation) -> Result<u8, Failure> {
    // The client's half is known also when no daemon answers.
    output::write(&client_block())?;
    let client = daemon.connect().await?;
    let server = client::read(client.system().version(Empty {})).await?;
    output::write(&server_block(&server))?;
    Ok(0)
}

fn client_block() -> String {
    format!("Client:\n{}", block(VERSION, COMMIT.unwrap_or(UNKNOWN), BUILT.unwrap_or(UNKNOWN)))
}

fn server_block(server: &VersionResponse) -> String {
    let or_unknown = |text: &str| if text.is_empty() { UNKNOWN.to_owned() } else { text.to_owned() };
    let block = block(&server.version, &or_unknown(&server.git_commit), &or_unknown(&server.built));
    format!(
        "\nOCI config:\n  Version:\t1.0.1\n  Default file:\t/etc/default/isulad/config.json\n\nServer:\n{block}  API \
         version:\t{}\n",
        server.api_version
    )
}

fn block(version: &str, commit: &str, built: &str) -> String {
    format!("  Version:\t{version}\n  Git commit:\t{commit}\n  Built:\t{built}\n")
}
