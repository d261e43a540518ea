//! `isula network ls`: the networks that there are.

use clap::Command;
use cri_api::isula::v1::{ListNetworksRequest, Network};
use serde_json::{Value, json};

use super::{Invocation, Verb};
use crate::failure::{Failure, GENERAL};
use crate::text::listing::Listing;
use crate::{client, flag, output};

pub(super) const VERB: Verb = Verb {
    name: "ls",
    about: "List networks",
    usage: "ls [OPTIONS]",
    refusal: GENERAL,
    hidden: false,
    flags,
    run: |invocation| Box::pin(run(invocation)),
};

const DEFAULT: &str = r"table {{.Name}}\t{{.Version}}\t{{.Plugin}}";
const FILTERS: [&str; 2] = ["name", "plugin"];

fn flags(command: Command) -> Command {
    command
        .arg(flag::switch("quiet", "Names only").short('q'))
        .arg(flag::list("filter", "KEY=VALUE", "name, plugin").short('f'))
        .arg(flag::value("format", "TEMPLATE", "table TEMPLATE, TEMPLATE or json"))
}

async fn run(Invocation { matches, daemon, .. }: Invocation) -> Result<u8, Failure> {
    let request = ListNetworksRequest { filters: flag::filters(&matches, &FILTERS)? };
    let listing =
        Listing::new(flag::text(&matches, "format"), DEFAULT, str::to_uppercase, &fields(&Network::default()))?;
    let client = daemon.connect().await?;
    let answer = client::read(client.networks().list(request)).await?;
    let mut networks = answer.networks;
    networks.sort_by(|one, other| one.name.cmp(&other.name));
    let text = if flag::is_on(&matches, "quiet") {
        networks.iter().map(|network| format!("{}\n", network.name)).collect()
    } else {
        listing.render(networks.iter().map(fields))?
    };
    for warning in answer.warnings {
        output::complain(&format!("WARNING: {warning}"));
    }
    output::write(&text)?;
    Ok(0)
}

fn fields(network: &Network) -> Value {
    json!({
        "Name": network.name,
        "Version": network.version,
        "Plugin": network.plugins.join(","),
    })
}
