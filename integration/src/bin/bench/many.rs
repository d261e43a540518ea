//! The time of many at once: many small files, many names of one command, many mounts and variables of one container.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use crate::daemon::Daemon;
use crate::figures::{Sample, row, section};
use crate::place::{Place, run};

const FILES: usize = 10_000;
const IN_A_DIRECTORY: usize = 100;
const COPIES: usize = 7;
const COPY_RATIO: f64 = 1.2;
const CONTAINERS: usize = 50;
const REMOVAL_RATIO: f64 = 0.25;
const MOUNTS: usize = 10_000;
const VARIABLES: usize = 40_000;
const CREATION_MS: f64 = 1000.0;

/// `other` has binaries to compare with, which take their turns too.
pub(crate) async fn many(place: &Place, other: Option<&Path>, runtime: &str, rounds: usize) -> anyhow::Result<()> {
    let daemon = Daemon::start(place, "many").await?;
    small_files(place, &daemon, runtime).await?;
    let other = match other {
        Some(bins) => Some(Daemon::start_from(place, bins, "many-other").await?),
        None => None,
    };
    removals(&daemon, other.as_ref(), runtime, rounds.clamp(1, 5)).await?;
    if let Some(other) = &other {
        other.remove_all().await?;
    }
    long_requests(place, &daemon, runtime, rounds.clamp(1, 5))?;
    daemon.remove_all().await?;
    Ok(())
}

async fn small_files(place: &Place, daemon: &Daemon<'_>, runtime: &str) -> anyhow::Result<()> {
    section(
        &format!("cp of {FILES} files of 0 to 4 KB"),
        "isula cp into and out of a running container, in turn with tar | tar to the same disk, and into the container's root, an \
         overlay as for cp; ratios of each turn",
    );
    daemon.start_many(runtime, 1).await?;
    let id = daemon.list().await?.first().context("there is a container")?.id.clone();
    let from = place.path("small");
    for number in 0..FILES {
        let dir = from.join((number / IN_A_DIRECTORY).to_string());
        fs::create_dir_all(&dir)?;
        fs::write(dir.join(number.to_string()), vec![b'x'; number % 4096])?;
    }
    let (mut into, mut out, mut tar) = (Sample::default(), Sample::default(), Sample::default());
    let (mut into_ratio, mut out_ratio) = (Sample::default(), Sample::default());
    let (mut tar_in, mut tar_in_ratio) = (Sample::default(), Sample::default());
    let pid = run(&mut daemon.isula(&["inspect", "-f", "{{.State.Pid}}", &id]))?;
    let root = Path::new("/proc").join(pid.trim()).join("root/tmp");
    let name = |path: &Path| path.to_string_lossy().into_owned();
    for round in 0..COPIES {
        let inside = format!("{id}:/tmp/small{round}");
        let (back, other) = (place.path("small-back"), place.path("small-tar"));
        let sent = timed(&mut daemon.isula(&["cp", &name(&from), &inside]))?;
        let received = timed(&mut daemon.isula(&["cp", &inside, &name(&back)]))?;
        fs::create_dir(&other)?;
        let pipe = format!("tar -C {} -cf - . | tar -C {} -xf -", name(&from), name(&other));
        let piped = timed(Command::new("sh").args(["-c", &pipe]))?;
        let overlay = root.join(format!("tar{round}"));
        fs::create_dir(&overlay)?;
        let pipe = format!("tar -C {} -cf - . | tar -C {} -xf -", name(&from), name(&overlay));
        let piped_in = timed(Command::new("sh").args(["-c", &pipe]))?;
        tar_in.push_ms(piped_in);
        tar_in_ratio.push(sent.as_secs_f64() / piped_in.as_secs_f64());
        into.push_ms(sent);
        out.push_ms(received);
        tar.push_ms(piped);
        into_ratio.push(sent.as_secs_f64() / piped.as_secs_f64());
        out_ratio.push(received.as_secs_f64() / piped.as_secs_f64());
        run(Command::new("diff").arg("-rq").arg(&from).arg(&back))?;
        fs::remove_dir_all(&back)?;
        fs::remove_dir_all(&other)?;
    }
    fs::remove_dir_all(&from)?;
    row("isula cp DIR CONTAINER:", "ms", &into, None);
    row("isula cp CONTAINER: DIR", "ms", &out, None);
    row("tar | tar", "ms", &tar, None);
    row("tar | tar into the root", "ms", &tar_in, None);
    row("  into, over tar | tar into the root", "", &tar_in_ratio, Some(COPY_RATIO));
    row("  into, over tar | tar", "", &into_ratio, None);
    row("  out, over tar | tar", "", &out_ratio, Some(COPY_RATIO));
    daemon.remove_all().await
}

async fn removals(daemon: &Daemon<'_>, other: Option<&Daemon<'_>>, runtime: &str, rounds: usize) -> anyhow::Result<()> {
    section(
        &format!("rm -f of {CONTAINERS} that run"),
        "isula rm -f with all names, in turn with the same calls one after the other over one connection",
    );
    let (mut together, mut apart, mut ratio) = (Sample::default(), Sample::default(), Sample::default());
    let (mut others, mut other_ratio) = (Sample::default(), Sample::default());
    for _ in 0..rounds {
        let at_once = remove_together(daemon, runtime).await?;
        if let Some(other) = other {
            let before = remove_together(other, runtime).await?;
            others.push_ms(before);
            other_ratio.push(at_once.as_secs_f64() / before.as_secs_f64());
        }
        daemon.start_many(runtime, CONTAINERS).await?;
        let ids: Vec<String> = daemon.list().await?.into_iter().map(|container| container.id).collect();
        let begun = Instant::now();
        for id in &ids {
            daemon.remove(id).await?;
        }
        let in_turn = begun.elapsed();
        together.push_ms(at_once);
        apart.push_ms(in_turn);
        ratio.push(at_once.as_secs_f64() / in_turn.as_secs_f64());
    }
    row("isula rm -f, all names", "ms", &together, None);
    row("one after the other", "ms", &apart, None);
    row("  ratio", "", &ratio, None);
    if other.is_some() {
        row("isula rm -f, all names, of the other build", "ms", &others, None);
        row("  ratio", "", &other_ratio, Some(REMOVAL_RATIO));
    }
    Ok(())
}

/// How long one command takes that removes all.
async fn remove_together(daemon: &Daemon<'_>, runtime: &str) -> anyhow::Result<Duration> {
    daemon.start_many(runtime, CONTAINERS).await?;
    let ids: Vec<String> = daemon.list().await?.into_iter().map(|container| container.id).collect();
    let words: Vec<&str> = ["rm", "-f"].into_iter().chain(ids.iter().map(String::as_str)).collect();
    let took = timed(&mut daemon.isula(&words))?;
    ensure!(daemon.list().await?.is_empty(), "not all are removed");
    Ok(took)
}

fn long_requests(place: &Place, daemon: &Daemon<'_>, runtime: &str, rounds: usize) -> anyhow::Result<()> {
    section("create with long lists", "isula create from its start to its end");
    let rootfs = place.rootfs().to_string_lossy().into_owned();
    let runtime = format!("--runtime={runtime}");
    let create = |flags: Vec<String>| {
        let mut words = vec!["create", runtime.as_str(), "--external-rootfs", rootfs.as_str()];
        words.extend(flags.iter().map(String::as_str));
        words.extend(["none", "true"]);
        timed(&mut daemon.isula(&words))
    };
    let (mut mounts, mut variables) = (Sample::default(), Sample::default());
    for _ in 0..rounds {
        let each = |number: usize| [String::from("-v"), format!("/etc:/mnt/{number}")];
        mounts.push_ms(create((0..MOUNTS).flat_map(each).collect())?);
        let each = |number: usize| [String::from("-e"), format!("VARIABLE{number}=x")];
        variables.push_ms(create((0..VARIABLES).flat_map(each).collect())?);
    }
    row(&format!("with {MOUNTS} -v"), "ms", &mounts, Some(CREATION_MS));
    row(&format!("with {VARIABLES} -e"), "ms", &variables, Some(CREATION_MS));
    Ok(())
}

fn timed(command: &mut Command) -> anyhow::Result<Duration> {
    let begun = Instant::now();
    run(command)?;
    Ok(begun.elapsed())
}
