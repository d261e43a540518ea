//! The time of looking at containers and of copying their files.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use cri_api::isula::v1::StatsRequest;

use crate::daemon::Daemon;
use crate::figures::{Sample, row, section};
use crate::place::{Place, run};

const CONTAINERS: usize = 50;
const STATS_MS: f64 = 50.0;
const FILE: usize = 100 << 20;
const COPIES: usize = 7;
/// Processor shares are compared with the last round when that is older.
const BETWEEN: Duration = Duration::from_millis(150);

pub(crate) async fn usage(place: &Place, runtime: &str, rounds: usize) -> anyhow::Result<()> {
    let daemon = Daemon::start(place, "usage").await?;
    daemon.start_many(runtime, CONTAINERS).await?;
    stats(&daemon, rounds).await?;
    top(&daemon, runtime, rounds).await?;
    copies(place, &daemon).await?;
    daemon.remove_all().await?;
    Ok(())
}

async fn stats(daemon: &Daemon<'_>, rounds: usize) -> anyhow::Result<()> {
    section(
        &format!("stats --no-stream of {CONTAINERS} containers"),
        "isula from its start to its end; and the call alone. The first round has to wait 20 ms for a second sample",
    );
    let (mut first, mut whole, mut call) = (Sample::default(), Sample::default(), Sample::default());
    for round in 0..rounds {
        let begun = Instant::now();
        let text = run(&mut daemon.isula(&["stats", "--no-stream"]))?;
        let sample = if round == 0 { &mut first } else { &mut whole };
        sample.push_ms(begun.elapsed());
        ensure!(text.lines().count() == CONTAINERS + 1, "stats does not list all containers");
        tokio::time::sleep(BETWEEN).await;
        let begun = Instant::now();
        let request = StatsRequest { once: true, ..StatsRequest::default() };
        let answer = daemon.usage().stats(request).await?.into_inner().message().await?;
        call.push_ms(begun.elapsed());
        let shown = answer.context("there is no round")?.containers;
        ensure!(
            shown.iter().all(|one| one.cpu_percent.is_some() && one.memory_usage.is_some()),
            "something is missing"
        );
        tokio::time::sleep(BETWEEN).await;
    }
    row("isula stats --no-stream, the first", "ms", &first, Some(STATS_MS));
    row("isula stats --no-stream, later ones", "ms", &whole, Some(STATS_MS));
    row("  the call alone", "ms", &call, None);
    Ok(())
}

async fn top(daemon: &Daemon<'_>, runtime: &str, rounds: usize) -> anyhow::Result<()> {
    section(
        "top of a container",
        &format!("isula top, in turn with `{runtime} ps` of the same container, and ps -ef of the machine alone"),
    );
    let id = daemon.list().await?.first().context("there is a container")?.id.clone();
    let (root, known) = daemon.instance(runtime, &id)?;
    let (mut ours, mut bare, mut ps) = (Sample::default(), Sample::default(), Sample::default());
    for _ in 0..rounds {
        let begun = Instant::now();
        run(&mut daemon.isula(&["top", &id]))?;
        ours.push_ms(begun.elapsed());
        let begun = Instant::now();
        run(Command::new(runtime).arg("--root").arg(&root).args(["ps", &known]))?;
        bare.push_ms(begun.elapsed());
        let begun = Instant::now();
        run(Command::new("ps").arg("-ef"))?;
        ps.push_ms(begun.elapsed());
    }
    row("isula top", "ms", &ours, None);
    row(&format!("{runtime} ps"), "ms", &bare, None);
    row("ps -ef", "ms", &ps, None);
    Ok(())
}

async fn copies(place: &Place, daemon: &Daemon<'_>) -> anyhow::Result<()> {
    section(
        "cp of a file of 100 MB",
        "isula cp into and out of a running container, in turn with cp of the host to the same disk",
    );
    let id = daemon.list().await?.first().context("there is a container")?.id.clone();
    let file = place.path("large");
    let bytes: Vec<u8> =
        (0..FILE as u32 / 4).flat_map(|number| number.wrapping_mul(0x9e37_79b9).to_le_bytes()).collect();
    fs::write(&file, bytes)?;
    let (own, back) = (file.to_string_lossy().into_owned(), place.path("back"));
    let back_name = back.to_string_lossy().into_owned();
    let inside = format!("{id}:/tmp/large");
    let (mut into, mut out, mut host) = (Sample::default(), Sample::default(), Sample::default());
    for _ in 0..COPIES {
        into.push_ms(timed(&mut daemon.isula(&["cp", &own, &inside]))?);
        out.push_ms(timed(&mut daemon.isula(&["cp", &inside, &back_name]))?);
        ensure!(same(&file, &back)?, "what came back is not what was sent");
        fs::remove_file(&back)?;
        host.push_ms(timed(Command::new("cp").arg(&file).arg(&back))?);
        fs::remove_file(&back)?;
    }
    row("isula cp FILE CONTAINER:", "ms", &into, None);
    row("isula cp CONTAINER: FILE", "ms", &out, None);
    row("cp", "ms", &host, None);
    Ok(())
}

fn timed(command: &mut Command) -> anyhow::Result<Duration> {
    let begun = Instant::now();
    run(command)?;
    Ok(begun.elapsed())
}

fn same(one: &Path, other: &Path) -> anyhow::Result<bool> {
    Ok(fs::read(one)? == fs::read(other)?)
}
