//! `isula ps`: containers in a table, or in any shape that a template gives.

use std::cmp::Reverse;

use clap::{ArgMatches, Command, value_parser};
use cri_api::isula::v1::{ContainerSummary, ListRequest};

use super::{Invocation, Verb};
use crate::failure::{Failure, GENERAL};
use crate::text::listing::Listing;
use crate::text::moment;
use crate::{client, flag, output};

mod row;

pub(super) const VERB: Verb = Verb {
    name: "ps",
    about: "List containers",
    usage: "ps [OPTIONS]",
    refusal: GENERAL,
    hidden: false,
    flags,
    run: |invocation| Box::pin(run(invocation)),
};

const DEFAULT: &str = r"table {{.ID}}\t{{.Image}}\t{{.Command}}\t{{.Created}}\t{{.Status}}\t{{.Ports}}\t{{.Names}}";
const FILTERS: [&str; 9] = ["id", "name", "label", "status", "health", "ancestor", "exited", "before", "since"];

fn flags(command: Command) -> Command {
    command
        .arg(flag::switch("all", "Also those that are not running").short('a'))
        .arg(flag::value("last", "N", "The newest N, in any state").short('n').value_parser(value_parser!(i64)))
        .arg(flag::switch("latest", "The newest, in any state").short('l'))
        .arg(flag::switch("quiet", "Ids only").short('q'))
        .arg(
            flag::list(
                "filter",
                "KEY=VALUE",
                "id, name (a piece of it, or ^NAME$), label, status, health, ancestor, exited, before, since",
            )
            .short('f'),
        )
        .arg(flag::switch("no-trunc", "Ids and commands in full"))
        .arg(flag::value("format", "TEMPLATE", "table TEMPLATE, TEMPLATE or json"))
}

async fn run(Invocation { matches, daemon, .. }: Invocation) -> Result<u8, Failure> {
    let request = request(&matches)?;
    let ordered_by_daemon = request.last > 0;
    let shape = Shape::of(&matches)?;
    let client = daemon.connect().await?;
    let mut containers = client::read(client.containers().list(request)).await?.containers;
    if !ordered_by_daemon {
        containers.sort_by_key(|container| (Reverse(container.started_at), Reverse(container.created_at)));
    }
    let text = shape.render(&containers, moment::now())?;
    output::write(&text)?;
    Ok(0)
}

fn request(matches: &ArgMatches) -> Result<ListRequest, Failure> {
    let filters = flag::filters(matches, &FILTERS)?;
    let last = match matches.get_one::<i64>("last") {
        Some(&last) => u32::try_from(last).unwrap_or(0),
        None => u32::from(flag::is_on(matches, "latest")),
    };
    // A template that names them, or shows all there is.
    let format = flag::text(matches, "format").unwrap_or_default();
    let labels = ["Labels", "json"].iter().any(|word| format.contains(word));
    Ok(ListRequest { all: flag::is_on(matches, "all"), last, filters, labels })
}

/// The columns and the form of the list.
struct Shape {
    full: bool,
    listing: Option<Listing>,
}

impl Shape {
    fn of(matches: &ArgMatches) -> Result<Self, Failure> {
        let full = flag::is_on(matches, "no-trunc");
        if flag::is_on(matches, "quiet") {
            return Ok(Self { full, listing: None });
        }
        let sample = row::fields(&ContainerSummary::default(), 0, full);
        let listing = Listing::new(flag::text(matches, "format"), DEFAULT, row::title, &sample)?;
        Ok(Self { full, listing: Some(listing) })
    }

    fn render(&self, containers: &[ContainerSummary], now: i64) -> Result<String, Failure> {
        match &self.listing {
            None => Ok(containers.iter().map(|one| row::id(one, self.full) + "\n").collect()),
            Some(listing) => listing.render(containers.iter().map(|one| row::fields(one, now, self.full))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn containers() -> Vec<ContainerSummary> {
        let one = |id: char, name: &str, image: &str, command: &str, state: &str| ContainerSummary {
            id: id.to_string().repeat(64),
            name: name.into(),
            image: image.into(),
            command: command.into(),
            state: state.into(),
            created_at: 1,
            ..ContainerSummary::default()
        };
        vec![one('a', "first", "busybox", "sh", "inited"), one('b', "n", "", "/bin/sleep infinity and on", "inited")]
    }

    fn shown(words: &[&str]) -> Result<String, String> {
        let matches = flags(Command::new("ps").no_binary_name(true)).try_get_matches_from(words).unwrap();
        let shape = Shape::of(&matches).map_err(|failure| failure.to_string())?;
        shape.render(&containers(), 5_000_000_001).map_err(|failure| failure.to_string())
    }

    #[test]
    fn the_table() {
        let wanted = "CONTAINER ID\tIMAGE  \tCOMMAND               \tCREATED      \tSTATUS \tPORTS\tNAMES\n\
                      aaaaaaaaaaaa\tbusybox\t\"sh\"                  \t5 seconds ago\tCreated\t     \tfirst\n\
                      bbbbbbbbbbbb\tnone   \t\"/bin/sleep infini...\"\t5 seconds ago\tCreated\t     \tn    \n";
        assert_eq!(shown(&[]).unwrap(), wanted);
        assert_eq!(shown(&["--format", "table"]).unwrap(), wanted);
    }

    #[test]
    fn other_shapes() {
        assert_eq!(shown(&["-q"]).unwrap(), "aaaaaaaaaaaa\nbbbbbbbbbbbb\n");
        assert_eq!(shown(&["-q", "--no-trunc"]).unwrap(), format!("{}\n{}\n", "a".repeat(64), "b".repeat(64)));
        assert_eq!(shown(&["--format", "{{.Names}} {{.State}}"]).unwrap(), "first inited\nn inited\n");
        assert_eq!(
            shown(&["--format", r"table {{.Names}}\t{{.ExitCode}}"]).unwrap(),
            "NAMES\tEXIT_CODE\nfirst\t0        \nn    \t0        \n"
        );
        let full = shown(&["--no-trunc", "--format", "{{.Command}}"]).unwrap();
        assert_eq!(full, "\"sh\"\n\"/bin/sleep infinity and on\"\n");
        let json = shown(&["--format=json"]).unwrap();
        let first: serde_json::Value = serde_json::from_str(json.lines().next().unwrap()).unwrap();
        assert_eq!((&first["ID"], &first["Names"]), (&"aaaaaaaaaaaa".into(), &"first".into()));
    }

    #[test]
    fn a_field_that_is_not_there() {
        assert_eq!(shown(&["--format={{.Bogus}}"]).unwrap_err(), "template error: there is no field .Bogus");
    }
}
