//! The engine's share in the time of a start, one at a time and fifty at once.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use crate::bare::{Bare, Bundle};
use crate::daemon::Daemon;
use crate::figures::{Sample, ms, row, section};
use crate::place::{Place, run};
use crate::stages::{Span, Stages, now};

const OVERHEAD_MS: f64 = 3.0;
const PARALLEL_RATIO: f64 = 1.3;
/// Rounds between two clean-ups: removals stay out of the timed part, and so does the kernel's work after them.
const BLOCK: usize = 10;
/// Unmeasured rounds before the others.
const WARM_UP: usize = 2;
const AT_ONCE: usize = 50;
/// Before each start: the work of the one before it in the background is done, such as a shim's move to its cgroup,
/// which makes the next process that enters a cgroup wait less.
const PAUSE: Duration = Duration::from_millis(100);
/// For the kernel to take namespaces apart.
const SETTLE: Duration = Duration::from_millis(500);

/// The four ways to start, as one round takes them.
#[derive(Default)]
struct Times {
    bare: Sample,
    bare_run: Sample,
    engine: Sample,
    call: Sample,
    over_bare: Sample,
    over_bare_run: Sample,
    call_over_bare: Sample,
    other: Sample,
    over_other: Sample,
}

/// `other` has binaries to compare with, which take their turns in each round too.
pub(crate) async fn sequential(
    place: &Place,
    other: Option<&Path>,
    runtime: &str,
    rounds: usize,
) -> anyhow::Result<()> {
    let daemon = Daemon::start(place, &format!("sequential-{runtime}")).await?;
    let other = match other {
        Some(bins) => Some(Daemon::start_from(place, bins, &format!("other-{runtime}")).await?),
        None => None,
    };
    let model = run(&mut daemon.isula_run(runtime))?;
    let mut bare = Bare::like(place, &daemon, runtime, &model)?;
    let (mut times, mut stages) = (Times::default(), Stages::default());
    let mut done = 0;
    for block in [WARM_UP].into_iter().chain(std::iter::repeat_n(BLOCK, rounds.div_ceil(BLOCK))) {
        let mut bundles = Vec::new();
        for _ in 0..block * 2 {
            bundles.push(bare.prepare()?);
        }
        for pair in bundles.chunks(2) {
            let round = round((&daemon, other.as_ref()), &bare, runtime, pair, done).await?;
            if block != WARM_UP {
                times.push(&round);
                stages.push(round.span);
            }
            done += 1;
        }
        stages.collect(&daemon).await?;
        clean_up(&daemon, &bare, &bundles, &model).await?;
        if let Some(other) = &other {
            other.remove_all().await?;
        }
    }
    daemon.remove_all().await?;
    section(
        &format!("1. engine overhead of a start, {runtime}"),
        "rounds of bare create + start, `isula run -d`, bare run --detach and the Run call on an open connection, 100 ms\n  \
         apart and in an order that rotates; same spec, overlay of the same directory (the bare one mounted beforehand),\n  \
         removals outside; an overhead is the difference within a round. Stages: the events' own times",
    );
    times.show();
    stages.show();
    Ok(())
}

struct Round {
    bare: f64,
    bare_run: f64,
    engine: f64,
    call: f64,
    other: Option<f64>,
    span: Span,
}

async fn round(
    (daemon, other): (&Daemon<'_>, Option<&Daemon<'_>>),
    bare: &Bare<'_>,
    runtime: &str,
    bundles: &[Bundle],
    turn: usize,
) -> anyhow::Result<Round> {
    let mut round = Round {
        bare: 0.0,
        bare_run: 0.0,
        engine: 0.0,
        call: 0.0,
        other: None,
        span: Span { container: String::new(), begun: 0, ended: 0 },
    };
    let ways = if other.is_some() { 5 } else { 4 };
    for way in 0..ways {
        tokio::time::sleep(PAUSE).await;
        match (way + turn) % ways {
            0 => round.bare = ms(bare.create_start(&bundles[0])?),
            1 => {
                let begun = now();
                let (container, taken) = isula_run(daemon, runtime)?;
                round.engine = taken;
                round.span = Span { container, begun, ended: now() };
            }
            2 => round.bare_run = ms(bare.run(&bundles[1])?),
            3 => {
                let (request, mut client) = (daemon.request(runtime), daemon.containers());
                let from = Instant::now();
                let answer = client.run(request).await?.into_inner();
                round.call = ms(from.elapsed());
                ensure!(answer.failure.is_none(), "a start failed: {:?}", answer.failure);
            }
            _ => round.other = other.map(|other| isula_run(other, runtime)).transpose()?.map(|(_, taken)| taken),
        }
    }
    Ok(round)
}

/// The container's id, and milliseconds.
fn isula_run(daemon: &Daemon<'_>, runtime: &str) -> anyhow::Result<(String, f64)> {
    let mut command = daemon.isula_run(runtime);
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let from = Instant::now();
    let output = command.spawn()?.wait_with_output()?;
    let taken = ms(from.elapsed());
    ensure!(output.status.success(), "{command:?} failed with {}", output.status);
    Ok((String::from_utf8(output.stdout)?.trim().to_owned(), taken))
}

impl Times {
    fn push(&mut self, round: &Round) {
        self.bare.push(round.bare);
        self.bare_run.push(round.bare_run);
        self.engine.push(round.engine);
        self.call.push(round.call);
        self.over_bare.push(round.engine - round.bare);
        self.over_bare_run.push(round.engine - round.bare_run);
        self.call_over_bare.push(round.call - round.bare);
        if let Some(other) = round.other {
            self.other.push(other);
            self.over_other.push(round.engine - other);
        }
    }

    fn show(&self) {
        row("bare runtime: create, start", "ms", &self.bare, None);
        row("bare runtime: run --detach", "ms", &self.bare_run, None);
        row("isula run -d", "ms", &self.engine, None);
        row("Run call", "ms", &self.call, None);
        row("overhead of isula run -d over create, start", "ms", &self.over_bare, Some(OVERHEAD_MS));
        row("overhead of the Run call over create, start", "ms", &self.call_over_bare, None);
        row("isula run -d less run --detach", "ms", &self.over_bare_run, None);
        if !self.other.is_empty() {
            row("isula run -d of the other binaries", "ms", &self.other, None);
            row("isula run -d less that of the other binaries", "ms", &self.over_other, None);
        }
    }
}

/// Removes all but the model that gives the spec.
async fn clean_up(daemon: &Daemon<'_>, bare: &Bare<'_>, bundles: &[Bundle], model: &str) -> anyhow::Result<()> {
    for bundle in bundles {
        bare.remove(bundle)?;
    }
    for container in daemon.list().await? {
        if container.id != model {
            daemon.remove(&container.id).await?;
        }
    }
    tokio::time::sleep(SETTLE).await;
    Ok(())
}

pub(crate) async fn parallel(place: &Place, runtime: &str, rounds: usize) -> anyhow::Result<()> {
    let daemon = Daemon::start(place, &format!("parallel-{runtime}")).await?;
    let model = run(&mut daemon.isula_run(runtime))?;
    let mut bare = Bare::like(place, &daemon, runtime, &model)?;
    let (mut bare_times, mut engine_times, mut ratios) = (Sample::default(), Sample::default(), Sample::default());
    for round in 0..rounds {
        let bundles = (0..AT_ONCE).map(|_| bare.prepare()).collect::<anyhow::Result<Vec<_>>>()?;
        let engine_first = round % 2 == 1;
        let start_engine = || at_once(|_| run(&mut daemon.isula_run(runtime)).map(drop));
        let early = if engine_first { Some(start_engine()?) } else { None };
        tokio::time::sleep(SETTLE).await;
        let bare_time = at_once(|index| bare.create_start(&bundles[index]).map(drop))?;
        tokio::time::sleep(SETTLE).await;
        let engine_time = match early {
            Some(time) => time,
            None => start_engine()?,
        };
        bare_times.push_ms(bare_time);
        engine_times.push_ms(engine_time);
        ratios.push(engine_time.as_secs_f64() / bare_time.as_secs_f64());
        clean_up(&daemon, &bare, &bundles, &model).await?;
    }
    daemon.remove_all().await?;
    section(
        &format!("2. {AT_ONCE} starts at once, {runtime}"),
        "one thread each, from the first spawn to the last return; bare create + start and `isula run -d` in turn",
    );
    row("bare runtime: create, start", "ms", &bare_times, None);
    row("isula run -d", "ms", &engine_times, None);
    row("ratio within a round", "", &ratios, Some(PARALLEL_RATIO));
    Ok(())
}

fn at_once(start: impl Fn(usize) -> anyhow::Result<()> + Sync) -> anyhow::Result<Duration> {
    let begun = Instant::now();
    let outcomes: Vec<_> = std::thread::scope(|scope| {
        let start = &start;
        let threads: Vec<_> = (0..AT_ONCE).map(|index| scope.spawn(move || start(index))).collect();
        threads.into_iter().map(|thread| thread.join()).collect()
    });
    let taken = begun.elapsed();
    for outcome in outcomes {
        outcome.ok().context("a starting thread has panicked")??;
    }
    Ok(taken)
}
