//! The daemon's keeper: sees it end, and starts the next after a while that the seed decides.

use std::thread;
use std::time::Duration;

use super::dice::Dice;
use super::world::World;

/// The keeper's place among the seeds of the clients' decisions.
const PLACE: u64 = 2 << 32;

/// How many events before a restart are read again after it.
const READ_AGAIN: u64 = 500;

pub(crate) fn run(world: &World) {
    let mut restarts = 0;
    while !world.is_over() {
        let pid = {
            let mut node = world.node();
            let pid = node.daemon().pid;
            match node.died_within(Duration::from_millis(50)) {
                Some(status) => {
                    if !world.kills.has_killed_daemon(pid) {
                        let text = format!("it ended with {status}; its log:\n{}", tail(&node.log()));
                        drop(node);
                        world.report.violation(world, "the daemon lives until it is killed", None, &text);
                        world.kills.served();
                    }
                    Some(pid)
                }
                None => None,
            }
        };
        if pid.is_none() {
            // The lock is others' to take.
            thread::sleep(Duration::from_millis(5));
            continue;
        }
        restarts += 1;
        let mut dice = Dice::of(world.options.seed, &[PLACE, restarts]);
        // Often at once; sometimes long enough for containers to end meanwhile.
        let away = if dice.percent(50) { 0 } else { dice.below(2000) };
        thread::sleep(Duration::from_millis(away));
        if !launch(world) {
            return;
        }
        world.kills.served();
        after_restart(world);
    }
}

/// Until one serves: some are killed before.
fn launch(world: &World) -> bool {
    loop {
        let mut node = world.node();
        match node.try_launch(&[]) {
            Ok(()) => return true,
            Err(ended) if std::os::unix::process::ExitStatusExt::signal(&ended.status) == Some(9) => {}
            Err(ended) => {
                drop(node);
                let text = format!("it ended with {}:\n{}", ended.status, tail(&ended.log));
                world.report.violation(world, "a daemon starts after a kill", None, &text);
                world.finish();
                return false;
            }
        }
    }
}

/// Rules that hold at once after a restart, independently of the clients.
fn after_restart(world: &World) {
    let last = world.journal.read().last();
    // The daemon may have been killed again.
    let Ok(info) = world.wire.info() else { return };
    world.trace(&format!("daemon serves, {} containers, event {}", info.containers, info.journal_seq));
    if info.journal_seq < last {
        let text = format!("event {last} had come, the journal ends with {}", info.journal_seq);
        world.report.violation(world, "no event is lost", None, &text);
    }
    for warning in &info.warnings {
        world.trace(&format!("daemon warns: {warning}"));
    }
    if let Ok(again) = world.wire.events(last.saturating_sub(READ_AGAIN) + 1, last) {
        let history = world.journal.read();
        let before = history.between(last.saturating_sub(READ_AGAIN), last);
        let same = before.len() == again.len()
            && before.iter().zip(&again).all(|(a, b)| (a.seq, &a.id, &a.name) == (b.seq, &b.id, &b.name));
        drop(history);
        if !same {
            world.report.violation(
                world,
                "events stay as they are",
                None,
                &format!("events before {last} have changed"),
            );
        }
    }
}

fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(40)..].join("\n")
}
