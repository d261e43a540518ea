//! `isula start`: starts containers that exist; with `--attach`, one of them in the foreground.

use clap::Command;
use cri_api::isula::v1::StartRequest;

use super::attach::{self, SessionOptions};
use super::{Invocation, Verb};
use crate::failure::{Failure, GENERAL};
use crate::{flag, stream, targets};

pub(super) const VERB: Verb = Verb {
    name: "start",
    about: "Start containers",
    usage: "start [OPTIONS] CONTAINER [CONTAINER...]",
    refusal: GENERAL,
    hidden: false,
    flags,
    run: |invocation| Box::pin(run(invocation)),
};

fn flags(command: Command) -> Command {
    stream::flags(command)
        .arg(flag::switch("attach", "Stay attached and exit with the container's code").short('a'))
        .arg(flag::switch("interactive", "Stay attached, as --attach does").short('i'))
        .arg(flag::words("CONTAINER"))
}

async fn run(Invocation { matches, daemon, .. }: Invocation) -> Result<u8, Failure> {
    let names = targets::names(&matches, VERB.name)?;
    let attached = flag::is_on(&matches, "attach") || flag::is_on(&matches, "interactive");
    if attached && names.len() > 1 {
        return Err(Failure::usage("You cannot start and attach multiple containers at once."));
    }
    let options = SessionOptions::given(&matches, true)?;
    let client = daemon.connect().await?;
    if attached {
        let session = attach::session(&client, &names[0], options, true).await?;
        return stream::run(&client, session).await;
    }
    let mut failed = 0;
    let start = async |name: &str| {
        let answer = client.containers().start(StartRequest { container: name.to_owned() }).await?.into_inner();
        Ok(answer)
    };
    // In turn: a user who names a database before its dependants means that order.
    let refused = targets::show_each_at_once(&names, 1, start, |answer| {
        super::warn(&answer.warnings);
        if let Some(failure) = answer.failure {
            stream::start_failed(&failure);
            failed = GENERAL;
        }
        Ok(())
    })
    .await?;
    Ok(refused.max(failed))
}
