//! The engine's share in the time of an exec, and the memory and descriptors that many of them leave in it.

use std::fs;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use cri_api::isula::v1::{ExecProcess, ExecSyncRequest};

use crate::bare::Bare;
use crate::daemon::Daemon;
use crate::figures::{Sample, ms, row, section};
use crate::place::{Place, run};

const OVERHEAD_MS: f64 = 3.0;
/// Unmeasured rounds before the others.
const WARM_UP: usize = 5;
/// An exec's work in the background is done before the next one is timed, and the kernel's lock of cgroups is as it is
/// for one that follows none: for some 50 ms after one, the next is faster, and the one that profits would depend on
/// the order.
const PAUSE: Duration = Duration::from_millis(100);
/// Execs before the daemon's use is first looked at.
const FEW: usize = 200;

/// `/bin/true` in a running container, one at a time.
pub(crate) async fn pairs(place: &Place, runtime: &str, rounds: usize) -> anyhow::Result<()> {
    let daemon = Daemon::start(place, &format!("exec-{runtime}")).await?;
    let container = run(&mut daemon.isula_run(runtime))?;
    let mut bare = Bare::like(place, &daemon, runtime, &container)?;
    let bundle = bare.prepare()?;
    bare.run(&bundle)?;
    let (mut of_bare, mut of_engine, mut of_call) = (Sample::default(), Sample::default(), Sample::default());
    let (mut over, mut call_over) = (Sample::default(), Sample::default());
    for round in 0..WARM_UP + rounds {
        let mut taken = [0.0; 3];
        for way in 0..3 {
            tokio::time::sleep(PAUSE).await;
            let way = (way + round) % 3;
            taken[way] = match way {
                0 => ms(bare.exec(&bundle)?),
                1 => ms(isula_exec(&daemon, &container)?),
                _ => ms(exec_call(&daemon, &container).await?),
            };
        }
        if round >= WARM_UP {
            let [bare, engine, call] = taken;
            of_bare.push(bare);
            of_engine.push(engine);
            of_call.push(call);
            over.push(engine - bare);
            call_over.push(call - bare);
        }
    }
    bare.remove(&bundle)?;
    daemon.remove_all().await?;
    section(
        &format!("10. engine overhead of an exec, {runtime}"),
        "rounds of bare exec, `isula exec` and the ExecSync call on an open connection, of /bin/true in containers of the\n  \
         same spec, 100 ms apart and in an order that rotates; an overhead is the difference within a round",
    );
    row("bare runtime: exec", "ms", &of_bare, None);
    row("isula exec", "ms", &of_engine, None);
    row("ExecSync call", "ms", &of_call, None);
    row("overhead of isula exec", "ms", &over, Some(OVERHEAD_MS));
    row("overhead of the ExecSync call", "ms", &call_over, None);
    Ok(())
}

fn isula_exec(daemon: &Daemon<'_>, container: &str) -> anyhow::Result<Duration> {
    let mut command = daemon.isula(&["exec", container, "/bin/true"]);
    let begun = Instant::now();
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).status()?;
    let taken = begun.elapsed();
    ensure!(status.success(), "{command:?} failed with {status}");
    Ok(taken)
}

async fn exec_call(daemon: &Daemon<'_>, container: &str) -> anyhow::Result<Duration> {
    let process =
        ExecProcess { container: container.to_owned(), command: vec!["/bin/true".into()], ..Default::default() };
    let mut client = daemon.execs();
    let begun = Instant::now();
    let answer = client.exec_sync(ExecSyncRequest { process: Some(process), timeout_ms: 10_000 }).await?.into_inner();
    let taken = begun.elapsed();
    ensure!(answer.status.is_some_and(|status| status.code == Some(0)), "an exec failed: {:?}", answer.failure);
    Ok(taken)
}

/// Many, one after the other: the daemon's use of memory and descriptors before and after.
pub(crate) async fn many(place: &Place, runtime: &str, count: usize) -> anyhow::Result<()> {
    let daemon = Daemon::start(place, &format!("execs-{runtime}")).await?;
    let container = run(&mut daemon.isula_run(runtime))?;
    let directory = daemon.state().join(runtime).join(&container).join("exec");
    let execs = |count: usize| (0..count).try_for_each(|_| isula_exec(&daemon, &container).map(drop));
    execs(FEW)?;
    let before = Holdings::of(&daemon)?;
    let begun = Instant::now();
    execs(count / 2)?;
    let half = Holdings::of(&daemon)?;
    execs(count - count / 2)?;
    let taken = begun.elapsed();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let after = Holdings::of(&daemon)?;
    let directories = fs::read_dir(&directory).map_or(0, Iterator::count);
    daemon.remove_all().await?;
    section(
        &format!("11. {count} execs one after the other, {runtime}"),
        &format!(
            "`isula exec` of /bin/true; what the daemon holds after the first {FEW}, half-way, and a second after the\n  \
             last. The journal's cache and its window in memory, both of a fixed size, fill in the first half"
        ),
    );
    let one = |value: f64| Sample::from_iter([value]);
    row("each", "ms", &one(ms(taken) / count as f64), None);
    for (label, unit, before, half, after) in [
        ("RSS", "MiB", before.rss_mib, half.rss_mib, after.rss_mib),
        ("descriptors", "", before.descriptors, half.descriptors, after.descriptors),
        ("threads", "", before.threads, half.threads, after.threads),
    ] {
        row(&format!("{label} before"), unit, &one(before), None);
        row(&format!("{label} half-way"), unit, &one(half), None);
        row(&format!("{label} after"), unit, &one(after), None);
    }
    row("directories left", "", &one(directories as f64), Some(0.0));
    Ok(())
}

struct Holdings {
    rss_mib: f64,
    descriptors: f64,
    threads: f64,
}

impl Holdings {
    fn of(daemon: &Daemon<'_>) -> anyhow::Result<Self> {
        let proc = format!("/proc/{}", daemon.pid());
        let status = fs::read_to_string(format!("{proc}/status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("there is no VmRSS")?;
        let kib: f64 = line.trim().trim_end_matches(" kB").parse()?;
        let count = |name: &str| fs::read_dir(format!("{proc}/{name}")).map(|entries| entries.count() as f64);
        Ok(Self { rss_mib: kib / 1024.0, descriptors: count("fd")?, threads: count("task")? })
    }
}
