//! `isula image prune`: removes unused images.

use clap::{ArgMatches, Command};
use cri_api::isula::v1::{Filter, PruneImagesRequest};

use super::{Invocation, Verb, removed_lines};
use crate::failure::{Failure, GENERAL};
use crate::text::{moment, size};
use crate::{flag, output, prompt};

pub(crate) const VERB: Verb = Verb {
    name: "prune",
    about: "Remove images that nobody needs",
    usage: "prune [OPTIONS]",
    refusal: GENERAL,
    hidden: false,
    flags,
    run: |invocation| Box::pin(run(invocation)),
};

const FILTERS: [&str; 2] = ["until", "label"];

fn flags(command: Command) -> Command {
    command
        .arg(flag::switch("all", "Also images that have names and no container").short('a'))
        .arg(flag::switch("force", "Do not ask").short('f'))
        .arg(flag::list("filter", "KEY=VALUE", "until (a time, or how long ago: 24h), label"))
}

async fn run(Invocation { matches, daemon, .. }: Invocation) -> Result<u8, Failure> {
    let all = flag::is_on(&matches, "all");
    let filters = filters(&matches, moment::now())?;
    let what = if all { "all images that no container uses" } else { "all images without a name" };
    if !flag::is_on(&matches, "force") {
        prompt::consent(&format!("WARNING! This will remove {what}.")).await?;
    }
    let client = daemon.connect().await?;
    let pruned = client.images().prune(PruneImagesRequest { all, filters }).await?.into_inner();
    let mut lines = removed_lines(&pruned.untagged, &pruned.deleted);
    if !lines.is_empty() {
        lines.insert(0, "Deleted Images:".to_owned());
        lines.push(String::new());
    }
    lines.push(format!("Total reclaimed space: {}", size::shown(pruned.reclaimed)));
    output::line(&lines.join("\n"))?;
    Ok(0)
}

/// A time is typed in many ways; the daemon knows one.
fn filters(matches: &ArgMatches, now: i64) -> Result<Vec<Filter>, Failure> {
    let mut filters = flag::filters(matches, &FILTERS)?;
    for filter in filters.iter_mut().filter(|filter| filter.key == "until") {
        let time = moment::parse(&filter.value, now).map_err(|reason| {
            Failure::usage(format!("Invalid value \"until={}\" for flag --filter: {reason}", filter.value))
        })?;
        filter.value = time.to_string();
    }
    Ok(filters)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_become_nanoseconds() {
        let parsed = |words: &[&str]| {
            let matches = flags(Command::new("prune").no_binary_name(true)).try_get_matches_from(words).unwrap();
            filters(&matches, 100_000_000_000).map_err(|failure| failure.to_string())
        };
        let filter = |key: &str, value: &str| Filter { key: key.into(), value: value.into() };
        let wanted = vec![filter("until", "40000000000"), filter("label", "a=b")];
        assert_eq!(parsed(&["--filter=until=1m", "--filter", "label=a=b"]), Ok(wanted));
        assert!(
            parsed(&["--filter=until=x"]).unwrap_err().starts_with("Invalid value \"until=x\" for flag --filter: ")
        );
    }
}
