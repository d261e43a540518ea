//! Measures durable appends: appends per second with 1, 8 and 64 callers, and the latency of one; and the time to open
//! a journal with 1,000 streams.
//!
//! `cargo run --release -p store --example append [directory]` measures the file system of the directory.

use anyhow::Context;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use store::{Append, Journal, NewEvent, Options, Row, StreamId};

const PAYLOAD: usize = 200;
const ROW: usize = 300;

fn main() -> anyhow::Result<()> {
    let base = std::env::args_os().nth(1).map_or_else(std::env::temp_dir, PathBuf::from);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    println!("events of {PAYLOAD} bytes, one per append; durable: flushed and fdatasynced");
    for (row, name) in [(false, "without row"), (true, "with a row of 300 bytes")] {
        for callers in [1, 8, 64] {
            let dir = tempfile::Builder::new().prefix("journal-bench-").tempdir_in(&base)?;
            runtime.block_on(measure(dir.path(), callers, row, name))?;
        }
    }
    let dir = tempfile::Builder::new().prefix("journal-bench-").tempdir_in(&base)?;
    runtime.block_on(reopen(dir.path()))
}

async fn reopen(dir: &Path) -> anyhow::Result<()> {
    let journal = Journal::open(dir, Options::default())?.journal;
    let tasks: Vec<_> = (0..1_000).map(|caller| tokio::spawn(appends(journal.clone(), caller, 20, true))).collect();
    for task in tasks {
        task.await??;
    }
    journal.close().await;
    for _ in 0..3 {
        let opened = Journal::open(dir, Options::default())?;
        let (rows, events) = (opened.rows.len(), opened.journal.last());
        println!("open with {rows} rows after {events} events: {:?}", opened.report.took);
        opened.journal.close().await;
    }
    Ok(())
}

async fn measure(dir: &Path, callers: usize, row: bool, name: &str) -> anyhow::Result<()> {
    let journal = Journal::open(dir, Options::default())?.journal;
    let each = 20_000_usize.min(2_000 * callers) / callers;
    let started = Instant::now();
    let tasks: Vec<_> = (0..callers).map(|caller| tokio::spawn(appends(journal.clone(), caller, each, row))).collect();
    let mut latencies = Vec::new();
    for task in tasks {
        latencies.extend(task.await??);
    }
    let took = started.elapsed();
    latencies.sort_unstable();
    let at = |share: f64| {
        let index = (latencies.len() as f64 * share) as usize;
        latencies.get(index).copied().context("there are latencies")
    };
    println!(
        "{callers:>2} callers, {name}: {:>6.0} events/s, median {:?}, 90% {:?}, 99% {:?}",
        latencies.len() as f64 / took.as_secs_f64(),
        at(0.5)?,
        at(0.9)?,
        at(0.99)?,
    );
    journal.close().await;
    Ok(())
}

async fn appends(journal: Journal, caller: usize, count: usize, row: bool) -> anyhow::Result<Vec<Duration>> {
    let stream = StreamId::new(1, format!("{caller:064}").as_bytes())?;
    let mut latencies = Vec::with_capacity(count);
    for expected in 0..count as u64 {
        let row = if row { Row::Put { schema: 1, bytes: vec![2; ROW] } } else { Row::Keep };
        let events = vec![NewEvent { kind: 1, schema: 1, payload: vec![1; PAYLOAD] }];
        let append = Append {
            stream: stream.clone(),
            expected,
            at: 0,
            urgency: store::Urgency::Ordinary,
            events,
            row,
            on_durable: None,
        };
        let started = Instant::now();
        journal.append(append).await?;
        latencies.push(started.elapsed());
    }
    Ok(latencies)
}
