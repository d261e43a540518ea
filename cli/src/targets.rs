//! Commands that take several names: one that fails does not keep the others from being done.

use std::collections::HashSet;
use std::pin::pin;

use clap::ArgMatches;
use futures_util::stream::{self, StreamExt};

use crate::failure::{Failure, GENERAL};
use crate::{flag, output};

/// Names that are served at once: the work is the daemon's and the runtimes', which have a machine to share.
pub(crate) const AT_ONCE: usize = 16;

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

/// Runs `act` for each name in turn and prints its result; a refusal goes to stderr and makes the exit code 1. A lost
/// connection or a closed output ends it at once: the rest would fare no better.
pub(crate) async fn each<F>(names: &[String], mut act: F) -> Result<u8, Failure>
where
    F: AsyncFnMut(&str) -> Result<Option<String>, Failure>,
{
    let mut code = 0;
    for name in names {
        code = code.max(settle(act(name).await, |text| text.map_or(Ok(()), |text| output::line(&text)))?);
    }
    Ok(code)
}

/// The same with up to `at_once` names in parallel; lines are printed in the order of the names.
pub(crate) async fn each_at_once<F>(names: &[String], at_once: usize, act: F) -> Result<u8, Failure>
where
    F: AsyncFn(&str) -> Result<Option<String>, Failure>,
{
    show_each_at_once(names, at_once, act, |text| text.map_or(Ok(()), |text| output::line(&text))).await
}

/// The same for results other than a line for each name; `show` gets them in the order of the names.
pub(crate) async fn show_each_at_once<T, F>(
    names: &[String],
    at_once: usize,
    act: F,
    mut show: impl FnMut(T) -> Result<(), Failure>,
) -> Result<u8, Failure>
where
    F: AsyncFn(&str) -> Result<T, Failure>,
{
    // A name given twice is done a second time, not at the same time.
    let unique = names.iter().collect::<HashSet<_>>().len() == names.len();
    let answers = stream::iter(names).map(|name| act(name)).buffered(if unique { at_once } else { 1 });
    let mut answers = pin!(answers);
    let mut code = 0;
    while let Some(answer) = answers.next().await {
        code = code.max(settle(answer, &mut show)?);
    }
    Ok(code)
}

fn settle<T>(answer: Result<T, Failure>, mut show: impl FnMut(T) -> Result<(), Failure>) -> Result<u8, Failure> {
    match answer {
        Ok(answer) => show(answer).map(|()| 0),
        Err(failure @ (Failure::Daemon(_) | Failure::Silent(_) | Failure::Client(_))) => {
            failure.report();
            Ok(GENERAL)
        }
        Err(failure) => Err(failure),
    }
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};
    use std::time::Duration;

    use super::*;

    /// The results shown, the highest number in progress at once, and the exit code.
    async fn done(names: &[&str]) -> (Vec<String>, usize, u8) {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let (now, most, shown) = (Cell::new(0), Cell::new(0), RefCell::new(Vec::new()));
        let act = async |name: &str| {
            now.set(now.get() + 1);
            most.set(now.get().max(most.get()));
            // The first ones take longest.
            for _ in name.len()..4 {
                tokio::task::yield_now().await;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
            now.set(now.get() - 1);
            if name == "bad" { Err(Failure::Daemon("no".into())) } else { Ok(name.to_owned()) }
        };
        let show = |name| {
            shown.borrow_mut().push(name);
            Ok(())
        };
        let code = show_each_at_once(&names, 3, act, show).await.unwrap();
        (shown.into_inner(), most.get(), code)
    }

    #[tokio::test]
    async fn several_are_done_at_once_and_shown_in_order() {
        let (shown, most, code) = done(&["a", "bad", "bb", "cccc", "d"]).await;
        assert_eq!((shown.join(" ").as_str(), most, code), ("a bb cccc d", 3, GENERAL));
        let (shown, most, code) = done(&["a", "b", "a"]).await;
        assert_eq!((shown.join(" ").as_str(), most, code), ("a b a", 1, 0));
    }
}
