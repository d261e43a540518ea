//! The killer: the seed decides the moments and the victims. All processes that it can see are in the run's own pid
//! namespace, and each is held by its start time.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use integration::Process;
use integration::process::{self, Signal};

use super::dice::Dice;
use super::kills::{Kill, Victim};
use super::world::World;

/// How long one that comes and goes is waited for.
const HUNT: Duration = Duration::from_millis(400);

/// The killer's place among the seeds of the clients' decisions.
const PLACE: u64 = 1 << 32;

pub(crate) fn run(world: &World) {
    for step in 0.. {
        let mut dice = Dice::of(world.options.seed, &[PLACE, step]);
        thread::sleep(Duration::from_millis(150 + dice.below(1500)));
        if world.is_closing() {
            return;
        }
        let victim = dice.weighed(&[
            (14, Victim::Daemon),
            (20, Victim::Shim),
            (22, Victim::Runtime),
            (18, Victim::Plugin),
            (20, Victim::Client),
            (6, Victim::First),
        ]);
        let _open = world.enter();
        if world.is_closing() {
            return;
        }
        let Some(victim) = victim else { continue };
        strike(world, victim, &mut dice);
        // Both at once: no process is left that knows the exit.
        if victim == Victim::Shim && dice.percent(20) {
            strike(world, Victim::Daemon, &mut dice);
        }
    }
}

fn strike(world: &World, victim: Victim, dice: &mut Dice) {
    let (choice, wait) = (dice.number(), Duration::from_micros(dice.below(15_000)));
    let end = Instant::now() + HUNT;
    loop {
        let found = all(victim);
        if !found.is_empty() {
            let number = usize::try_from(choice % found.len() as u64).unwrap_or(0);
            thread::sleep(wait);
            return kill(world, victim, found[number]);
        }
        if Instant::now() > end {
            return;
        }
        thread::sleep(Duration::from_millis(1));
    }
}

fn kill(world: &World, victim: Victim, process: Process) {
    let mut subjects = ids_in(&format!("/proc/{}/cmdline", process.pid));
    subjects.extend(ids_in(&format!("/proc/{}/environ", process.pid)));
    if victim == Victim::First {
        subjects = ids_in(&format!("/proc/{}/cgroup", process.pid));
    }
    if !process.alive() {
        return;
    }
    let seq = world.journal.read().last();
    world.trace(&format!("kill {victim:?} {} {subjects:?}", process.pid));
    world.kills.note(Kill { victim, pid: process.pid, at: Instant::now(), seq, subjects });
    process.signal(Signal::KILL);
}

/// All that could be killed of this kind, in the order of their numbers.
fn all(victim: Victim) -> Vec<Process> {
    let fits = |pid: i32| {
        let words = process::command_line(pid);
        let program = words.first().map(|word| word.rsplit('/').next().unwrap_or_default()).unwrap_or_default();
        match victim {
            Victim::Daemon => program == "isulad",
            Victim::Shim => program == "isulad-shim",
            // On its way into the container the runtime becomes a process with another name, `init`.
            Victim::Runtime => {
                (program == "runc" || program == "crun") && words.get(1).is_some_and(|word| word != "init")
            }
            Victim::Plugin => ["bridge", "host-local", "portmap", "firewall"].contains(&program),
            Victim::Client => program == "isula",
            Victim::First => {
                words.iter().any(|word| word.contains("echo begin")) && is_first(pid) && program != "isula"
            }
        }
    };
    let mut found: Vec<Process> = process::all().filter(|process| fits(process.pid)).collect();
    found.sort_by_key(|process| process.pid);
    found
}

/// Whether it is process 1 of a pid namespace of its own, below ours.
fn is_first(pid: i32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let numbers = status.lines().find_map(|line| line.strip_prefix("NSpid:")).unwrap_or_default();
    let numbers: Vec<&str> = numbers.split_whitespace().collect();
    numbers.len() == 2 && numbers[1] == "1"
}

/// Containers' ids in a file of /proc.
fn ids_in(path: &str) -> Vec<String> {
    let bytes = fs::read(path).unwrap_or_default();
    let words = bytes.split(|byte| !byte.is_ascii_hexdigit()).filter(|word| word.len() == 64);
    let mut ids: Vec<String> = words.map(|word| String::from_utf8_lossy(word).into_owned()).collect();
    ids.sort();
    ids.dedup();
    ids
}
