//! How soon a killed daemon is of use again, and how fast it lists.

use std::time::Instant;

use anyhow::ensure;

use crate::daemon::Daemon;
use crate::figures::{Sample, ms, row, section};
use crate::memory;
use crate::place::{Place, run};

const FIRST_PS_MS: f64 = 100.0;
const VERIFIED_MS: f64 = 2_000.0;
const LIST_MS: f64 = 5.0;
const RECORDED: usize = 1_000;
const ROUNDS: usize = 5;
const LISTS: usize = 200;
const COMMANDS: usize = 30;

pub(crate) async fn running(place: &Place, runtime: &str) -> anyhow::Result<()> {
    let daemon = Daemon::start(place, "running").await?;
    memory::fill(&daemon, runtime).await?;
    let count = daemon.list().await?.len();
    let (daemon, times) = again_and_again(place, "running", daemon).await?;
    let listed = daemon.list().await?;
    let alive = listed.iter().filter(|container| container.state == "running").count();
    ensure!(listed.len() == count && alive == count, "of {count} containers {} are left, {alive} run", listed.len());
    daemon.remove_all().await?;
    times.show(&format!("5a. SIGKILL and restart with {count} running containers"));
    Ok(())
}

pub(crate) async fn recorded(place: &Place, runtime: &str) -> anyhow::Result<()> {
    let daemon = Daemon::start(place, "recorded").await?;
    daemon.create_many(runtime, RECORDED).await?;
    let (daemon, times) = again_and_again(place, "recorded", daemon).await?;
    times.show(&format!("5b. SIGKILL and restart with {RECORDED} recorded containers"));
    list(&daemon).await
}

struct Times {
    answered: Sample,
    verified: Sample,
}

async fn again_and_again<'a>(
    place: &'a Place,
    name: &'static str,
    mut daemon: Daemon<'a>,
) -> anyhow::Result<(Daemon<'a>, Times)> {
    let mut times = Times { answered: Sample::default(), verified: Sample::default() };
    for _ in 0..ROUNDS {
        daemon.kill()?;
        daemon = Daemon::start(place, name).await?;
        times.answered.push_ms(daemon.answered - daemon.started);
        times.verified.push_ms(daemon.verified().await? - daemon.started);
    }
    Ok((daemon, times))
}

impl Times {
    fn show(&self, title: &str) {
        section(title, "from the spawn of the new daemon; verified: its log says so, and `info` agrees");
        row("first ps answered", "ms", &self.answered, Some(FIRST_PS_MS));
        row("all verified", "ms", &self.verified, Some(VERIFIED_MS));
    }
}

async fn list(daemon: &Daemon<'_>) -> anyhow::Result<()> {
    let (mut calls, mut commands) = (Sample::default(), Sample::default());
    for _ in 0..LISTS {
        let from = Instant::now();
        let listed = daemon.list().await?.len();
        calls.push(ms(from.elapsed()));
        ensure!(listed == RECORDED, "{listed} containers are listed");
    }
    for _ in 0..COMMANDS {
        let from = Instant::now();
        let lines = run(&mut daemon.isula(&["ps", "-a"]))?.lines().count();
        commands.push(ms(from.elapsed()));
        ensure!(lines == RECORDED + 1, "{lines} lines are listed");
    }
    section(&format!("6. ps of {RECORDED}"), "one after the other; the process is timed from spawn to exit");
    row("List call on an open connection", "ms", &calls, Some(LIST_MS));
    row("isula ps -a", "ms", &commands, None);
    Ok(())
}
