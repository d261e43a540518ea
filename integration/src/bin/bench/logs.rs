//! How fast a log is read.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::ensure;

use crate::daemon::Daemon;
use crate::figures::{Sample, row, section};
use crate::place::{Place, run};

const LINES: usize = 1_000_000;

/// `other` has binaries to compare with, which take their turns in each round too.
pub(crate) async fn logs(place: &Place, other: Option<&Path>, runtime: &str, rounds: usize) -> anyhow::Result<()> {
    section(
        &format!("logs of {LINES} lines"),
        "isula logs from its start to its end, into /dev/null; in turn with cat of the file that it reads",
    );
    let daemon = Daemon::start(place, "logs").await?;
    let other = match other {
        Some(bins) => Some(Daemon::start_from(place, bins, "logs-other").await?),
        None => None,
    };
    let log = write(place, &daemon, runtime)?;
    if let Some(other) = &other {
        write(place, other, runtime)?;
    }
    let (mut ours, mut tail) = (Sample::default(), Sample::default());
    let (mut theirs, mut cat) = (Sample::default(), Sample::default());
    for _ in 0..rounds {
        time(&mut cat, Command::new("cat").arg(&log))?;
        time(&mut ours, &mut daemon.isula(&["logs", "l"]))?;
        time(&mut tail, &mut daemon.isula(&["logs", "-n", "10", "l"]))?;
        if let Some(other) = &other {
            time(&mut theirs, &mut other.isula(&["logs", "l"]))?;
        }
    }
    row("isula logs", "ms", &ours, None);
    row("isula logs -n 10", "ms", &tail, None);
    if other.is_some() {
        row("isula logs of the other build", "ms", &theirs, None);
    }
    row("cat of the file", "ms", &cat, None);
    daemon.remove_all().await?;
    if let Some(other) = &other {
        other.remove_all().await?;
    }
    Ok(())
}

/// Runs the writer to its end; returns its log's file.
fn write(place: &Place, daemon: &Daemon<'_>, runtime: &str) -> anyhow::Result<String> {
    let rootfs = place.rootfs();
    let (rootfs, runtime) = (rootfs.to_string_lossy(), format!("--runtime={runtime}"));
    let writer = format!("seq 1 {LINES}");
    let flags =
        ["run", "--name", "l", &runtime, "--net=none", "--log-opt", "max-size=1g", "--external-rootfs", &rootfs];
    let written = run(daemon.isula(&flags).args(["none", "sh", "-c", &writer]))?;
    ensure!(written.lines().count() == LINES, "the output is not whole");
    Ok(run(&mut daemon.isula(&["inspect", "-f", "{{.LogPath}}", "l"]))?.trim().to_owned())
}

fn time(sample: &mut Sample, command: &mut Command) -> anyhow::Result<()> {
    let begun = Instant::now();
    let status = command.stdout(Stdio::null()).status()?;
    let took: Duration = begun.elapsed();
    ensure!(status.success(), "{command:?} has failed");
    sample.push_ms(took);
    Ok(())
}
