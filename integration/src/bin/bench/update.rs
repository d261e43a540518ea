//! The engine's share in a change of limits: two durable events and a written definition, around the runtime's own
//! `update`.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use cri_api::isula::v1::{Resources, UpdateRequest};

use crate::daemon::Daemon;
use crate::figures::{Sample, row, section};
use crate::place::{Place, run};

/// Unmeasured rounds before the others.
const WARM_UP: usize = 2;

pub(crate) async fn update(place: &Place, runtime: &str, rounds: usize) -> anyhow::Result<()> {
    let name = format!("update-{runtime}");
    let daemon = Daemon::start(place, &name).await?;
    let id = run(&mut daemon.isula_run(runtime))?.trim().to_owned();
    let (root, known) = daemon.instance(runtime, &id)?;
    let (mut bare, mut call, mut isula, mut over) =
        (Sample::default(), Sample::default(), Sample::default(), Sample::default());
    for round in 0..rounds + WARM_UP {
        // Another number each time: the engine does nothing for limits that are set already.
        let limit = |step: usize| i64::try_from(100 + 3 * round + step).unwrap_or(100);
        let mut direct = Command::new(runtime);
        direct.arg("--root").arg(&root).args(["update", "--pids-limit", &limit(0).to_string(), &known]);
        let of_bare = timed(&mut direct)?;
        let begun = Instant::now();
        let resources = Some(Resources { pids_limit: Some(limit(1)), ..Resources::default() });
        let request = UpdateRequest { container: id.clone(), resources, restart: None };
        daemon.containers().update(request).await.context("an update failed")?;
        let of_call = begun.elapsed();
        let of_isula = timed(&mut daemon.isula(&["update", "--pids-limit", &limit(2).to_string(), &id]))?;
        if round >= WARM_UP {
            bare.push_ms(of_bare);
            call.push_ms(of_call);
            isula.push_ms(of_isula);
            over.push((of_call.as_secs_f64() - of_bare.as_secs_f64()) * 1e3);
        }
    }
    daemon.remove_all().await?;
    section(
        &format!("7. Change of a limit, {runtime}"),
        "the limit of processes of one running container, each in turn: the runtime alone, a call of the engine, isula",
    );
    row(&format!("{runtime} update"), "ms", &bare, None);
    row("call of the engine", "ms", &call, None);
    row("isula update", "ms", &isula, None);
    row("the call over the runtime", "ms", &over, None);
    Ok(())
}

fn timed(command: &mut Command) -> anyhow::Result<Duration> {
    command.stdin(Stdio::null()).stdout(Stdio::null());
    let begun = Instant::now();
    let status = command.status()?;
    ensure!(status.success(), "{command:?} failed with {status}");
    Ok(begun.elapsed())
}
