//! The end: all is compared, everything is removed, and nothing is left of it in the world.

use std::collections::BTreeSet;
use std::fs;
use std::time::{Duration, Instant};

use integration::{Node, cgroup, command, process};

use super::model::State;
use super::quiet;
use super::world::World;

/// The daemon retries releases that were put off after 1, 2, 4 … seconds.
const PATIENCE: Duration = Duration::from_secs(150);
/// Descriptors that a daemon without containers may have more than one that never had any.
const DESCRIPTORS: usize = 12;

/// The world before the first container.
pub(crate) struct Baseline {
    descriptors: usize,
    processes: usize,
}

impl Baseline {
    pub(crate) fn of(node: &Node) -> Self {
        Self { descriptors: node.daemon().descriptors(), processes: process::all().count() }
    }
}

pub(crate) fn run(world: &World, before: &Baseline) {
    world.finish();
    let _quiet = world.hush();
    quiet::look(world);
    if !remove_all(world) {
        return;
    }
    let end = Instant::now() + PATIENCE;
    loop {
        let left = leftovers(world, before);
        if left.is_empty() {
            break;
        }
        if Instant::now() > end {
            world.report.violation(world, "nothing is left", None, &left.join("\n  "));
            break;
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    quiet::look(world);
    let log = world.node().log();
    if let Some(line) = log.lines().find(|line| line.contains("panicked at")) {
        world.report.violation(world, "the daemon does not panic", None, line);
    }
}

/// Removes every container, network and volume; each removal must succeed.
fn remove_all(world: &World) -> bool {
    let ids: Vec<String> = world.journal.read().model.present().map(|(id, _)| id.clone()).collect();
    for id in ids {
        let output = world.node().isula(&["rm", "-f", &id]);
        // An auto-remove container may be quicker.
        if !output.status.success() && !output.stderr.contains("No such container") {
            world.report.violation(world, "everything can be removed", Some(&id), &output.stderr);
        }
    }
    let end = Instant::now() + PATIENCE;
    let node = world.node();
    for (list, remove) in [(["network", "ls", "-q"], ["network", "rm"]), (["volume", "ls", "-q"], ["volume", "rm"])] {
        let listed = node.isula(&list);
        for name in listed.text().lines() {
            // A thing whose removal was put off is still in use.
            let refused = loop {
                let output = node.isula(&[remove[0], remove[1], name]);
                if output.status.success() {
                    break None;
                }
                if Instant::now() > end {
                    break Some(output.stderr);
                }
                std::thread::sleep(Duration::from_millis(200));
            };
            if let Some(refused) = refused {
                world.report.violation(world, "everything can be removed", None, &format!("{name}: {refused}"));
            }
        }
    }
    let there: Vec<String> = match world.wire.list() {
        Ok(rows) => rows.into_iter().map(|row| row.name).collect(),
        Err(status) => vec![status.to_string()],
    };
    if !there.is_empty() {
        world.report.violation(world, "everything can be removed", None, &format!("still there: {there:?}"));
    }
    there.is_empty()
}

/// All that is still there, a line each.
fn leftovers(world: &World, before: &Baseline) -> Vec<String> {
    let node = world.node();
    let found = node.leftovers();
    let mut left: Vec<String> = Vec::new();
    left.extend(found.mounts.iter().map(|it| format!("mount {}", it.display())));
    left.extend(found.directories.iter().map(|it| format!("directory {}", it.display())));
    left.extend(found.storage.iter().map(|it| format!("storage {}", it.display())));
    left.extend(found.networks.iter().map(|it| format!("of networks {}", it.display())));
    left.extend(cgroup::below(&world.cgroup_parent).iter().map(|it| format!("cgroup {}", it.display())));
    let links = command::tool(&["ip", "-o", "link"]);
    let links = links.lines().filter_map(|line| line.split_whitespace().nth(1)).filter(|name| *name != "lo:");
    left.extend(links.map(|link| format!("interface {link}")));
    for table in ["nat", "filter"] {
        let rules = command::tool(&["iptables", "-t", table, "-S"]);
        let ours = rules.lines().filter(|rule| rule.contains("id: ") || rule.contains("CNI-DN-"));
        left.extend(ours.map(|rule| format!("rule {rule}")));
    }
    let known: BTreeSet<i32> = [1, std::process::id().cast_signed(), node.daemon().pid].into();
    let processes: Vec<i32> = process::all().map(|process| process.pid).filter(|pid| !known.contains(pid)).collect();
    if processes.len() + known.len() > before.processes {
        left.extend(processes.iter().map(|pid| format!("process {pid} {}", process::command_line(*pid).join(" "))));
    }
    let descriptors = node.daemon().descriptors();
    if descriptors > before.descriptors + DESCRIPTORS {
        left.push(format!("{descriptors} descriptors of the daemon, {} at first", before.descriptors));
    }
    if let Ok(entries) = fs::read_dir("/run/netns") {
        left.extend(entries.flatten().map(|entry| format!("pin {}", entry.path().display())));
    }
    let history = world.journal.read();
    let present = history.model.lives.values().filter(|life| life.state() != State::Gone);
    left.extend(present.map(|life| format!("container `{}` by its events", life.name)));
    left
}
