//! When an image is pulled for a new container.

use clap::{Arg, ArgMatches};

use crate::flag;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Pull {
    Always,
    #[default]
    Missing,
    Never,
}

pub(super) fn flag() -> Arg {
    flag::value("pull", "WHEN", "Pull the image: always, missing or never [default: missing]").value_parser(parse)
}

fn parse(text: &str) -> Result<Pull, &'static str> {
    match text {
        "always" => Ok(Pull::Always),
        "missing" => Ok(Pull::Missing),
        "never" => Ok(Pull::Never),
        _ => Err("known are always, missing and never"),
    }
}

impl Pull {
    pub(crate) fn of(matches: &ArgMatches) -> Self {
        matches.get_one("pull").copied().unwrap_or_default()
    }
}
