//! `isula logs`: a container's log, each line on the stream that the container wrote it to.

use std::io::Write;

use clap::Command;
use cri_api::isula::v1::{LogPiece, LogsRequest};

use super::{Invocation, Verb};
use crate::failure::{Failure, GENERAL};
use crate::text::moment;
use crate::{flag, targets};

pub(super) const VERB: Verb = Verb {
    name: "logs",
    about: "Show the output of a container",
    usage: "logs [OPTIONS] CONTAINER",
    refusal: GENERAL,
    hidden: false,
    flags,
    run: |invocation| Box::pin(run(invocation)),
};

/// How many of the last lines: all of them when absent.
#[derive(Clone, Copy)]
struct Tail(Option<u64>);

fn flags(command: Command) -> Command {
    let time = |long, help| flag::value(long, "TIME", help).value_parser(time);
    command
        .arg(flag::switch("follow", "Go on until the container stops").short('f'))
        .arg(flag::value("tail", "N", "The last N lines, or all").short('n').value_parser(tail))
        .arg(flag::switch("timestamps", "Begin each line with its time").short('t'))
        .arg(time("since", "From here: a time, unix seconds, or how long ago (10m)"))
        .arg(time("until", "Up to here"))
        .arg(flag::words("CONTAINER"))
}

fn tail(text: &str) -> Result<Tail, &'static str> {
    match text {
        "all" | "-1" => Ok(Tail(None)),
        number => number.parse().map(|count| Tail(Some(count))).map_err(|_| "want a number or all"),
    }
}

fn time(text: &str) -> Result<i64, &'static str> {
    moment::parse(text, moment::now())
}

async fn run(Invocation { matches, daemon, .. }: Invocation) -> Result<u8, Failure> {
    let [container] = targets::exactly(&matches, VERB.name)?;
    let request = LogsRequest {
        container,
        follow: flag::is_on(&matches, "follow"),
        tail: matches.get_one::<Tail>("tail").and_then(|tail| tail.0),
        since: matches.get_one("since").copied().unwrap_or(0),
        until: matches.get_one("until").copied().unwrap_or(0),
        timestamps: flag::is_on(&matches, "timestamps"),
    };
    let client = daemon.connect().await?;
    let mut batches = client.containers().logs(request).await?.into_inner();
    while let Some(batch) = batches.message().await? {
        batch.pieces.iter().try_for_each(print).map_err(Failure::output)?;
    }
    Ok(0)
}

fn print(piece: &LogPiece) -> std::io::Result<()> {
    if piece.stderr {
        return std::io::stderr().lock().write_all(&piece.text);
    }
    let mut out = std::io::stdout().lock();
    out.write_all(&piece.text)?;
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tails() {
        for (text, wanted) in [("all", Ok(None)), ("-1", Ok(None)), ("0", Ok(Some(0))), ("12", Ok(Some(12)))] {
            assert_eq!(tail(text).map(|tail| tail.0), wanted, "{text}");
        }
        assert!(tail("x").is_err() && tail("-2").is_err());
    }
}
