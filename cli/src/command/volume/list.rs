//! `isula volume ls`: the volumes that there are.

use clap::Command;
use cri_api::isula::v1::{ListVolumesRequest, Volume};
use serde_json::{Value, json};

use super::{Invocation, Verb};
use crate::failure::{Failure, GENERAL};
use crate::text::listing::Listing;
use crate::text::moment;
use crate::{client, flag, output};

pub(super) const VERB: Verb = Verb {
    name: "ls",
    about: "List volumes",
    usage: "ls [OPTIONS]",
    refusal: GENERAL,
    hidden: false,
    flags,
    run: |invocation| Box::pin(run(invocation)),
};

const DEFAULT: &str = r"table {{.Driver}}\t{{.Name}}";
const FILTERS: [&str; 4] = ["name", "driver", "label", "dangling"];

fn flags(command: Command) -> Command {
    command
        .arg(flag::switch("quiet", "Names only").short('q'))
        .arg(flag::list("filter", "KEY=VALUE", "name, driver, label, dangling").short('f'))
        .arg(flag::value("format", "TEMPLATE", "table TEMPLATE, TEMPLATE or json"))
}

async fn run(Invocation { matches, daemon, .. }: Invocation) -> Result<u8, Failure> {
    let request = ListVolumesRequest { filters: flag::filters(&matches, &FILTERS)? };
    let listing = Listing::new(flag::text(&matches, "format"), DEFAULT, title, &fields(&Volume::default()))?;
    let client = daemon.connect().await?;
    let mut volumes = client::read(client.volumes().list(request)).await?.volumes;
    volumes.sort_by(|one, other| one.name.cmp(&other.name));
    let text = if flag::is_on(&matches, "quiet") {
        volumes.iter().map(|volume| format!("{}\n", volume.name)).collect()
    } else {
        listing.render(volumes.iter().map(fields))?
    };
    output::write(&text)?;
    Ok(0)
}

fn title(field: &str) -> String {
    match field {
        "Name" => "VOLUME NAME".to_owned(),
        "CreatedAt" => "CREATED".to_owned(),
        other => other.to_uppercase(),
    }
}

fn fields(volume: &Volume) -> Value {
    let mut labels: Vec<String> = volume.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    labels.sort();
    json!({
        "Driver": volume.driver,
        "Name": volume.name,
        "Mountpoint": volume.mountpoint,
        "CreatedAt": moment::local_seconds(volume.created_at),
        "Labels": labels.join(","),
        "Anonymous": volume.anonymous,
        "Containers": volume.containers.len().to_string(),
    })
}
