//! `isula volume create`: makes a volume and prints its name.

use std::collections::HashMap;

use clap::Command;
use cri_api::isula::v1::CreateVolumeRequest;

use super::{Invocation, Verb};
use crate::container::label;
use crate::failure::{Failure, GENERAL};
use crate::{flag, output};

pub(super) const VERB: Verb = Verb {
    name: "create",
    about: "Create a volume",
    usage: "create [OPTIONS] [NAME]",
    refusal: GENERAL,
    hidden: false,
    flags,
    run: |invocation| Box::pin(run(invocation)),
};

fn flags(command: Command) -> Command {
    command
        .arg(flag::list("label", "KEY[=VALUE]", "Label of the volume").short('l'))
        .arg(flag::value("driver", "DRIVER", "local, the only one there is").short('d'))
        .arg(flag::value("name", "NAME", "The same as the word").hide(true))
        .arg(flag::words("NAME"))
}

async fn run(Invocation { name: verb, matches, daemon }: Invocation) -> Result<u8, Failure> {
    let mut words = flag::given_words(&matches);
    words.extend(flag::text(&matches, "name").map(str::to_owned));
    if words.len() > 1 {
        return Err(Failure::usage(format!("\"{verb}\" requires at most 1 argument.\nSee 'isula {verb} --help'.")));
    }
    let mut labels = HashMap::new();
    for given in flag::texts(&matches, "label") {
        label::insert(&mut labels, given)
            .map_err(|reason| Failure::usage(format!("Invalid value \"{given}\" for flag --label: {reason}")))?;
    }
    let name = words.pop().unwrap_or_default();
    let request = CreateVolumeRequest { name, driver: flag::text_or_empty(&matches, "driver"), labels };
    let client = daemon.connect().await?;
    let volume = client.volumes().create(request).await?.into_inner();
    output::line(&volume.name)?;
    Ok(0)
}
