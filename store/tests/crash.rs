//! Kills a process that uses a journal at any moment, repeatedly: acknowledged events survive, and there is no gap.
//!
//! The test runs itself again as the victim, which appends as fast as it can and prints each acknowledged event.
#![allow(clippy::unwrap_used, reason = "these are tests")]

mod support;

use std::collections::HashMap;
use std::env;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::mpsc::channel;
use std::time::Duration;
use store::{Journal, OpenReport, Options, Row};
use support::{append, assert_sound, options, saving, stream};

const VICTIM: &str = "JOURNAL_CRASH_VICTIM";
const ROUNDS: u32 = 120;
const CALLERS: u64 = 6;

fn window() -> Options {
    Options { hot_window: 200, archive_chunk: 50, ..options() }
}

/// Not a test of its own: the process that is killed.
#[test]
fn victim() {
    let Some(dir) = env::var_os(VICTIM) else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    runtime.block_on(async {
        let opened = Journal::open(Path::new(&dir), window()).unwrap();
        let quiet =
            OpenReport { took: opened.report.took, removed: opened.report.removed.clone(), ..Default::default() };
        assert_eq!(opened.report, quiet);
        let versions: HashMap<_, _> = opened.rows.iter().map(|row| (row.stream.clone(), row.version)).collect();
        let tasks: Vec<_> = (0..CALLERS)
            .map(|caller| {
                let name = format!("s{caller}");
                let version = versions.get(&stream(&name)).copied().unwrap_or(0);
                tokio::spawn(work(opened.journal.clone(), name, version))
            })
            .collect();
        print_line("open");
        for task in tasks {
            task.await.unwrap();
        }
    });
}

async fn work(journal: Journal, name: String, mut version: u64) {
    loop {
        // Two events and a row that belong together; now and then the stream ends.
        let ends = version >= 40;
        let row = if ends { Row::Delete } else { saving(&format!("{}", version + 2)) };
        let records = journal.append(append(&name, version, &["first", "second"], row)).await.unwrap();
        version = if ends { 0 } else { version + 2 };
        print_line(&format!("{} {name} {version}", records[1].seq));
    }
}

fn print_line(line: &str) {
    static OUT: Mutex<()> = Mutex::new(());
    let _whole = OUT.lock().unwrap();
    // One write for each line: a line that the parent reads is complete even if this process is killed right after it.
    std::io::stdout().write_all(format!("\n@{line}\n").as_bytes()).unwrap();
    std::io::stdout().flush().unwrap();
}

#[test]
fn nothing_acknowledged_is_lost_to_a_kill() {
    let outer = tempfile::tempdir().unwrap();
    let dir = outer.path().join("journal");
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let (mut acknowledged, mut checked, mut killed_opening, mut total) = (0, 0, 0, 0);
    for round in 0..ROUNDS {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let mut victim = Command::new(env::current_exe().unwrap())
            .args(["--exact", "victim", "--nocapture", "--test-threads=1"])
            .env(VICTIM, &dir)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let output = BufReader::new(victim.stdout.take().unwrap());
        let (sender, receiver) = channel();
        let reader = std::thread::spawn(move || {
            let lines = output.lines().map_while(Result::ok);
            lines.filter_map(|line| Some(line.strip_prefix('@')?.to_owned())).for_each(|line| drop(sender.send(line)));
        });
        // The moment of the kill is random: in every fourth round at the start, else after some progress, however long
        // that takes here.
        let way = if round % 4 == 0 { 0 } else { 1 + (state >> 50) % 40 };
        let mut printed: Vec<String> = (0..way).map_while(|_| receiver.recv().ok()).collect();
        std::thread::sleep(Duration::from_micros((state >> 33) % 40_000));
        victim.kill().unwrap();
        let status = victim.wait().unwrap();
        reader.join().unwrap();
        printed.extend(receiver.try_iter());
        assert!(!status.success() && status.code().is_none(), "round {round}: the victim ended by itself: {status}");
        killed_opening += u32::from(printed.is_empty());
        let mut versions: HashMap<String, (u64, u64)> = HashMap::new();
        for line in printed.iter().filter(|line| *line != "open") {
            let mut words = line.split(' ');
            let mut word = || words.next().unwrap().to_owned();
            let (seq, name, version) = (word().parse().unwrap(), word(), word().parse().unwrap());
            versions.insert(name, (seq, version));
            acknowledged = acknowledged.max(seq);
            total += 1;
        }
        checked = check(&dir, round, acknowledged, checked, &versions);
        let beside = std::fs::read_dir(outer.path()).unwrap().count();
        assert_eq!(beside, 1, "round {round}: nothing is left beside the journal");
    }
    assert!(killed_opening <= ROUNDS / 4 && total > u64::from(ROUNDS), "{killed_opening} of {ROUNDS}, {total} appends");
}

/// Checks all events after `checked`, and sometimes the whole journal; returns the last event.
fn check(dir: &Path, round: u32, acknowledged: u64, checked: u64, versions: &HashMap<String, (u64, u64)>) -> u64 {
    let opened = Journal::open(dir, window()).unwrap();
    let report = &opened.report;
    let quiet = OpenReport { took: report.took, removed: report.removed.clone(), ..Default::default() };
    assert_eq!(*report, quiet, "round {round}");
    let last = opened.journal.last();
    assert!(last >= acknowledged.max(checked), "round {round}: {last} < {acknowledged}");
    assert_eq!(last % 2, 0, "round {round}: half of an append");
    let records = opened.journal.read(checked + 1, usize::MAX).unwrap();
    assert!(records.iter().map(|record| record.seq).eq(checked + 1..=last), "round {round}: a gap");
    assert_eq!(opened.behind, [], "every append saves its row");
    for row in &opened.rows {
        assert_eq!(row.bytes, row.version.to_string().as_bytes());
    }
    for (name, (seq, version)) in versions {
        let index = usize::try_from(*seq - checked).unwrap();
        assert_eq!(records[index - 1].stream, stream(name));
        // A later append of the stream may be durable without an acknowledgement.
        let later = records[index..].iter().any(|record| record.stream == stream(name));
        let row = opened.rows.iter().find(|row| row.stream == stream(name));
        assert!(later || row.map_or(0, |row| row.version) == *version, "round {round}: {name}");
    }
    if round % 20 == 19 {
        assert_sound(&opened.journal);
    }
    last
}
