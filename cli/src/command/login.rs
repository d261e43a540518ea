//! `isula login`: has the daemon check credentials with a registry and keep them. A password is in no message of ours.

use clap::{ArgMatches, Command};
use cri_api::isula::v1::LoginRequest;

use super::{Invocation, Verb};
use crate::failure::{Failure, GENERAL};
use crate::interrupt::unless_interrupted;
use crate::{flag, output, prompt};

pub(super) const VERB: Verb = Verb {
    name: "login",
    about: "Log in to a registry",
    usage: "login [OPTIONS] [SERVER]",
    refusal: GENERAL,
    hidden: false,
    flags,
    run: |invocation| Box::pin(run(invocation)),
};

const EXPOSED: &str =
    "WARNING! Using --password is insecure: others see it in the list of processes. Use --password-stdin.";

fn flags(command: Command) -> Command {
    command
        .arg(flag::value("username", "NAME", "User name [default: asked for]").short('u'))
        .arg(flag::value("password", "PASSWORD", "Password; others can see it [default: asked for]").short('p'))
        .arg(flag::switch("password-stdin", "Read the password from standard input"))
        .arg(flag::words("SERVER"))
}

async fn run(Invocation { name: verb, matches, daemon }: Invocation) -> Result<u8, Failure> {
    let server = server(&matches, &verb)?;
    let (username, password) = unless_interrupted(credentials(&matches)).await?;
    let client = daemon.connect().await?;
    client.images().login(LoginRequest { server, username, password }).await?;
    output::line("Login Succeeded")?;
    Ok(0)
}

/// The registry that was named; empty for the default one.
pub(super) fn server(matches: &ArgMatches, verb: &str) -> Result<String, Failure> {
    let mut words = flag::given_words(matches);
    if words.len() > 1 {
        return Err(Failure::usage(format!("\"{verb}\" requires at most 1 argument.\nSee 'isula {verb} --help'.")));
    }
    Ok(words.pop().unwrap_or_default())
}

async fn credentials(matches: &ArgMatches) -> Result<(String, String), Failure> {
    let (username, password) = (flag::text(matches, "username"), flag::text(matches, "password"));
    let piped = flag::is_on(matches, "password-stdin");
    if password.is_some() {
        output::complain(EXPOSED);
    }
    if password.is_some() && piped {
        return Err(Failure::usage("--password and --password-stdin are mutually exclusive"));
    }
    if piped && username.is_none() {
        return Err(Failure::usage("Must provide --username with --password-stdin"));
    }
    if piped && prompt::is_possible() {
        return Err(Failure::usage("--password-stdin wants a pipe or a file; without it the password is asked for"));
    }
    let complete = username.is_some() && (password.is_some() || piped);
    if !complete && !prompt::is_possible() {
        return Err(Failure::usage(
            "Cannot ask for user name and password: standard input is not a terminal. Use --username and --password-stdin",
        ));
    }
    let username = match username {
        Some(name) => name.to_owned(),
        None => prompt::line("Username: ").await?.trim().to_owned(),
    };
    if username.is_empty() {
        return Err(Failure::usage("The user name is empty"));
    }
    let password = match password {
        Some(password) => password.to_owned(),
        None if piped => prompt::piped_secret()?,
        None => prompt::secret("Password: ").await?,
    };
    if password.is_empty() {
        return Err(Failure::usage("The password is empty"));
    }
    Ok((username, password))
}
