//! A whole life, from the command to its return: `run --rm true`, and the end of a running container, `rm -f`.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::bare::Bare;
use crate::daemon::Daemon;
use crate::figures::{Sample, ms, row, section};
use crate::place::{Place, run};

/// Over the bare runtime's `run` in the foreground, which deletes too.
const OVERHEAD_MS: f64 = 12.0;
/// Unmeasured rounds before the others.
const WARM_UP: usize = 2;
/// Before each command, as in the measurement of starts.
const PAUSE: Duration = Duration::from_millis(100);

#[derive(Default)]
struct Times {
    bare: Sample,
    engine: Sample,
    other: Sample,
    over: Sample,
}

impl Times {
    fn push(&mut self, bare: f64, engine: f64, other: Option<f64>) {
        self.bare.push(bare);
        self.engine.push(engine);
        self.over.push(engine - bare);
        if let Some(other) = other {
            self.other.push(other);
        }
    }

    fn show(&self, bare: &str, engine: &str, budget: Option<f64>) {
        row(bare, "ms", &self.bare, None);
        row(engine, "ms", &self.engine, None);
        row("  difference within a round", "ms", &self.over, budget);
        if !self.other.is_empty() {
            row(&format!("{engine} of the other binaries"), "ms", &self.other, None);
        }
    }
}

/// `other` has binaries to compare with, which take their turns in each round too.
pub(crate) async fn life(place: &Place, other: Option<&Path>, runtime: &str, rounds: usize) -> anyhow::Result<()> {
    let daemon = Daemon::start(place, &format!("life-{runtime}")).await?;
    let other = match other {
        Some(bins) => Some(Daemon::start_from(place, bins, &format!("life-other-{runtime}")).await?),
        None => None,
    };
    let model = run(&mut daemon.isula_run(runtime))?;
    let mut bare = Bare::like(place, &daemon, runtime, model.trim())?;
    let (mut whole, mut forced) = (Times::default(), Times::default());
    for round in 0..rounds + WARM_UP {
        let (mut runs, mut ends) = ([0.0; 3], [0.0; 3]);
        let ways = if other.is_some() { 3 } else { 2 };
        for way in 0..ways {
            let way = (way + round) % ways;
            let of = if way == 2 { other.as_ref().unwrap_or(&daemon) } else { &daemon };
            tokio::time::sleep(PAUSE).await;
            if way == 0 {
                let bundle = bare.prepare()?;
                runs[way] = ms(bare.run_to_its_end(&bundle, &["true"])?);
                bare.forget(&bundle)?;
                let bundle = bare.prepare()?;
                bare.run(&bundle)?;
                tokio::time::sleep(PAUSE).await;
                ends[way] = ms(bare.delete(&bundle)?);
                bare.forget(&bundle)?;
            } else {
                runs[way] = taken(&mut of.isula_run_to_its_end(runtime, &["true"]))?;
                let id = run(&mut of.isula_run(runtime))?;
                tokio::time::sleep(PAUSE).await;
                ends[way] = taken(&mut of.isula(&["rm", "-f", id.trim()]))?;
            }
        }
        if round >= WARM_UP {
            let others = |times: [f64; 3]| other.is_some().then_some(times[2]);
            whole.push(runs[0], runs[1], others(runs));
            forced.push(ends[0], ends[1], others(ends));
        }
    }
    for daemon in [Some(&daemon), other.as_ref()].into_iter().flatten() {
        daemon.remove_all().await?;
    }
    section(
        &format!("3. whole lives, {runtime}"),
        "rounds of bare `run` in the foreground and `isula run --rm true`, of bare `delete --force` and `isula rm -f` of what\n  \
         runs, 100 ms apart and in an order that rotates; same spec, the bare overlay mounted beforehand",
    );
    whole.show("bare runtime: run true", "isula run --rm true", Some(OVERHEAD_MS));
    forced.show("bare runtime: delete --force", "isula rm -f", None);
    Ok(())
}

fn taken(command: &mut Command) -> anyhow::Result<f64> {
    let begun = Instant::now();
    run(command)?;
    Ok(ms(begun.elapsed()))
}
