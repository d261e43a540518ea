//! Each rule with a history in which the answer can be true, and with one in which it cannot.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::Instant;

use integration::Output;

use super::*;

const NAME: &str = "c1-0";
const TOKEN: &str = "token-1-7";
const LINES: &str = "line 4\nline 5\n";

/// Events in order, `<id> <name> <event> [<key>=<value> …]`; those after `|` happened while the command was under way.
const CREATED: &str = "| a c1-0 Created;";
const STARTED: &str = "| a c1-0 Created; a c1-0 StartRequested; a c1-0 Started;";
const RUNS: &str = "a c1-0 Created; a c1-0 StartRequested; a c1-0 Started; |";
const ENDS: &str = "a c1-0 Created; a c1-0 StartRequested; a c1-0 Started; | a c1-0 Exited exitCode=5;";
const NOTHING: &str = "|";

fn event(seq: u64, words: &str) -> Event {
    let mut words = words.split_whitespace();
    let mut next = || words.next().expect("id, name and event").to_owned();
    let (id, name, event) = (next(), next(), next());
    let others = words.filter_map(|word| word.split_once('=')).map(|(key, value)| (key.to_owned(), value.to_owned()));
    let attributes = others.chain([("name".to_owned(), name)]).collect();
    Event { seq, kind: "container".to_owned(), id, name: event, attributes, ..Event::default() }
}

/// The journal, and the numbers of the last events before the command and before its answer: where the bars are, or the
/// end.
fn history(text: &str) -> (Journal, u64, u64) {
    let (before, after) = text.split_once('|').expect("a place where the command begins");
    let (during, later) = after.split_once('|').unwrap_or((after, ""));
    let count = |text: &str| text.split(';').filter(|words| !words.trim().is_empty()).count();
    let all = [before, during, later].concat();
    let words = all.split(';').filter(|words| !words.trim().is_empty());
    let events = words.enumerate().map(|(place, words)| event(place as u64 + 1, words)).collect();
    (Journal::of(events), count(before) as u64, (count(before) + count(during)) as u64)
}

/// A seed by which the containers have volumes.
fn seed() -> u64 {
    let fits = |seed: &u64| {
        Recipe::of(*seed, NAME).volume.is_some() && Recipe::of(*seed, NAME).policy == Policy::No && code(*seed) != 0
    };
    (0..).find(fits).expect("most seeds have one")
}

fn code(seed: u64) -> i64 {
    Recipe::of(seed, NAME).code
}

#[derive(Clone, Copy)]
struct Answer<'a> {
    code: i32,
    stdout: &'a str,
    stderr: &'a str,
    timely: bool,
}

fn answer(code: i32, stdout: &str) -> Answer<'_> {
    Answer { code, stdout, stderr: "", timely: true }
}

const OK: Answer<'static> = Answer { code: 0, stdout: "", stderr: "", timely: true };
const REFUSED: Answer<'static> = Answer { code: 1, stdout: "", stderr: "no", timely: true };
const HANGS: Answer<'static> = Answer { code: 0, stdout: "", stderr: "", timely: false };

/// The rule that is broken.
fn judge(name: &str, op: Op, events: &str, answer: Answer<'_>) -> Option<&'static str> {
    judge_with(&Kills::default(), &Claims::default(), name, op, events, answer)
}

fn judge_with(
    kills: &Kills,
    claims: &Claims,
    name: &str,
    op: Op,
    events: &str,
    answer: Answer<'_>,
) -> Option<&'static str> {
    let (journal, from, to) = history(events);
    let status = if answer.timely { answer.code << 8 } else { 9 };
    let output = Output {
        status: ExitStatus::from_raw(status),
        stdout: answer.stdout.as_bytes().to_vec(),
        stderr: answer.stderr.to_owned(),
    };
    let now = Instant::now();
    let reply = Reply { from, to, begun: now, ended: now, output, timely: answer.timely, words: vec![] };
    let evidence = Evidence { seed: seed(), journal: &journal, kills, claims };
    let reply = complete(&evidence, op, name, &reply);
    let seen = Observed::of(&evidence, name, &reply);
    broken_rule(&evidence, op, name, TOKEN, &reply, &seen).map(|(rule, _)| rule)
}

const TRUE: &str = "answers are true";
const DONE: &str = "possible requests succeed";

/// A history, and the answer to a command in it.
type Example<'a> = (&'a str, Answer<'a>);

/// Successes: a history and an answer that can be true, then those that cannot.
#[test]
fn a_success_needs_its_moment() {
    let again = [RUNS, " a c1-0 Exited exitCode=5; a c1-0 StartRequested; a c1-0 Started;"].concat();
    let paused = [RUNS, " a c1-0 PauseRequested; a c1-0 Paused;"].concat();
    let stays_paused = "a c1-0 Created; a c1-0 StartRequested; a c1-0 Started; a c1-0 PauseRequested; a c1-0 Paused; |";
    let resumed = [stays_paused, " a c1-0 ResumeRequested; a c1-0 Resumed;"].concat();
    let stays = "a c1-0 Created; |";
    let removed = [stays, " a c1-0 RemoveRequested; a c1-0 Removed;"].concat();
    let renamed = [stays, " a c1-0x Renamed;"].concat();
    let (executed, updated) = ([RUNS, " a c1-0 ExecStarted execID=e;"].concat(), [RUNS, " a c1-0 Updated;"].concat());
    let signalled = [RUNS, " a c1-0 Killed signal=15;"].concat();
    let other = "| b other Created; b other StartRequested; b other Started;";
    let cases: [(Op, Example<'_>, Example<'_>); 27] = [
        (Op::Create, (CREATED, answer(0, "a")), (CREATED, answer(0, "b"))),
        (Op::Create, (CREATED, answer(0, "a")), (stays, answer(0, "a"))),
        (Op::Create, (CREATED, answer(0, "a")), (other, answer(0, "b"))),
        (Op::Run, (STARTED, answer(0, "a")), (CREATED, answer(0, "a"))),
        (Op::Start, (STARTED, OK), (stays, OK)),
        (Op::Stop("1"), (ENDS, OK), (RUNS, OK)),
        (Op::Kill("KILL"), (ENDS, OK), (RUNS, OK)),
        (Op::Kill("TERM"), (&signalled, OK), (stays, OK)),
        (Op::Restart, (&again, OK), (RUNS, OK)),
        (Op::Pause, (&paused, OK), (RUNS, OK)),
        (Op::Unpause, (&resumed, OK), (stays_paused, OK)),
        (Op::Remove, (&removed, OK), (stays, OK)),
        (Op::RemoveForce, (&removed, OK), (RUNS, OK)),
        (Op::Rename, (&renamed, OK), (stays, OK)),
        (Op::Exec(30), (RUNS, answer(30, TOKEN)), (RUNS, answer(30, ""))),
        (Op::Exec(30), (RUNS, answer(30, TOKEN)), (stays, answer(30, TOKEN))),
        (Op::ExecDetached, (&executed, OK), (RUNS, OK)),
        (Op::Update(64), (&updated, OK), (RUNS, OK)),
        (Op::Wait(1), (ENDS, answer(0, "5")), (ENDS, answer(0, "6"))),
        (Op::Inspect, (RUNS, answer(0, "a running")), (RUNS, answer(0, "a exited"))),
        (Op::Inspect, (RUNS, answer(0, "a running")), (RUNS, answer(0, "a"))),
        (Op::List, (RUNS, answer(0, "a")), (RUNS, answer(0, ""))),
        (Op::List, (CREATED, answer(0, "")), (CREATED, answer(0, "b"))),
        (Op::VolumeWrite, (RUNS, answer(0, TOKEN)), (RUNS, OK)),
        (Op::Copy, (RUNS, OK), (NOTHING, OK)),
        (Op::Top, (RUNS, answer(0, "PID\n1")), (stays, answer(0, "PID\n1"))),
        (Op::Logs, (RUNS, answer(0, LINES)), (RUNS, answer(0, "line 4\nli"))),
    ];
    for (place, (op, right, wrong)) in cases.into_iter().enumerate() {
        assert_eq!(judge(NAME, op, right.0, right.1), None, "{place}: {op:?}");
        assert_eq!(judge(NAME, op, wrong.0, wrong.1), Some(TRUE), "{place}: {op:?}");
    }
}

/// Refusals: a history in which one was due, and one in which it was not.
#[test]
fn a_refusal_needs_its_moment() {
    let paused = [RUNS, " a c1-0 PauseRequested; a c1-0 Paused;"].concat();
    let stays = "a c1-0 Created; |";
    let removed = [stays, " a c1-0 RemoveRequested; a c1-0 Removed;"].concat();
    let cases: [(Op, &str, &str); 22] = [
        (Op::Create, stays, NOTHING),
        (Op::Run, stays, NOTHING),
        (Op::Start, &paused, stays),
        (Op::Stop("1"), stays, RUNS),
        (Op::Kill("KILL"), stays, RUNS),
        (Op::Restart, &paused, RUNS),
        (Op::Pause, stays, RUNS),
        (
            Op::Unpause,
            RUNS,
            "a c1-0 Created; a c1-0 StartRequested; a c1-0 Started; a c1-0 PauseRequested; a c1-0 Paused; |",
        ),
        (Op::Remove, RUNS, stays),
        (Op::RemoveForce, &removed, RUNS),
        (Op::Rename, &removed, RUNS),
        (Op::Exec(30), stays, RUNS),
        (Op::ExecDetached, stays, RUNS),
        (Op::Logs, NOTHING, RUNS),
        (Op::Copy, ENDS, RUNS),
        (Op::Update(64), NOTHING, RUNS),
        (Op::Wait(1), NOTHING, RUNS),
        (Op::Attach(1), stays, RUNS),
        (Op::Stats, NOTHING, RUNS),
        (Op::Inspect, NOTHING, RUNS),
        (Op::Top, stays, RUNS),
        (Op::VolumeRead, stays, RUNS),
    ];
    for (op, due, undue) in cases {
        assert_eq!(judge(NAME, op, due, REFUSED), None, "{op:?}");
        assert_eq!(judge(NAME, op, undue, REFUSED), Some(DONE), "{op:?}");
        let silent = Answer { stderr: "", ..REFUSED };
        assert!(judge(NAME, op, undue, silent).is_some(), "{op:?}");
    }
    assert_eq!(judge(NAME, Op::List, NOTHING, REFUSED), Some(DONE));
    assert_eq!(judge(NAME, Op::Start, RUNS, Answer { stderr: "", ..REFUSED }), Some("a refusal says why"));
    let kills = Kills::default();
    kills.note(kill(Victim::Daemon));
    let met = judge_with(&kills, &Claims::default(), NAME, Op::Stop("1"), RUNS, REFUSED);
    assert_eq!(met, None, "it may have met the kill");
}

fn kill(victim: Victim) -> super::super::kills::Kill {
    super::super::kills::Kill { victim, pid: 1, at: Instant::now(), seq: 100, subjects: vec![] }
}

#[test]
fn no_command_hangs_but_those_that_are_to() {
    assert_eq!(judge(NAME, Op::Start, STARTED, HANGS), Some("no command hangs"));
    assert_eq!(judge(NAME, Op::Wait(1), RUNS, HANGS), None);
    assert_eq!(judge(NAME, Op::Attach(1), RUNS, HANGS), None);
}

/// The code is the container's, the lines follow on one another, and the output of a process that ended by itself is
/// whole.
#[test]
fn attach_is_judged() {
    let attach = |events, answer| judge(NAME, Op::Attach(1), events, answer);
    assert_eq!(attach(ENDS, answer(5, LINES)), None);
    assert_eq!(attach(ENDS, answer(6, LINES)), Some(TRUE), "another code");
    assert_eq!(attach(RUNS, answer(5, LINES)), Some(TRUE), "it has not ended");
    assert_eq!(attach(ENDS, answer(5, "line 4\nli")), Some(TRUE), "cut off, and no word of it");
    assert_eq!(attach(ENDS, answer(5, "line 4\nline 6\n")), Some(TRUE), "one is missing");
    let ended_by_us = |stdout| Answer { stdout, ..HANGS };
    assert_eq!(attach(RUNS, ended_by_us("line 4\nli")), None, "cut off anywhere");
    assert_eq!(attach(RUNS, ended_by_us("line 4\nline 6\n")), Some(TRUE), "one is missing");
    let lost = Answer { code: 122, stderr: "the session was lost", stdout: "line 4\nli", timely: true };
    assert_eq!(attach(RUNS, lost), Some(DONE), "nothing was killed");
    let kills = Kills::default();
    kills.note(kill(Victim::Shim));
    assert_eq!(judge_with(&kills, &Claims::default(), NAME, Op::Attach(1), RUNS, lost), None);
}

#[test]
fn the_foreground_has_the_code_and_all_of_the_output() {
    let name = "r1-1";
    let recipe = Recipe::of(seed(), name);
    let (code, output) = (i32::try_from(recipe.code).expect("a small number"), recipe.output());
    let history = |code: i32| {
        format!("| a {name} Created; a {name} StartRequested; a {name} Started; a {name} Exited exitCode={code};")
    };
    let run = |events: &str, answer| judge(name, Op::Foreground, events, answer);
    assert_eq!(run(&history(code), answer(code, &output)), None);
    assert_eq!(run(&history(code), answer(code, "begin")), Some(TRUE), "output is missing");
    assert_eq!(run(&history(code), answer(code + 1, &output)), Some(TRUE), "no run has ended so");
    assert_eq!(run(NOTHING, REFUSED), Some(DONE));
}

#[test]
fn earlier_claims_bind() {
    let claims = Claims::default();
    let judged = |op, answer| judge_with(&Kills::default(), &claims, NAME, op, RUNS, answer);
    assert_eq!(judged(Op::Stats, answer(0, "CONTAINER CPU\na\t500")), None);
    assert_eq!(judged(Op::Stats, answer(0, "CONTAINER CPU\na\t400")), Some(TRUE), "it has gone back");
    let volume = Recipe::of(seed(), NAME).volume.expect("the seed was chosen for it");
    claims.file_written(&format!("{volume}/of-1"), TOKEN, true);
    assert_eq!(judged(Op::VolumeRead, answer(0, TOKEN)), None);
    assert_eq!(judged(Op::VolumeRead, answer(0, "token-1-3")), Some(TRUE));
    assert_eq!(judged(Op::VolumeRead, OK), Some(TRUE), "it is lost");
}

#[test]
fn an_update_without_a_change_needs_no_event() {
    let claims = Claims::default();
    let update = |op| judge_with(&Kills::default(), &claims, NAME, op, RUNS, OK);
    claims.memory_set("a", 64 << 20, true);
    assert_eq!(update(Op::Update(64)), None);
    assert_eq!(update(Op::Update(65)), Some(TRUE));
}

#[test]
fn a_process_that_is_killed_with_its_container_answers_first() {
    let killed = Answer { code: KILLED, stdout: "", stderr: "", timely: true };
    for op in [Op::VolumeWrite, Op::VolumeRead, Op::Exec(30)] {
        assert_eq!(judge(NAME, op, &[RUNS, "| a c1-0 Exited exitCode=5;"].concat(), killed), None, "{op:?}");
        let other = Answer { code: 3, ..killed };
        assert_eq!(judge(NAME, op, &[RUNS, "| a c1-0 Exited exitCode=5;"].concat(), other), Some(DONE), "{op:?}");
    }
}

#[test]
fn a_refusal_may_meet_an_end_before_it_is_recorded() {
    let refused = Answer { code: 125, stdout: "", stderr: "Container c1-0 is not running", timely: true };
    let exec = |then: &str, answer| judge(NAME, Op::Exec(30), &[RUNS, "|", then].concat(), answer);
    assert_eq!(exec(" a c1-0 Exited exitCode=5;", refused), None);
    assert_eq!(exec(" a c1-0 ExecExited exitCode=137; a c1-0 Exited exitCode=5;", refused), None);
    assert_eq!(exec(" a c1-0 PauseRequested; a c1-0 Exited exitCode=5;", refused), Some(DONE), "it ran on");
    let other = Answer { stderr: "no", ..refused };
    assert_eq!(exec(" a c1-0 Exited exitCode=5;", other), Some(DONE), "another refusal");
}

/// Ends and beginnings of runs: the last event of a history that can be, and of one that cannot.
#[test]
fn an_end_needs_its_cause() {
    let restarted = "a c1-0 Exited exitCode=137; a c1-0 RestartScheduled; a c1-0 StartRequested;";
    let asked = |signal: &str| format!("a c1-0 Killed signal={signal};");
    let cases = [
        (format!("{} a c1-0 Exited exitCode=137;", asked("KILL")), "a c1-0 Exited exitCode=137;".to_owned()),
        (format!("{} a c1-0 Exited exitCode=143;", asked("TERM")), "a c1-0 Exited exitCode=143;".to_owned()),
        (
            format!("{} a c1-0 Exited exitCode={};", asked("TERM"), code(seed())),
            format!("{} a c1-0 Exited exitCode=3;", asked("TERM")),
        ),
        ("a c1-0 OomKilled; a c1-0 Exited exitCode=137;".to_owned(), "a c1-0 Exited exitCode=unknown;".to_owned()),
        ("a c1-0 RemoveRequested; a c1-0 Exited exitCode=137;".to_owned(), restarted.to_owned()),
    ];
    for (right, wrong) in cases {
        assert!(exits(&Kills::default(), &right), "{right}");
        assert!(!exits(&Kills::default(), &wrong), "{wrong}");
    }
    let kills = Kills::default();
    kills.note(kill(Victim::Shim));
    assert!(exits(&kills, "a c1-0 Exited exitCode=unknown;"), "no process is left that knows the code");
}

fn exits(kills: &Kills, then: &str) -> bool {
    let (journal, ..) = history(&[RUNS, then].concat());
    let last = journal.read().events.last().cloned().expect("there are events");
    let claims = Claims::default();
    broken_exit(&Evidence { seed: seed(), journal: &journal, kills, claims: &claims }, &last).is_none()
}
