//! Whether a reply can be true.
//!
//! A command was sent when event `from` was the last that had come, and all events that it caused have come by event
//! `to`. A success needs a moment in between at which it was true; a refusal needs one at which it had to be refused,
//! or a kill that it met.

use std::time::{Duration, Instant};

use cri_api::isula::v1::Event;
use integration::Output;

use super::claims::Claims;
use super::journal::Journal;
use super::kills::{Kills, Victim};
use super::model::State;
use super::operation::{Op, other_name};
use super::recipe::{Kind, Policy, Recipe};
use super::world::World;

mod lines;
mod rules;
#[cfg(test)]
mod tests;

pub(crate) use lines::broken as broken_lines;

/// A process that was killed.
const KILLED: i32 = 137;

/// How long the end of a container may take to be recorded after its processes are gone. Only a hang takes as long.
const RECORDING: Duration = Duration::from_secs(60);
/// The refusal of a command that needs the container's process.
const NOT_RUNNING: &str = "is not running";

/// All that a reply is judged by.
#[derive(Clone, Copy)]
pub(crate) struct Evidence<'a> {
    pub seed: u64,
    pub journal: &'a Journal,
    pub kills: &'a Kills,
    pub claims: &'a Claims,
}

#[derive(Debug)]
pub(crate) struct Reply {
    pub from: u64,
    pub to: u64,
    pub begun: Instant,
    pub ended: Instant,
    pub output: Output,
    /// The command ended by itself.
    pub timely: bool,
    pub words: Vec<String>,
}

impl Reply {
    pub(crate) fn succeeded(&self) -> bool {
        self.timely && self.output.status.success()
    }

    fn was_killed(&self) -> bool {
        self.output.status.code().is_none()
    }
}

/// All states and events between two events, of all containers that had a name meanwhile.
pub(crate) struct Observed {
    pub ids: Vec<String>,
    pub absent: bool,
    pub states: Vec<State>,
    pub events: Vec<Event>,
    /// How the runs ended that could be seen.
    pub ends: Vec<String>,
    /// Something was killed that it may have met.
    pub disturbed: bool,
}

impl Observed {
    fn of(world: &Evidence<'_>, name: &str, reply: &Reply) -> Self {
        let history = world.journal.read();
        let holders = history.model.holders(name, reply.from, reply.to);
        let ids: Vec<String> = holders.iter().flatten().cloned().collect();
        let lives = || ids.iter().filter_map(|id| history.model.lives.get(id));
        let mut states: Vec<State> = lives().flat_map(|life| life.states_in(reply.from, reply.to)).collect();
        states.dedup();
        let events: Vec<Event> =
            history.between(reply.from, reply.to).iter().filter(|event| ids.contains(&event.id)).cloned().collect();
        let mut ends: Vec<String> = lives().filter_map(|life| life.ended.clone()).collect();
        let codes = events.iter().filter(|event| event.name == "Exited" || event.name == "StartFailed");
        ends.extend(codes.filter_map(|event| event.attributes.get("exitCode").cloned()));
        drop(history);
        let disturbed = world.kills.met(&ids, reply.begun, reply.ended);
        Self { absent: holders.contains(&None), ids, states, events, ends, disturbed }
    }

    pub(crate) fn was(&self, states: &[State]) -> bool {
        self.states.iter().any(|state| states.contains(state))
    }

    /// The container was in another state, or absent, if only for a moment.
    pub(crate) fn was_not_only(&self, states: &[State]) -> bool {
        self.absent || self.states.is_empty() || self.states.iter().any(|state| !states.contains(state))
    }

    pub(crate) fn has(&self, event: &str) -> bool {
        self.events.iter().any(|it| it.name == event)
    }
}

/// Judges one reply.
pub(crate) fn reply(world: &World, op: Op, name: &str, token: &str, reply: &Reply) {
    let evidence = world.evidence();
    let reply = &complete(&evidence, op, name, reply);
    let seen = Observed::of(&evidence, name, reply);
    world.claims.done(rules::word(op), rules::is_right(&evidence, op, name, token, reply, &seen));
    let broken = |rule: &str, text: &str| {
        let Output { status, stderr, .. } = &reply.output;
        let stdout: String = reply.output.text().chars().take(600).collect();
        let text = format!(
            "{text}\n  isula {}\n  {status} from event {} to {}, at {} to {}\n  stdout: {stdout}\n  stderr: {stderr}  states {:?}",
            reply.words.join(" "),
            reply.from,
            reply.to,
            world.time(reply.begun),
            world.time(reply.ended),
            seen.states,
        );
        world.report.violation(world, rule, Some(name), &text);
    };
    let rule = broken_rule(&evidence, op, name, token, reply, &seen);
    // Afterwards: a rule compares with the claims of earlier replies.
    rules::claim(&evidence, op, name, token, reply, &seen);
    if let Some((rule, text)) = rule {
        broken(rule, &text);
    }
}

/// A process that was run in a container and was killed with it answers before the container's end is recorded, and so
/// does a command that met the container without its process: the reply with all events up to that end.
fn complete(world: &Evidence<'_>, op: Op, name: &str, reply: &Reply) -> Reply {
    let killed = reply.timely && reply.output.code() == KILLED;
    let runs = matches!(op, Op::Exec(_) | Op::VolumeWrite | Op::VolumeRead);
    let end = if killed && runs {
        end_after(world, name, reply)
    } else if reply.output.stderr.contains(NOT_RUNNING) {
        end_met(world, name, reply)
    } else {
        None
    };
    Reply { to: end.unwrap_or(reply.to), output: reply.output.clone(), words: reply.words.clone(), ..*reply }
}

fn end_after(world: &Evidence<'_>, name: &str, reply: &Reply) -> Option<u64> {
    world.journal.first(RECORDING, |history| {
        let ids = history.model.holders(name, reply.from, reply.to);
        let ends = |event: &&Event| event.name == "Exited" && ids.iter().flatten().any(|id| *id == event.id);
        history.between(reply.from, history.last()).iter().find(ends).map(|event| event.seq.max(reply.to))
    })
}

/// The end that a refusal met before it was recorded: the next change of a container that ran all the time until then.
fn end_met(world: &Evidence<'_>, name: &str, reply: &Reply) -> Option<u64> {
    if Observed::of(world, name, reply).was_not_only(&[State::Running]) {
        return None;
    }
    world.journal.first(RECORDING, |history| {
        let ids = history.model.holders(name, reply.from, reply.to);
        let own = |event: &&Event| ids.iter().flatten().any(|id| *id == event.id);
        let ends_with_it = |event: &&Event| ["ExecExited", "Detached", "OomKilled"].contains(&event.name.as_str());
        let mut next = history.between(reply.to, history.last()).iter().filter(own).skip_while(ends_with_it);
        next.next().map(|event| (event.name == "Exited").then_some(event.seq))
    })?
}

/// The rule that a reply breaks, and how.
fn broken_rule(
    world: &Evidence<'_>,
    op: Op,
    name: &str,
    token: &str,
    reply: &Reply,
    seen: &Observed,
) -> Option<(&'static str, String)> {
    let ended_by_us = matches!(op, Op::Attach(_) | Op::Wait(_)) && !reply.timely;
    if !reply.timely && !ended_by_us {
        return Some(("no command hangs", "it did not end".to_owned()));
    }
    // A killed command may have been carried out or not; the output of an attached stream is true all the same.
    if reply.was_killed() && !(ended_by_us && matches!(op, Op::Attach(_))) {
        return None;
    }
    if let Some(text) = rules::fault(world, op, name, token, reply, seen) {
        return Some(("answers are true", text));
    }
    if ended_by_us {
        return None;
    }
    let has_code_of_its_own =
        matches!(op, Op::Exec(_) | Op::VolumeWrite | Op::VolumeRead | Op::Foreground | Op::Attach(_));
    if !reply.succeeded() && !has_code_of_its_own && reply.output.stderr.trim().is_empty() {
        return Some(("a refusal says why", "there is no word".to_owned()));
    }
    let right = rules::is_right(world, op, name, token, reply, seen);
    let due = right || seen.disturbed || rules::excused(world, op, name, reply, seen);
    let never = "nothing was killed, and there was no moment at which it had to be refused";
    (!due).then(|| ("possible requests succeed", never.to_owned()))
}

/// A file that was copied in comes out again, unless the container was another, or gone, or perhaps disturbed.
pub(crate) fn copied(world: &World, name: &str, token: &str, first: &Reply, second: &Reply, found: Vec<u8>) {
    reply(world, Op::Copy, name, token, second);
    let ids = |reply| Observed::of(&world.evidence(), name, reply).ids;
    let same = ids(first) == ids(second);
    if second.succeeded() && same && found != token.as_bytes() {
        let text = format!("`{token}` came back as `{}`", String::from_utf8_lossy(&found));
        world.report.violation(world, "copied files are there", Some(name), &text);
    }
}

/// Judges the event of a run's beginning or end.
pub(crate) fn exit(world: &World, event: &Event) {
    if let Some(text) = broken_exit(&world.evidence(), event) {
        world.report.violation(world, "an exit is never guessed, and a policy is kept", Some(&event.id), &text);
    }
}

/// Why it cannot be.
fn broken_exit(world: &Evidence<'_>, event: &Event) -> Option<String> {
    let history = world.journal.read();
    let life = history.model.lives.get(&event.id)?;
    let (name, run, restarts) = (life.name.clone(), life.run.clone(), life.restarts);
    drop(history);
    let recipe = Recipe::of(world.seed, &name);
    let touched = |victims: &[Victim]| world.kills.touched(&event.id, victims, run.since);
    let asked = |signal: &str| run.signals.iter().any(|asked| asked.trim_start_matches("SIG") == signal);
    let code = event.attributes.get("exitCode").map(String::as_str).unwrap_or_default();
    let fits = match event.name.as_str() {
        "Exited" => match code {
            // Only where the shim, which alone knows the exit code, was killed.
            "unknown" => touched(&[Victim::Shim]),
            "137" => {
                // A stop ends with it when its grace is over; a removal begins with it.
                !run.signals.is_empty()
                    || run.removal
                    || run.unhealthy
                    || run.oom
                    || touched(&[Victim::First, Victim::Runtime])
            }
            // The trap is not set in the first moment of the script, and a tiny init passes the signal on.
            "143" => asked("TERM"),
            code if code == recipe.code.to_string() => matches!(recipe.kind, Kind::Job { .. }) || asked("TERM"),
            _ => false,
        },
        "StartFailed" => {
            let cut = world.kills.met(std::slice::from_ref(&event.id), Instant::now(), Instant::now());
            cut || touched(&[Victim::Shim, Victim::Runtime, Victim::Plugin, Victim::First]) || run.removal
        }
        "StartRequested" => {
            let allowed = if let Policy::OnFailure(times) = recipe.policy { times } else { u32::MAX };
            restarts <= allowed && (restarts == 0 || recipe.policy != Policy::No)
        }
        _ => true,
    };
    (!fits).then(|| {
        format!(
            "event {}: `{}` with {code}; the recipe is {recipe:?}, {restarts} restarts, {run:?}",
            event.seq, event.name
        )
    })
}

/// A renamed container's new name.
fn renamed_to(name: &str) -> String {
    other_name(name)
}
