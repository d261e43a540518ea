//! One client: decides, runs `isula`, and has the reply judged.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use integration::{binaries, command};

use super::judge::{self, Reply};
use super::operation::{Decision, Op};
use super::world::World;

/// For one command. Only a hang takes as long.
const PATIENCE: Duration = Duration::from_secs(240);
/// Until a daemon answers after a command.
const ANSWER: Duration = Duration::from_secs(120);

pub(crate) fn run(world: &World, client: u64) {
    for step in 0.. {
        let _open = world.enter();
        if world.is_closing() {
            return;
        }
        let decision = Decision::of(world.options.seed, client, step);
        let (name, present) = if decision.op == Op::Foreground {
            (format!("r{client}-{step}"), false)
        } else {
            current_name(world, &decision.slot)
        };
        let op = decision.fitting(present);
        if op == Op::Copy {
            copy(world, &name, &decision.token);
        } else {
            let patience = match op {
                Op::Attach(ms) | Op::Wait(ms) => Duration::from_millis(ms.into()),
                _ => PATIENCE,
            };
            let reply = call(world, op, &name, op.words(world, &name, &decision.token), patience);
            judge::reply(world, op, &name, &decision.token, &reply);
        }
    }
}

/// A container may have been renamed meanwhile; whether there is one.
fn current_name(world: &World, slot: &str) -> (String, bool) {
    let renamed = super::operation::other_name(slot);
    let history = world.journal.read();
    match (history.model.holder(slot), history.model.holder(&renamed)) {
        (Some(_), _) => (slot.to_owned(), true),
        (None, Some(_)) => (renamed, true),
        (None, None) => (slot.to_owned(), false),
    }
}

/// In, and out again.
fn copy(world: &World, name: &str, token: &str) {
    let (inside, outside) = (format!("{name}:/tmp/{token}"), world.options.scratch.join(token));
    let back = outside.with_extension("back");
    if std::fs::write(&outside, token).is_err() {
        return;
    }
    let words = |from: &str, to: &str| vec!["cp".to_owned(), from.to_owned(), to.to_owned()];
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let first = call(world, Op::Copy, name, words(&text(&outside), &inside), PATIENCE);
    judge::reply(world, Op::Copy, name, token, &first);
    if first.succeeded() {
        let second = call(world, Op::Copy, name, words(&inside, &text(&back)), PATIENCE);
        judge::copied(world, name, token, &first, &second, std::fs::read(&back).unwrap_or_default());
    }
    let _ = std::fs::remove_file(outside);
    let _ = std::fs::remove_file(back);
}

/// Runs a command and waits until all that it has done is known.
fn call(world: &World, op: Op, name: &str, words: Vec<String>, patience: Duration) -> Reply {
    let (from, begun) = (world.journal.read().last(), Instant::now());
    let mut command = Command::new(binaries::path("isula"));
    command.env("ISULAD_HOST", format!("unix://{}", world.socket.display())).args(&words);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().unwrap_or_else(|error| panic!("cannot run isula: {error}"));
    let finished = command::finish(child, patience);
    let ended = Instant::now();
    let to = match world.wire.info_at_last(ANSWER) {
        Some(info) => {
            if info.journal_seq < from {
                let text = format!("event {from} had come, the last is {}", info.journal_seq);
                world.report.violation(world, "no event is lost", None, &text);
            }
            if !world.journal.reaches(info.journal_seq) {
                let text = format!("event {} does not come", info.journal_seq);
                world.report.violation(world, "acknowledged operations have events", None, &text);
            }
            info.journal_seq
        }
        None => {
            world.report.violation(world, "a daemon answers", None, &format!("none does after {ANSWER:?}"));
            world.finish();
            from
        }
    };
    let (output, timely) = match finished {
        Ok(output) => (output, true),
        Err(output) => (output, false),
    };
    let first = |text: &str| text.lines().next().unwrap_or_default().chars().take(160).collect::<String>();
    world.trace(&format!(
        "{name} {op:?} {from}..{to} {:.3} s -> {} {}| {}",
        (ended - begun).as_secs_f64(),
        output.status,
        first(&output.text()),
        first(&output.stderr)
    ));
    Reply { from, to, begun, ended, output, timely, words }
}
