//! Memory of the daemon and of the shims, from `/proc/<pid>/smaps_rollup`.

use std::fs;
use std::time::Duration;

use anyhow::Context;
use cri_api::isula::v1::EventsRequest;

use crate::daemon::Daemon;
use crate::figures::{Sample, row, section};

const IDLE_MIB: f64 = 12.0;
const PER_CONTAINER_KIB: f64 = 40.0;
const AFTER_LOAD_MIB: f64 = 4.0;
const SHIM_PSS_KIB: f64 = 0.2 * 1024.0;
const SHIM_RSS_KIB: f64 = 1.2 * 1024.0;
const FEW: usize = 50;
const MANY: usize = 200;
/// Streams at once: on each of so many connections, so many that follow the events.
const CONNECTIONS: usize = 40;
const STREAMS: usize = 500;
/// The daemon looks every ten seconds whether it has grown.
const SETTLING: Duration = Duration::from_secs(25);

/// In KiB.
#[derive(Clone, Copy)]
struct Memory {
    rss: f64,
    pss: f64,
}

fn memory_of(pid: u32) -> anyhow::Result<Memory> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).context("cannot read a process' memory")?;
    let value = |key: &str| -> anyhow::Result<f64> {
        let line =
            text.lines().find_map(|line| line.strip_prefix(key)).with_context(|| format!("there is no {key}"))?;
        Ok(line.split_whitespace().next().context("there is no number")?.parse()?)
    };
    Ok(Memory { rss: value("Rss:")?, pss: value("Pss:")? })
}

/// The daemon's memory when it has had time to give back unused memory.
async fn settled(daemon: &Daemon<'_>) -> anyhow::Result<Memory> {
    tokio::time::sleep(SETTLING).await;
    memory_of(daemon.pid())
}

/// Leaves `MANY` containers running.
pub(crate) async fn fill(daemon: &Daemon<'_>, runtime: &str) -> anyhow::Result<()> {
    let idle = settled(daemon).await?;
    let (at_load, after_load) = load(daemon).await?;
    daemon.start_many(runtime, FEW).await?;
    let few = settled(daemon).await?;
    let shims = shims(daemon, runtime)?;
    daemon.start_many(runtime, MANY - FEW).await?;
    let many = settled(daemon).await?;
    section("4. memory", &format!("smaps_rollup; {FEW} and then {MANY} containers of {runtime} run"));
    let one = |value: f64| Sample::from_iter([value]);
    row(&format!("shim PSS, {FEW} running"), "KiB", &shims.iter().map(|shim| shim.pss).collect(), Some(SHIM_PSS_KIB));
    row(&format!("shim RSS, {FEW} running"), "KiB", &shims.iter().map(|shim| shim.rss).collect(), Some(SHIM_RSS_KIB));
    row("daemon RSS, idle", "MiB", &one(idle.rss / 1024.0), Some(IDLE_MIB));
    row("daemon PSS, idle", "MiB", &one(idle.pss / 1024.0), Some(IDLE_MIB));
    let streams = CONNECTIONS * STREAMS;
    row(&format!("daemon RSS, {streams} streams at once"), "MiB", &one(at_load.rss / 1024.0), None);
    let retained = (after_load.rss - idle.rss) / 1024.0;
    row("daemon RSS over idle, those streams ended", "MiB", &one(retained), Some(AFTER_LOAD_MIB));
    for (count, then) in [(FEW, few), (MANY, many)] {
        row(&format!("daemon RSS, {count} running"), "MiB", &one(then.rss / 1024.0), None);
        row(&format!("daemon PSS, {count} running"), "MiB", &one(then.pss / 1024.0), None);
    }
    let per_container = (many.rss - idle.rss) / MANY as f64;
    row("daemon RSS per container, all of them", "KiB", &one(per_container), Some(PER_CONTAINER_KIB));
    let per_container = (many.pss - idle.pss) / MANY as f64;
    row("daemon PSS per container, all of them", "KiB", &one(per_container), None);
    let later = (many.pss - few.pss) / (MANY - FEW) as f64;
    row("daemon PSS per container, the later ones", "KiB", &one(later), Some(PER_CONTAINER_KIB));
    Ok(())
}

/// Many streams at once, which then end: the memory while they are there, and when the daemon has had time to settle.
async fn load(daemon: &Daemon<'_>) -> anyhow::Result<(Memory, Memory)> {
    let mut streams = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut client = daemon.another_system().await?;
        for _ in 0..STREAMS {
            let request = EventsRequest { follow: true, ..EventsRequest::default() };
            streams.push(client.events(request).await?.into_inner());
        }
    }
    let at_load = memory_of(daemon.pid())?;
    drop(streams);
    Ok((at_load, settled(daemon).await?))
}

/// Hexadecimal digits of a container's id.
const ID_LENGTH: usize = 64;

fn shims(daemon: &Daemon<'_>, runtime: &str) -> anyhow::Result<Vec<Memory>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(daemon.state().join(runtime))? {
        let entry = entry?;
        // The runtime's own root lies beside the containers.
        if entry.file_name().len() != ID_LENGTH {
            continue;
        }
        let text = fs::read_to_string(entry.path().join("shim-pid")).context("a container has no shim")?;
        let pid = text.split_whitespace().next().context("a pid file is empty")?;
        found.push(memory_of(pid.parse()?)?);
    }
    Ok(found)
}
