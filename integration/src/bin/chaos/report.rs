//! Violations: printed at once, with all known facts of the container.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};

use super::world::World;

/// Reports of one rule; more of the same show nothing new.
const OF_ONE_RULE: usize = 4;
/// Then the run ends.
const ALL: usize = 40;
/// Events of a container that are printed with a violation.
const HISTORY: usize = 60;

#[derive(Debug, Default)]
pub(crate) struct Report(Mutex<HashMap<String, usize>>);

impl Report {
    /// A rule is broken, perhaps for a container (its id or its name).
    pub(crate) fn violation(&self, world: &World, rule: &str, container: Option<&str>, text: &str) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(rule.to_owned()).or_default();
        *count += 1;
        let shown = *count <= OF_ONE_RULE;
        let all: usize = counts.values().sum();
        drop(counts);
        let _ = std::fs::write(world.options.scratch.join(super::isolation::BROKEN), "");
        world.trace(&format!("VIOLATION {rule}: {text}"));
        if shown {
            let mut page = format!("\nVIOLATION at {}, seed {}: {rule}\n  {text}\n", world.clock(), world.options.seed);
            if let Some(container) = container {
                history(world, container, &mut page);
            }
            eprintln!("{page}");
        }
        if all >= ALL {
            world.finish();
        }
    }

    pub(crate) fn none(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// How often each rule was broken.
    pub(crate) fn summary(&self) -> String {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut lines: Vec<String> = counts.iter().map(|(rule, count)| format!("  {count} × {rule}")).collect();
        lines.sort();
        lines.join("\n")
    }
}

/// Its journal, and the kills that concerned it, in order.
fn history(world: &World, container: &str, page: &mut String) {
    let history = world.journal.read();
    let id = match history.model.holder(container) {
        Some(id) => id.to_owned(),
        None => container.to_owned(),
    };
    let mut lines: Vec<(u64, String)> = Vec::new();
    for event in history.events.iter().filter(|event| event.id == id) {
        let mut facts: Vec<String> = event.attributes.iter().map(|(key, value)| format!("{key}={value}")).collect();
        facts.retain(|fact| !fact.starts_with("image="));
        facts.sort();
        lines.push((event.seq, format!("{} {} [{}]", event.name, facts.join(" "), event.actor)));
    }
    drop(history);
    // Kills before its first event and after its last one explain nothing.
    let (first, last) = (lines.first().map_or(0, |(seq, _)| *seq), lines.last().map_or(0, |(seq, _)| *seq));
    for kill in world.kills.about(&id).iter().filter(|kill| (first..=last).contains(&(kill.seq + 1))) {
        lines.push((kill.seq, format!("(kill) {:?} {} at {}", kill.victim, kill.pid, world.time(kill.at))));
    }
    lines.sort();
    let _ = writeln!(page, "  container {id}:");
    for (seq, line) in &lines[lines.len().saturating_sub(HISTORY)..] {
        let _ = writeln!(page, "    {seq:>6} {line}");
    }
}
