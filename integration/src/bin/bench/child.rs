//! A program's time and its largest memory. The kernel reports only the largest of all children, so that each measured
//! one is the child of a process of its own: this program, called with [`WORD`].

use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use nix::sys::resource::{UsageWho, getrusage};

/// First argument of a call that measures.
pub(crate) const WORD: &str = "measure-one-child";

/// A program's use of time and memory.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Usage {
    pub time: Duration,
    /// Resident at its largest, of the largest of its processes.
    pub peak_mib: f64,
}

/// Runs a program, which must succeed, to its end.
pub(crate) fn measure<S: AsRef<str>>(words: &[S]) -> anyhow::Result<Usage> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg(WORD).args(words.iter().map(AsRef::as_ref));
    let text = crate::place::run(&mut command)?;
    let (nanoseconds, kib) = text.split_once(' ').context("a measurement is two numbers")?;
    Ok(Usage { time: Duration::from_nanos(nanoseconds.parse()?), peak_mib: kib.parse::<f64>()? / 1024.0 })
}

/// The other side: runs the words and prints the two numbers.
pub(crate) fn main(words: &[String]) -> ExitCode {
    match run(words) {
        Ok(taken) => {
            println!("{taken}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(words: &[String]) -> anyhow::Result<String> {
    let (program, words) = words.split_first().context("nothing to measure")?;
    let begun = Instant::now();
    let status = Command::new(program).args(words).stdin(Stdio::null()).stdout(Stdio::null()).status()?;
    let time = begun.elapsed();
    ensure!(status.success(), "{program} failed with {status}");
    let largest = getrusage(UsageWho::RUSAGE_CHILDREN)?.max_rss();
    Ok(format!("{} {largest}", time.as_nanos()))
}
