//! For each operation: the facts that make a success true, and those that excuse a refusal.

use super::{Evidence, Observed, Reply, broken_lines, renamed_to};
use crate::kills::Victim;
use crate::model::State;
use crate::operation::Op;
use crate::recipe::Recipe;

const UP: [State; 4] = [State::Running, State::Pausing, State::Paused, State::Resuming];
const GOING: [State; 2] = [State::Removing, State::Gone];

pub(super) fn word(op: Op) -> &'static str {
    match op {
        Op::Create => "create",
        Op::Run => "run -d",
        Op::Foreground => "run --rm",
        Op::Start => "start",
        Op::Stop(_) => "stop",
        Op::Kill(_) => "kill",
        Op::Restart => "restart",
        Op::Pause => "pause",
        Op::Unpause => "unpause",
        Op::Remove => "rm",
        Op::RemoveForce => "rm -f",
        Op::Rename => "rename",
        Op::Exec(_) => "exec",
        Op::ExecDetached => "exec -d",
        Op::Logs => "logs",
        Op::Copy => "cp",
        Op::Update(_) => "update",
        Op::Attach(_) => "attach",
        Op::Wait(_) => "wait",
        Op::Stats => "stats",
        Op::Inspect => "inspect",
        Op::Top => "top",
        Op::List => "ps",
        Op::VolumeWrite => "volume write",
        Op::VolumeRead => "volume read",
    }
}

/// Whether the operation had the requested result.
pub(super) fn is_right(world: &Evidence<'_>, op: Op, name: &str, token: &str, reply: &Reply, seen: &Observed) -> bool {
    match op {
        Op::Exec(code) => reply.output.code() == i32::from(code) && reply.output.text() == token,
        Op::Foreground => {
            let recipe = Recipe::of(world.seed, name);
            i64::from(reply.output.code()) == recipe.code && reply.output.text() == recipe.output()
        }
        // A session ends with the code of the container, or goes on until it is ended.
        Op::Attach(_) => !reply.timely || seen.ends.contains(&reply.output.code().to_string()),
        _ => reply.succeeded(),
    }
}

/// The fault in an answer that no kill excuses.
pub(super) fn fault(
    world: &Evidence<'_>,
    op: Op,
    name: &str,
    token: &str,
    reply: &Reply,
    seen: &Observed,
) -> Option<String> {
    let output = &reply.output;
    let silent = output.stderr.trim().is_empty();
    match op {
        Op::Exec(code) => {
            let ended = output.code() == i32::from(code);
            if ended && !seen.was(&UP) {
                return Some("there was nothing to run it in".to_owned());
            }
            let lost = ended && output.text() != token && silent;
            lost.then(|| "the process's code without all of its output, and no word of it".to_owned())
        }
        Op::Foreground => {
            let recipe = Recipe::of(world.seed, name);
            if let Some(broken) = foreign_code(reply, seen) {
                return Some(broken);
            }
            let lost = i64::from(output.code()) == recipe.code && output.text() != recipe.output() && silent;
            lost.then(|| {
                format!(
                    "the container's code without all of its output ({} bytes), and no word of it",
                    output.stdout.len()
                )
            })
        }
        Op::Attach(_) => foreign_code(reply, seen).or_else(|| lines_are_wrong(world, reply, silent, seen)),
        Op::Logs => lines_are_wrong(world, reply, reply.succeeded(), seen),
        _ if !reply.succeeded() => None,
        Op::Create | Op::Run => made(world, op, name, reply),
        Op::Start => (!seen.was(&UP)).then(|| "it did not run at any moment".to_owned()),
        Op::Stop(_) => {
            let down = [State::Created, State::Exited, State::Restarting, State::Removing, State::Gone];
            (!seen.was(&down)).then(|| "it ran all the time".to_owned())
        }
        Op::Kill("KILL") => {
            let down = [State::Exited, State::Restarting, State::Removing, State::Gone];
            (!seen.was(&down)).then(|| "it ran all the time".to_owned())
        }
        Op::Kill(_) => (!seen.was(&UP)).then(|| "there was nothing to signal".to_owned()),
        Op::Restart => (!seen.has("Started")).then(|| "it was not started".to_owned()),
        Op::Pause => (!seen.was(&[State::Paused])).then(|| "it was not paused at any moment".to_owned()),
        Op::Unpause => (!seen.was(&[State::Running])).then(|| "it did not run at any moment".to_owned()),
        Op::Remove | Op::RemoveForce => (!seen.was(&[State::Gone])).then(|| "it is still there".to_owned()),
        Op::Rename => {
            let new = renamed_to(name);
            let done =
                seen.events.iter().any(|event| event.name == "Renamed" && event.attributes.get("name") == Some(&new));
            (!done).then(|| "it was not renamed".to_owned())
        }
        Op::ExecDetached => (!seen.has("ExecStarted")).then(|| "no exec was recorded".to_owned()),
        Op::Update(mib) => {
            // A limit that the container has already is no change.
            let has = |id: &String| world.claims.memory(id).contains(&(i64::from(mib) << 20));
            (!seen.has("Updated") && !seen.ids.iter().any(has)).then(|| "no update was recorded".to_owned())
        }
        Op::Wait(_) => waited(reply, seen),
        Op::Inspect => inspected(reply, seen),
        Op::Stats => counted(world, reply, seen),
        Op::List => listed(world, reply),
        Op::VolumeWrite => (output.text() != token).then(|| "its output is missing".to_owned()),
        Op::VolumeRead => {
            let file = volume_file(world, name, token)?;
            let content = output.text();
            // Nothing was written yet, or the output was lost with a word.
            if content.is_empty() && !silent { None } else { world.claims.file_is_wrong(&file, &content) }
        }
        Op::Copy => seen.ids.is_empty().then(|| "there was no container".to_owned()),
        Op::Top => {
            let rows = output.text().lines().count();
            (rows < 2 || !(seen.was(&UP) || seen.was(&[State::Removing])))
                .then(|| format!("{} processes are listed", rows.saturating_sub(1)))
        }
    }
}

/// A moment at which a refusal was due.
pub(super) fn excused(world: &Evidence<'_>, op: Op, name: &str, reply: &Reply, seen: &Observed) -> bool {
    let going = seen.absent || seen.was(&GOING);
    match op {
        Op::Create | Op::Run | Op::Foreground => {
            // Another container had the name. The one that this operation made does not count: its id is printed also
            // when it could not start. A container that is being created has its name before it is in the journal.
            let made = reply.output.text();
            seen.ids.iter().any(|id| *id != made) || reply.output.stderr.contains("is already in use by container")
        }
        Op::Start => going || seen.was(&[State::Pausing, State::Paused, State::Resuming]),
        // A frozen container gets no signal: it is thawed first.
        Op::Stop(_) => going || seen.was(&[State::Created, State::Pausing, State::Paused, State::Resuming]),
        Op::Kill(_) => seen.was_not_only(&[State::Running]),
        Op::Restart => going || seen.was(&[State::Created, State::Pausing, State::Paused, State::Resuming]),
        Op::Pause | Op::Exec(_) | Op::ExecDetached | Op::VolumeWrite | Op::VolumeRead | Op::Attach(_) => {
            seen.was_not_only(&[State::Running])
        }
        Op::Unpause => seen.was_not_only(&[State::Paused]),
        Op::Remove => seen.was_not_only(&[State::Created, State::Exited]),
        Op::RemoveForce | Op::Logs | Op::Update(_) | Op::Inspect | Op::Stats | Op::Wait(_) => going,
        Op::Rename => {
            let history = world.journal.read();
            let new = renamed_to(name);
            going || history.model.holder(&new).is_some() || seen.events.iter().any(|event| event.name == "Renamed")
        }
        // A start takes the files away from a copy, an end the mounts.
        Op::Copy => going || seen.states.len() > 1,
        Op::Top => seen.was_not_only(&UP),
        Op::List => false,
    }
}

/// Records the changes that an operation may have made, or has surely made.
pub(super) fn claim(world: &Evidence<'_>, op: Op, name: &str, token: &str, reply: &Reply, seen: &Observed) {
    match op {
        Op::Update(mib) => {
            let surely = reply.succeeded() && seen.ids.len() == 1;
            seen.ids.iter().for_each(|id| world.claims.memory_set(id, i64::from(mib) << 20, surely));
        }
        Op::VolumeWrite => {
            if let Some(file) = volume_file(world, name, token) {
                world.claims.file_written(&file, token, reply.succeeded());
            }
        }
        _ => {}
    }
}

/// The client's file in the volume of the container; `None` when it has none.
fn volume_file(world: &Evidence<'_>, name: &str, token: &str) -> Option<String> {
    let volume = Recipe::of(world.seed, name).volume?;
    Some(format!("{volume}/of-{}", token.split('-').nth(1)?))
}

/// The id that was printed is of a container that was made, and started.
fn made(world: &Evidence<'_>, op: Op, name: &str, reply: &Reply) -> Option<String> {
    let id = reply.output.text();
    let history = world.journal.read();
    let Some(life) = history.model.lives.get(&id) else { return Some(format!("there is no container {id}")) };
    let states: Vec<State> = life.states_in(reply.from, reply.to).collect();
    if life.first_seq() <= reply.from {
        return Some("the container was there before".to_owned());
    }
    let wanted = if op == Op::Run { State::Running } else { State::Created };
    let first = history.between(reply.from, reply.to).iter().find(|event| event.id == id);
    let first_name = first.and_then(|event| event.attributes.get("name")).map_or("", String::as_str);
    (!states.contains(&wanted) || first_name != name).then(|| format!("`{first_name}` was {states:?}"))
}

fn waited(reply: &Reply, seen: &Observed) -> Option<String> {
    let code = reply.output.text();
    let never_ran = code == "0" && seen.was(&[State::Created]);
    (!never_ran && !seen.ends.contains(&code)).then(|| format!("no run has ended with {code}, but {:?}", seen.ends))
}

fn inspected(reply: &Reply, seen: &Observed) -> Option<String> {
    let text = reply.output.text();
    let Some((id, word)) = text.split_once(' ') else { return Some("it is no id and no state".to_owned()) };
    let fits = seen.states.iter().any(|state| {
        state.word() == word
            || (word == "created" && state.word() == "inited")
            || (word == "restarting" && *state == State::Running)
    });
    (!fits || !seen.ids.iter().any(|seen| seen == id)).then(|| format!("it was {:?}", seen.states))
}

/// `CONTAINER CPU_USAGE …`
fn counted(world: &Evidence<'_>, reply: &Reply, seen: &Observed) -> Option<String> {
    let text = reply.output.text();
    let value: u64 = text.lines().nth(1)?.split('\t').nth(1)?.trim().parse().ok()?;
    // The counter belongs to a single run of a single container.
    let ([id], false) = (seen.ids.as_slice(), seen.has("StartRequested")) else { return None };
    let run = world.journal.read().model.lives.get(id)?.run.since;
    let before = world.claims.counted(id, run, value)?;
    Some(format!("the processor time was {before} ns before, it is {value} ns"))
}

/// Everything that was there all the time is listed, and nothing that was gone.
fn listed(world: &Evidence<'_>, reply: &Reply) -> Option<String> {
    let text = reply.output.text();
    let rows: Vec<&str> = text.lines().collect();
    let history = world.journal.read();
    let there = |state: State| state != State::Gone;
    for (id, life) in &history.model.lives {
        let mut states = life.states_in(reply.from, reply.to).peekable();
        let listed = rows.contains(&id.as_str());
        if life.first_seq() <= reply.from && states.peek().is_some() && !listed && states.all(there) {
            return Some(format!("container {id} (`{}`) is missing", life.name));
        }
        if listed && life.states_in(reply.from, reply.to).all(|state| state == State::Gone) {
            return Some(format!("container {id} (`{}`) is gone", life.name));
        }
    }
    let stranger = rows.iter().find(|row| !history.model.lives.contains_key(**row));
    stranger.map(|row| format!("container {row} was never made"))
}

/// Without a word on anything else, the code is that of a run which has ended.
fn foreign_code(reply: &Reply, seen: &Observed) -> Option<String> {
    let code = reply.output.code().to_string();
    let complete = reply.timely && reply.output.stderr.trim().is_empty();
    (complete && !seen.ends.contains(&code)).then(|| format!("no run has ended with {code}, but {:?}", seen.ends))
}

/// `whole`: all of it came, to its end. Output that is cut off may be cut anywhere.
fn lines_are_wrong(world: &Evidence<'_>, reply: &Reply, whole: bool, seen: &Observed) -> Option<String> {
    // A shim that was killed may have left some lines to be written again.
    let again = seen.ids.iter().any(|id| world.kills.touched(id, &[Victim::Shim], 0));
    let text = String::from_utf8_lossy(&reply.output.stdout).into_owned();
    broken_lines(&text, again, whole && reply.timely)
}
