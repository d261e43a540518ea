//! `isula network create`: makes a network and prints its name.

use std::net::IpAddr;

use clap::Command;
use cri_api::isula::v1::CreateNetworkRequest;

use super::{Invocation, Verb};
use crate::failure::{Failure, GENERAL};
use crate::{flag, output};

pub(super) const VERB: Verb = Verb {
    name: "create",
    about: "Create a network",
    usage: "create [OPTIONS] [NAME]",
    refusal: GENERAL,
    hidden: false,
    flags,
    run: |invocation| Box::pin(run(invocation)),
};

fn flags(command: Command) -> Command {
    command
        .arg(flag::value("driver", "DRIVER", "bridge, the only one there is").short('d'))
        .arg(flag::value("subnet", "CIDR", "Such as 10.1.0.0/16 [default: one that nobody on this host uses]"))
        .arg(flag::value("gateway", "ADDRESS", "The host's address in it [default: the first]"))
        .arg(flag::switch("internal", "Without a way out of this host"))
        .arg(flag::words("NAME"))
}

async fn run(Invocation { name: verb, matches, daemon }: Invocation) -> Result<u8, Failure> {
    let mut words = flag::given_words(&matches);
    if words.len() > 1 {
        return Err(Failure::usage(format!("\"{verb}\" requires at most 1 argument.\nSee 'isula {verb} --help'.")));
    }
    let gateway = flag::text_or_empty(&matches, "gateway");
    if !gateway.is_empty() && gateway.parse::<IpAddr>().is_err() {
        return Err(Failure::usage(format!("Invalid value \"{gateway}\" for flag --gateway: it is not an IP address")));
    }
    let request = CreateNetworkRequest {
        name: words.pop().unwrap_or_default(),
        driver: flag::text_or_empty(&matches, "driver"),
        subnet: flag::text_or_empty(&matches, "subnet"),
        gateway,
        internal: flag::is_on(&matches, "internal"),
    };
    let client = daemon.connect().await?;
    let created = client.networks().create(request).await?.into_inner();
    output::line(&created.name)?;
    Ok(0)
}
