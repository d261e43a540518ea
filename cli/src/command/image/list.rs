//! `isula images`: the images that are here, a row for each of their names.

use std::cmp::Reverse;

use clap::{ArgMatches, Command};
use cri_api::isula::v1::{ImageSummary, ListImagesRequest};

use super::{Invocation, Verb, shown_id};
use crate::failure::{Failure, GENERAL};
use crate::text::listing::Listing;
use crate::text::moment;
use crate::{client, flag, output};

mod row;

pub(crate) const VERB: Verb = Verb {
    name: "images",
    about: "List images",
    usage: "images [OPTIONS]",
    refusal: GENERAL,
    hidden: false,
    flags,
    run: |invocation| Box::pin(run(invocation)),
};

const DEFAULT: &str = r"table {{.Repository}}\t{{.Tag}}\t{{.ID}}\t{{.Created}}\t{{.Size}}";
const WITH_DIGESTS: &str = r"table {{.Repository}}\t{{.Tag}}\t{{.Digest}}\t{{.ID}}\t{{.Created}}\t{{.Size}}";
const FILTERS: [&str; 6] = ["dangling", "label", "before", "since", "reference", "id"];

fn flags(command: Command) -> Command {
    command
        .arg(flag::switch("quiet", "Ids only").short('q'))
        .arg(flag::list("filter", "KEY=VALUE", "dangling, label, before, since, reference, id").short('f'))
        .arg(flag::switch("no-trunc", "Ids in full"))
        .arg(flag::switch("digests", "Also the digests that names stand for"))
        .arg(flag::value("format", "TEMPLATE", "table TEMPLATE, TEMPLATE or json"))
}

async fn run(Invocation { matches, daemon, .. }: Invocation) -> Result<u8, Failure> {
    let request = ListImagesRequest { filters: flag::filters(&matches, &FILTERS)? };
    let shape = Shape::of(&matches)?;
    let client = daemon.connect().await?;
    let mut images = client::read(client.images().list(request)).await?.images;
    images.sort_by_key(|image| Reverse(image.created_at));
    let text = shape.render(&images, moment::now())?;
    output::write(&text)?;
    Ok(0)
}

/// The columns and the form of the list.
struct Shape {
    full: bool,
    digests: bool,
    listing: Option<Listing>,
}

impl Shape {
    fn of(matches: &ArgMatches) -> Result<Self, Failure> {
        let (full, digests) = (flag::is_on(matches, "no-trunc"), flag::is_on(matches, "digests"));
        if flag::is_on(matches, "quiet") {
            return Ok(Self { full, digests, listing: None });
        }
        let sample = row::fields(&ImageSummary::default(), &row::Name::default(), 0, full);
        let default = if digests { WITH_DIGESTS } else { DEFAULT };
        let format = flag::text(matches, "format");
        let listing = Listing::new(format, default, row::title, &sample)?;
        // A template that names them wants them.
        let digests = digests || format.is_some_and(|format| format.contains(".Digest"));
        Ok(Self { full, digests, listing: Some(listing) })
    }

    fn render(&self, images: &[ImageSummary], now: i64) -> Result<String, Failure> {
        match &self.listing {
            // One line for an image with several names: ids are for passing on to another command.
            None => Ok(images.iter().map(|image| shown_id(&image.id, self.full) + "\n").collect()),
            Some(listing) => {
                let names = |image| row::names(image, self.digests).into_iter().map(move |name| (image, name));
                let rows = images.iter().flat_map(names);
                listing.render(rows.map(|(image, name)| row::fields(image, &name, now, self.full)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn images() -> Vec<ImageSummary> {
        let named = ImageSummary {
            id: format!("sha256:{}", "a".repeat(64)),
            tags: vec!["busybox:latest".into(), "host:5000/b:1".into()],
            digests: vec!["busybox@sha256:cc".into()],
            size: 12_944_671,
            created_at: 1_136_214_245_000_000_000,
            ..ImageSummary::default()
        };
        let dangling = ImageSummary { id: format!("sha256:{}", "b".repeat(64)), size: 7, ..ImageSummary::default() };
        vec![named, dangling]
    }

    fn shown(words: &[&str]) -> Result<String, String> {
        let matches = flags(Command::new("images").no_binary_name(true)).try_get_matches_from(words).unwrap();
        let shape = Shape::of(&matches).map_err(|failure| failure.to_string())?;
        shape.render(&images(), 0).map_err(|failure| failure.to_string())
    }

    #[test]
    fn ids() {
        assert_eq!(shown(&["-q"]).unwrap(), "aaaaaaaaaaaa\nbbbbbbbbbbbb\n");
        let full = format!("sha256:{}\nsha256:{}\n", "a".repeat(64), "b".repeat(64));
        assert_eq!(shown(&["-q", "--no-trunc"]).unwrap(), full);
    }

    #[test]
    fn digests_are_shown_when_asked_for() {
        let format = "--format={{.Repository}} {{.Tag}} {{.Digest}}";
        let wanted = "busybox latest sha256:cc\nhost:5000/b 1 <none>\n<none> <none> <none>\n";
        assert_eq!(shown(&[format]).unwrap(), wanted);
        assert!(shown(&["--digests"]).unwrap().starts_with("REPOSITORY "));
        assert!(shown(&["--digests"]).unwrap().lines().next().unwrap().contains("\tDIGEST"));
        assert_eq!(shown(&["--format={{.Bogus}}"]).unwrap_err(), "template error: there is no field .Bogus");
    }

    #[test]
    fn json() {
        let json = shown(&["--format=json"]).unwrap();
        let first: serde_json::Value = serde_json::from_str(json.lines().next().unwrap()).unwrap();
        assert_eq!(
            (&first["ID"], &first["Tag"], &first["Size"]),
            (&"aaaaaaaaaaaa".into(), &"latest".into(), &"12.345MB".into())
        );
        assert_eq!(json.lines().count(), 3);
    }
}
