//! `isula history`: the steps that made an image, the newest first.

use clap::Command;
use cri_api::isula::v1::{HistoryEntry, ImageRequest};
use serde_json::{Value, json};

use super::{Invocation, Verb, shown_id};
use crate::failure::{Failure, GENERAL};
use crate::text::listing::Listing;
use crate::text::{cut, elapsed, moment, size};
use crate::{client, flag, output, targets};

pub(crate) const VERB: Verb = Verb {
    name: "history",
    about: "Show the steps that made an image",
    usage: "history [OPTIONS] IMAGE",
    refusal: GENERAL,
    hidden: false,
    flags,
    run: |invocation| Box::pin(run(invocation)),
};

const DEFAULT: &str = r"table {{.ID}}\t{{.CreatedSince}}\t{{.CreatedBy}}\t{{.Size}}\t{{.Comment}}";
/// Stands for the id of a step without a known image: of all steps but the newest.
const MISSING: &str = "<missing>";
const CREATED_BY: usize = 45;

fn flags(command: Command) -> Command {
    command
        .arg(flag::switch("quiet", "Ids only").short('q'))
        .arg(flag::switch("no-trunc", "Ids and commands in full"))
        .arg(flag::value("format", "TEMPLATE", "table TEMPLATE, TEMPLATE or json"))
        .arg(flag::words("IMAGE"))
}

async fn run(Invocation { name: verb, matches, daemon }: Invocation) -> Result<u8, Failure> {
    let [image] = targets::exactly(&matches, &verb)?;
    let full = flag::is_on(&matches, "no-trunc");
    let sample = fields(&HistoryEntry::default(), 0, full);
    let listing = Listing::new(flag::text(&matches, "format"), DEFAULT, title, &sample)?;
    let client = daemon.connect().await?;
    let entries = client::read(client.images().history(ImageRequest { image })).await?.entries;
    let text = if flag::is_on(&matches, "quiet") {
        entries.iter().map(|entry| id(entry, full) + "\n").collect()
    } else {
        let now = moment::now();
        listing.render(entries.iter().map(|entry| fields(entry, now, full)))?
    };
    output::write(&text)?;
    Ok(0)
}

fn title(field: &str) -> String {
    match field {
        "ID" => "IMAGE".to_owned(),
        "CreatedSince" => "CREATED".to_owned(),
        "CreatedAt" => "CREATED AT".to_owned(),
        "CreatedBy" => "CREATED BY".to_owned(),
        other => other.to_uppercase(),
    }
}

fn id(entry: &HistoryEntry, full: bool) -> String {
    if entry.id.is_empty() { MISSING.to_owned() } else { shown_id(&entry.id, full) }
}

fn fields(entry: &HistoryEntry, now: i64, full: bool) -> Value {
    json!({
        "ID": id(entry, full),
        "CreatedSince": elapsed::ago(entry.created_at, now),
        "CreatedAt": moment::local_seconds(entry.created_at),
        "CreatedBy": if full { entry.created_by.clone() } else { cut(&entry.created_by, CREATED_BY) },
        "Size": size::shown(entry.size),
        "Comment": entry.comment,
        "Tags": entry.tags.join(","),
    })
}
