//! The kinds of flags, so that every command takes them in the same spellings:
//! `--x=v`, `--x v`, `-xv`, `-x=v`, `-x v`; switches as `-x`, `--x` and `--x=true|false`, short ones in clusters.

use clap::{Arg, ArgAction, ArgMatches};
use cri_api::isula::v1::Filter;

use crate::failure::Failure;

/// A flag that is on, off, or absent (off).
pub(crate) fn switch(long: &'static str, help: &'static str) -> Arg {
    Arg::new(long)
        .long(long)
        .help(help)
        .action(ArgAction::Set)
        .num_args(0..=1)
        .require_equals(true)
        .default_missing_value("true")
        .value_parser(clap::value_parser!(bool))
        .hide_possible_values(true)
        .value_name("BOOL")
}

/// A flag with one value; the last one given counts. A value may begin with a dash.
pub(crate) fn value(long: &'static str, value_name: &'static str, help: &'static str) -> Arg {
    Arg::new(long).long(long).help(help).value_name(value_name).allow_hyphen_values(true).action(ArgAction::Set)
}

/// A flag that may be given several times.
pub(crate) fn list(long: &'static str, value_name: &'static str, help: &'static str) -> Arg {
    value(long, value_name, help).action(ArgAction::Append)
}

/// The words after the flags. Parsing of flags goes on between them.
pub(crate) fn words(value_name: &'static str) -> Arg {
    // The usage line shows them.
    Arg::new(WORDS).value_name(value_name).num_args(0..).action(ArgAction::Append).hide(true)
}

/// The words after the flags, which end at the first word: the words after it belong to the container.
pub(crate) fn command_words(value_name: &'static str) -> Arg {
    words(value_name).trailing_var_arg(true)
}

const WORDS: &str = "words";

/// Whether a switch is on.
pub(crate) fn is_on(matches: &ArgMatches, long: &str) -> bool {
    matches.get_one::<bool>(long).copied().unwrap_or(false)
}

/// The value of a flag without a parser of its own.
pub(crate) fn text<'a>(matches: &'a ArgMatches, long: &str) -> Option<&'a str> {
    matches.get_one::<String>(long).map(String::as_str)
}

/// The same, empty when absent.
pub(crate) fn text_or_empty(matches: &ArgMatches, long: &str) -> String {
    text(matches, long).unwrap_or_default().to_owned()
}

/// All values of a flag, in order.
pub(crate) fn texts<'a>(matches: &'a ArgMatches, long: &str) -> impl Iterator<Item = &'a str> + use<'a> {
    matches.get_many::<String>(long).unwrap_or_default().map(String::as_str)
}

/// All values of a flag, in order, owned.
pub(crate) fn owned(matches: &ArgMatches, long: &str) -> Vec<String> {
    texts(matches, long).map(str::to_owned).collect()
}

/// The values of `--filter`, which must be of these keys.
pub(crate) fn filters(matches: &ArgMatches, known: &[&str]) -> Result<Vec<Filter>, Failure> {
    texts(matches, "filter").map(|given| filter(given, known)).collect()
}

/// One `KEY=VALUE` of `--filter`.
pub(crate) fn filter(given: &str, known: &[&str]) -> Result<Filter, Failure> {
    let complain = |reason: &str| Failure::usage(format!("Invalid value \"{given}\" for flag --filter: {reason}"));
    let (key, value) = given.split_once('=').ok_or_else(|| complain("want KEY=VALUE"))?;
    if !known.contains(&key) {
        return Err(complain(&format!("unknown key '{key}'; known are {}", known.join(", "))));
    }
    Ok(Filter { key: key.to_owned(), value: value.to_owned() })
}

/// The words after the flags.
pub(crate) fn given_words(matches: &ArgMatches) -> Vec<String> {
    owned(matches, WORDS)
}
