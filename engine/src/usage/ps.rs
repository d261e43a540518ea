//! Runs ps(1) of the host with a caller's options, and picks rows by their pids.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use engine_host::fs::locate;
use tokio::process::Command;

use super::Table;
use crate::helper::{self, HelperError, Limits};

const DEADLINE: Duration = Duration::from_secs(10);
/// Longer output is not taken for a list of processes.
const LONGEST: u64 = 16 << 20;
const MOST_OPTIONS: usize = 64;
const LONGEST_OPTION: usize = 1024;

#[derive(Debug, thiserror::Error)]
pub enum PsError {
    #[error("there is no ps on this host; without options none is needed")]
    Missing,
    #[error("more than {MOST_OPTIONS} options for ps, or one of more than {LONGEST_OPTION} bytes")]
    Options,
    #[error("cannot run ps")]
    Run { source: io::Error },
    #[error("ps did not end within {} s", DEADLINE.as_secs())]
    Slow,
    #[error("ps has failed: {message}")]
    Failed { message: String },
    #[error("ps prints more than {LONGEST} bytes")]
    TooMuch,
    #[error("these options for ps give no column `PID`, by which the container's processes are known")]
    NoPid,
    #[error("the pids cannot be told apart in what ps prints; put the column PID before those of free text")]
    Unclear,
}

/// Checks the options before ps is run.
pub(super) fn check(options: &[String]) -> Result<(), PsError> {
    let absurd = options.len() > MOST_OPTIONS || options.iter().any(|option| option.len() > LONGEST_OPTION);
    if absurd || options.iter().any(|option| option.contains('\0')) { Err(PsError::Options) } else { Ok(()) }
}

/// The output of ps.
#[derive(Debug)]
pub(super) struct Printed(String);

pub(super) async fn run(options: &[String]) -> Result<Printed, PsError> {
    let program = locate(Path::new("ps")).ok_or(PsError::Missing)?;
    let default = ["-ef".to_owned()];
    let options = if options.is_empty() { &default[..] } else { options };
    let mut command = Command::new(program);
    // The environment changes the output of ps.
    command.args(options).env_clear().env("LC_ALL", "C").env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let limits = Limits { deadline: DEADLINE, output: LONGEST, errors: 4096 };
    let output = helper::run(command, &[], limits).await.map_err(|error| match error {
        HelperError::Slow => PsError::Slow,
        HelperError::TooMuch => PsError::TooMuch,
        HelperError::Io(source) => PsError::Run { source },
    })?;
    if !output.status.success() {
        let message = String::from_utf8_lossy(&output.stderr);
        let first = message.lines().find(|line| !line.trim().is_empty());
        return Err(PsError::Failed { message: first.map_or_else(|| output.status.to_string(), str::to_owned) });
    }
    Ok(Printed(String::from_utf8_lossy(&output.stdout).into_owned()))
}

impl Printed {
    /// The rows of these processes. The last column takes the rest of a line.
    ///
    /// A process must not be able to choose its row: the pid is located by the number of words before it, and has to
    /// end in the column where its title ends, as ps aligns numbers.
    pub(super) fn of(&self, pids: &BTreeSet<i32>) -> Result<Table, PsError> {
        let mut lines = self.0.lines();
        let header = lines.next().unwrap_or_default();
        let titles = words(header);
        let place = titles.iter().position(|(_, title)| *title == "PID").ok_or(PsError::NoPid)?;
        let end = titles[place].0;
        let mut rows = Vec::new();
        for line in lines.filter(|line| !line.trim().is_empty()) {
            let words = words(line);
            let pid = words.get(place).filter(|(at, _)| *at == end).and_then(|(_, word)| word.parse::<i32>().ok());
            if pids.contains(&pid.ok_or(PsError::Unclear)?) {
                rows.push(cells(line, titles.len()));
            }
        }
        Ok(Table { titles: titles.iter().map(|(_, title)| (*title).to_owned()).collect(), rows })
    }
}

/// Each word with the column in which it ends.
fn words(line: &str) -> Vec<(usize, &str)> {
    let mut words = Vec::new();
    let mut column = 0;
    for part in line.split(' ') {
        column += part.chars().count();
        if !part.is_empty() {
            words.push((column, part));
        }
        column += 1;
    }
    words
}

fn cells(line: &str, count: usize) -> Vec<String> {
    let mut rest = line.trim();
    let mut cells = Vec::with_capacity(count);
    while cells.len() + 1 < count {
        let (word, left) = rest.split_once(' ').unwrap_or((rest, ""));
        cells.push(word.to_owned());
        rest = left.trim_start();
    }
    cells.push(rest.to_owned());
    cells
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(text: &str, pids: &[i32]) -> Result<Vec<Vec<String>>, String> {
        let table = Printed(text.to_owned()).of(&pids.iter().copied().collect());
        table.map(|table| table.rows).map_err(|error| error.to_string())
    }

    #[test]
    fn rows_are_picked_by_pid() {
        let text = "UID          PID    PPID CMD\nroot           1       0 /sbin/init 42\nroot          42       1 sleep  9\n\
                    daemon       420       1 [x]\n";
        assert_eq!(rows(text, &[42]).unwrap(), [["root", "42", "1", "sleep  9"]]);
        assert_eq!(rows(text, &[]).unwrap().len(), 0);
        assert_eq!(rows(text, &[1, 420]).unwrap().len(), 2);
    }

    #[test]
    fn output_without_pids_is_refused() {
        assert!(rows("COMMAND\nsh\n", &[1]).unwrap_err().contains("no column `PID`"));
        assert!(rows("", &[1]).unwrap_err().contains("no column `PID`"));
    }

    #[test]
    fn a_process_cannot_choose_its_row() {
        let text = "COMMAND                         PID\nsleep 9                          42\nsh                               43\n";
        assert!(rows(text, &[9]).unwrap_err().contains("cannot be told apart"));
    }

    #[tokio::test]
    async fn options_are_for_ps_alone() {
        let own = std::process::id() as i32;
        let options = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let table = run(&[]).await.unwrap().of(&BTreeSet::from([own])).unwrap();
        assert_eq!(table.rows.len(), 1);
        let table = run(&options("-A -o pid,args")).await.unwrap().of(&BTreeSet::from([own])).unwrap();
        assert_eq!((table.titles.len(), table.rows[0][0].as_str()), (2, own.to_string().as_str()));
        let refused = run(&options("--no-such-option; rm -rf /")).await.unwrap_err();
        assert!(matches!(refused, PsError::Failed { .. }), "{refused}");
        let help = run(&options("--help")).await;
        assert!(!matches!(help.map(|printed| printed.of(&BTreeSet::new()).map(drop)), Ok(Ok(()))));
        assert!(check(&vec![String::new(); 65]).is_err() && check(&["x".repeat(1025)]).is_err());
        assert!(check(&options("-o pid")).is_ok());
    }
}
