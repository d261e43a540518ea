//! `isula top`: the processes of a running container.

use clap::Command;
use cri_api::isula::v1::{TopRequest, TopResponse};

use super::{Invocation, Verb};
use crate::failure::{Failure, GENERAL};
use crate::text::{one_line, table};
use crate::{client, flag, output};

pub(super) const VERB: Verb = Verb {
    name: "top",
    about: "List the processes of a container",
    usage: "top CONTAINER [ps OPTIONS]",
    refusal: GENERAL,
    hidden: false,
    flags,
    run: |invocation| Box::pin(run(invocation)),
};

fn flags(command: Command) -> Command {
    command.arg(flag::command_words("CONTAINER"))
}

async fn run(Invocation { name: verb, matches, daemon }: Invocation) -> Result<u8, Failure> {
    let mut words = flag::given_words(&matches).into_iter();
    let Some(container) = words.next() else {
        let message = format!("\"{verb}\" requires a minimum of 1 argument.\nSee 'isula {verb} --help'.");
        return Err(Failure::usage(message));
    };
    let client = daemon.connect().await?;
    let answer = client::read(client.usage().top(TopRequest { container, ps_options: words.collect() })).await?;
    output::write(&shown(&answer))?;
    Ok(0)
}

/// A tab in a command line would be a column of its own, a newline a process.
fn shown(answer: &TopResponse) -> String {
    let cell = |cell: &String| one_line(&cell.replace('\t', " ")).into_owned();
    let line = |cells: &[String]| cells.iter().map(cell).collect::<Vec<_>>().join("\t");
    let rows: Vec<String> =
        std::iter::once(line(&answer.titles)).chain(answer.rows.iter().map(|row| line(&row.cells))).collect();
    table::aligned(&rows).lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

#[cfg(test)]
mod tests {
    use cri_api::isula::v1::top_response::Row;

    use super::*;

    #[test]
    fn columns_are_aligned() {
        let cells = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let rows = ["root 1 a\tb", "daemon 12345 sh\n\x1b[2J"].map(|row| Row { cells: cells(row) });
        let answer = TopResponse { titles: cells("UID PID CMD"), rows: rows.to_vec() };
        assert_eq!(shown(&answer), "UID   \tPID  \tCMD\nroot  \t1    \ta b\ndaemon\t12345\tsh\\n\\u001b[2J\n");
    }
}
