//! The model compared with the engine's answers and the machine, in a quiet moment.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::{Duration, Instant};

use super::judge;
use super::kills::Victim;
use super::model::{Life, State};
use super::recipe::{Policy, Recipe};
use super::world::World;

/// Deadline for consequences that follow by themselves. Only a hang takes as long.
const PATIENCE: Duration = Duration::from_secs(90);

/// Lists agree with the model.
pub(crate) fn lists(world: &World) {
    // Restarts by policy and verdicts on health go on meanwhile: it is looked at until nothing has come in between.
    let mut broken = String::new();
    for _ in 0..40 {
        let Ok(before) = world.wire.info() else { continue };
        let (Ok(rows), Ok(volumes)) = (world.wire.list(), world.wire.volumes()) else { continue };
        let Ok(after) = world.wire.info() else { continue };
        if !world.journal.reaches(after.journal_seq) {
            continue;
        }
        let history = world.journal.read();
        let wanted: BTreeMap<&str, (&str, &str)> = history
            .model
            .present()
            .map(|(id, life)| (id.as_str(), (life.name.as_str(), life.state().word())))
            .collect();
        let found: BTreeMap<&str, (&str, &str)> =
            rows.iter().map(|row| (row.id.as_str(), (row.name.as_str(), row.state.as_str()))).collect();
        let made: BTreeSet<&str> =
            history.model.volumes.iter().filter(|(_, there)| **there).map(|(name, _)| name.as_str()).collect();
        let there: BTreeSet<&str> = volumes.iter().map(String::as_str).collect();
        if wanted == found && made == there {
            return;
        }
        let missing: Vec<_> = wanted.iter().filter(|(id, row)| found.get(*id) != Some(*row)).collect();
        let strange: Vec<_> = found.iter().filter(|(id, row)| wanted.get(*id) != Some(*row)).collect();
        broken = format!("expected {missing:?}, listed {strange:?}; volumes expected {made:?}, listed {there:?}");
        // The follower may be beyond what was listed.
        let quiet = before.journal_seq == after.journal_seq && history.last() == after.journal_seq;
        drop(history);
        if quiet {
            break;
        }
    }
    world.report.violation(world, "lists agree with the journal", None, &broken);
}

/// States that are on their way to another.
pub(crate) fn transients(world: &World) {
    let end = Instant::now() + PATIENCE;
    loop {
        let history = world.journal.read();
        let stuck = history
            .model
            .present()
            .filter(|(id, life)| !world.claims.is_stuck(id, life.states.len()))
            .find_map(|(id, life)| is_transient(world, life).map(|why| (id.clone(), life.states.len(), why)));
        drop(history);
        let Some((id, states, why)) = stuck else { return };
        if Instant::now() > end {
            world.report.violation(world, "nothing stays half done", Some(&id), why);
            // Once is enough.
            world.claims.stuck(&id, states);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn is_transient(world: &World, life: &Life) -> Option<&'static str> {
    let recipe = Recipe::of(world.options.seed, &life.name);
    match life.state() {
        State::Starting => Some("it is being started"),
        State::Pausing | State::Resuming => Some("it is being frozen or thawed"),
        State::Removing => Some("it is being removed"),
        State::Exited if recipe.auto_remove => Some("it was to be removed when it ended"),
        // The client that asked for it is gone.
        State::Created if recipe.auto_remove && life.name.starts_with('r') => Some("`run --rm` has left it"),
        State::Exited
            if recipe.policy == Policy::Always
                && life.run.signals.is_empty()
                && life.run.pid.is_some()
                && !life.run.restart_cancelled =>
        {
            Some("it was to be started again")
        }
        State::Running if life.execs.len() > 8 => Some("ended execs have no event"),
        State::Created | State::Running | State::Paused | State::Exited | State::Restarting | State::Gone => None,
    }
}

/// Each container that is there: its process, its limits, its log, its address.
pub(crate) fn containers(world: &World) {
    let history = world.journal.read();
    let present: Vec<(String, Life)> = history.model.present().map(|(id, life)| (id.clone(), life.clone())).collect();
    drop(history);
    let mut addresses: BTreeMap<String, String> = BTreeMap::new();
    for (id, life) in &present {
        let value = match world.wire.inspect(id) {
            Ok(value) => value,
            Err(status) => {
                // The container may end by itself, and be removed then.
                let there = world.journal.read().model.lives.get(id).is_some_and(|life| life.state() != State::Gone);
                if there && !Recipe::of(world.options.seed, &life.name).auto_remove {
                    world.report.violation(world, "every container can be inspected", Some(id), &status.to_string());
                }
                continue;
            }
        };
        let broken = |rule: &str, text: &str| world.report.violation(world, rule, Some(id), text);
        let memory = value["HostConfig"]["Memory"].as_i64().unwrap_or(0);
        let allowed = world.claims.memory(id);
        if !allowed.contains(&memory) {
            broken("limits are those that were set", &format!("memory is {memory}, not one of {allowed:?}"));
        }
        let now = world.journal.read().model.lives.get(id).cloned();
        let Some(now) = now.filter(|now| now.state() == life.state() && now.run.since == life.run.since) else {
            continue;
        };
        if let Some(text) = process_is_wrong(world, id, &now) {
            // The process may have ended just now.
            std::thread::sleep(Duration::from_millis(500));
            let later = world.journal.read().model.lives.get(id).map(Life::state);
            if later == Some(now.state()) {
                broken("running containers have processes, and only they", &text);
            }
        }
        let address = value["NetworkSettings"]["IPAddress"].as_str().unwrap_or_default();
        if now.state().is_up()
            && !address.is_empty()
            && let Some(other) = addresses.insert(address.to_owned(), id.clone())
        {
            broken("an address is one container's", &format!("{address} is also of {other}"));
        }
        log(world, id);
    }
}

/// The process of the last `Started` exists, in the container's cgroup, frozen or not.
fn process_is_wrong(world: &World, id: &str, life: &Life) -> Option<String> {
    let pid = life.run.pid?;
    let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    let own = groups.lines().any(|line| line.contains(id) && line.contains(&world.cgroup_parent));
    match life.state() {
        State::Running | State::Paused if !own => {
            Some(format!("process {pid} is not in the container's cgroup: {groups}"))
        }
        State::Running | State::Paused => {
            let freezer = groups.lines().find_map(|line| line.split_once(":freezer:").map(|(_, path)| path.to_owned()));
            let state = freezer
                .and_then(|path| fs::read_to_string(format!("/sys/fs/cgroup/freezer{path}/freezer.state")).ok())?;
            let frozen = state.trim() != "THAWED";
            (frozen != (life.state() == State::Paused))
                .then(|| format!("it is {:?} and the kernel says {state}", life.state()))
        }
        State::Created | State::Exited | State::Restarting if own => Some(format!("process {pid} is still there")),
        _ => None,
    }
}

/// The container's log is whole.
fn log(world: &World, id: &str) {
    let output = world.node().isula(&["logs", id]);
    if !output.status.success() {
        return;
    }
    let again = world.kills.touched(id, &[Victim::Shim], 0);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if let Some(broken) = judge::broken_lines(&text, again, true) {
        world.report.violation(world, "no line is lost", Some(id), &broken);
    }
}
