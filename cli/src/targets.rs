//! Commands that take several names: one that fails does not keep the others from being done.

use clap::ArgMatches;

use crate::failure::{Failure, GENERAL};
use crate::{flag, output};

/// The names given to a command that wants at least one.
pub(crate) fn names(matches: &ArgMatches, verb: &str) -> Result<Vec<String>, Failure> {
    let names = flag::given_words(matches);
    if names.is_empty() {
        return Err(Failure::usage(format!(
            "\"{verb}\" requires a minimum of 1 argument.\nSee 'isula {verb} --help'."
        )));
    }
    Ok(names)
}

/// The names given to a command that wants exactly `count`.
pub(crate) fn exactly<const N: usize>(matches: &ArgMatches, verb: &str) -> Result<[String; N], Failure> {
    let names = flag::given_words(matches);
    names.try_into().map_err(|_| {
        let plural = if N == 1 { "" } else { "s" };
        Failure::usage(format!("\"{verb}\" requires exactly {N} argument{plural}.\nSee 'isula {verb} --help'."))
    })
}

/// Does `act` for each name in turn. Prints what it returns; a refusal goes to stderr and makes the exit code 1.
/// A lost connection or a closed output ends it at once: the rest would fare no better.
pub(crate) async fn each<F>(names: &[String], mut act: F) -> Result<u8, Failure>
where
    F: AsyncFnMut(&str) -> Result<Option<String>, Failure>,
{
    let mut code = 0;
    for name in names {
        match act(name).await {
            Ok(Some(text)) => output::line(&text)?,
            Ok(None) => {}
            Err(failure @ (Failure::Daemon(_) | Failure::Silent(_) | Failure::Client(_))) => {
                failure.report();
                code = GENERAL;
            }
            Err(failure) => return Err(failure),
        }
    }
    Ok(code)
}
