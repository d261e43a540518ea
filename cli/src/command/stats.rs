//! `isula stats`: containers' use of resources, once or again and again.

use std::io::IsTerminal;

use clap::Command;
use cri_api::isula::v1::{StatsRequest, StatsResponse};

use super::{Invocation, Verb};
use crate::failure::{Failure, GENERAL};
use crate::interrupt::unless_interrupted;
use crate::{flag, output};

mod row;

pub(super) const VERB: Verb = Verb {
    name: "stats",
    about: "Show what containers use",
    usage: "stats [OPTIONS] [CONTAINER...]",
    refusal: GENERAL,
    hidden: false,
    flags,
    run: |invocation| Box::pin(run(invocation)),
};

fn flags(command: Command) -> Command {
    command
        .arg(flag::switch("all", "Also containers that do not run").short('a'))
        .arg(flag::switch("no-stream", "One round only"))
        .arg(flag::switch("original", "The counters as they are, in bytes and nanoseconds"))
        .arg(flag::words("CONTAINER"))
}

async fn run(Invocation { matches, daemon, .. }: Invocation) -> Result<u8, Failure> {
    let request = StatsRequest {
        containers: flag::given_words(&matches),
        all: flag::is_on(&matches, "all"),
        once: flag::is_on(&matches, "no-stream"),
        interval_ms: 0,
    };
    let on_terminal = std::io::stdout().is_terminal();
    let shape =
        Shape { original: flag::is_on(&matches, "original"), on_terminal, refresh: on_terminal && !request.once };
    let client = daemon.connect().await?;
    let showing = async {
        let mut rounds = client.usage().stats(request).await?.into_inner();
        while let Some(round) = rounds.message().await? {
            output::raw(shape.shown(&round).as_bytes())?;
        }
        Ok(())
    };
    unless_interrupted(showing).await?;
    Ok(0)
}

/// How a round is shown.
struct Shape {
    original: bool,
    on_terminal: bool,
    /// Each round takes the place of the one before.
    refresh: bool,
}

impl Shape {
    fn shown(&self, round: &StatsResponse) -> String {
        let (title, rows): (String, Vec<String>) = if self.original {
            (row::original_title(), round.containers.iter().map(row::original).collect())
        } else {
            (row::title(), round.containers.iter().map(row::shown).collect())
        };
        let title = if self.on_terminal { format!("\x1b[7m{title}\x1b[0m") } else { title };
        let before = if self.refresh { "\x1b[2J\x1b[H" } else { "" };
        let rows: String = rows.into_iter().map(|row| row + "\n").collect();
        format!("{before}{title}\n{rows}")
    }
}

#[cfg(test)]
mod tests {
    use cri_api::isula::v1::ContainerStats;

    use super::*;

    fn round() -> StatsResponse {
        let busy = ContainerStats {
            id: "a".repeat(64),
            state: "running".into(),
            cpu_percent: Some(12.345),
            cpu_usage: Some(99),
            memory_usage: Some(1 << 20),
            memory_limit: Some(1 << 22),
            block_read: Some(0),
            block_write: Some(2048),
            pids: Some(3),
            ..ContainerStats::default()
        };
        let ended = ContainerStats { id: "b".repeat(64), state: "exited".into(), ..ContainerStats::default() };
        StatsResponse { containers: vec![busy, ended] }
    }

    #[test]
    fn the_table() {
        let shape = Shape { original: false, on_terminal: false, refresh: false };
        let wanted = "\
CONTAINER        CPU %      MEM USAGE / LIMIT          MEM %      BLOCK I / O                PIDS
aaaaaaaaaaaa     12.35      1.000MB / 4.000MB          25.00      0B / 2.000KB               3
bbbbbbbbbbbb     --         -- / --                    --         -- / --                    --
";
        assert_eq!(shape.shown(&round()), wanted);
    }

    #[test]
    fn on_a_terminal_rounds_take_each_others_place() {
        let shown = Shape { original: false, on_terminal: true, refresh: true }.shown(&round());
        assert!(shown.starts_with("\x1b[2J\x1b[H\x1b[7mCONTAINER"), "{shown:?}");
        let shown = Shape { original: false, on_terminal: true, refresh: false }.shown(&round());
        assert!(shown.starts_with("\x1b[7mCONTAINER"), "{shown:?}");
    }

    #[test]
    fn the_counters_as_they_are() {
        let shown = Shape { original: true, on_terminal: false, refresh: false }.shown(&round());
        let lines: Vec<&str> = shown.lines().collect();
        assert_eq!(lines[0].split_whitespace().count(), lines[1].split_whitespace().count());
        assert!(lines[0].starts_with("CONTAINER\tCPU_USAGE\t") && lines[1].contains("\t1048576\t"), "{shown}");
        assert!(lines[2].contains("\t--"), "{shown}");
    }
}
