//! Sessions with a killed shim: they go on from where they were, byte for byte, or report that they cannot and end with
//! a code of their own.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::process::Child;

use integration::process::Signal;
use integration::terminal::Terminal;
use integration::{Node, Process, Runtime, command, deadline};

on_each_runtime!(
    a_run_goes_on_with_the_next_shim,
    unlogged_output_is_reported_as_lost,
    an_exec_ends_with_a_code_of_its_own,
    the_last_output_is_logged_without_a_shim,
);

/// The code of a session that was lost.
const LOST: i32 = 122;

/// After `/begin` exists: more than a client's buffers hold, and then the beginning of a line, whose end waits for
/// `/go`. Both outputs.
const STORY: [&str; 3] = [
    "sh",
    "-c",
    "until [ -e /begin ]; do sleep 0.02; done; seq 1 300000; seq 1 150000 >&2; printf unfin; printf 'half ' >&2; until [ -e /go ]; do sleep 0.05; done; \
     echo ished; echo whole >&2; exit 3",
];

fn numbers(last: u32) -> String {
    (1..=last).map(|number| format!("{number}\n")).collect()
}

struct Client {
    child: Child,
    stdout: std::path::PathBuf,
    stderr: std::path::PathBuf,
}

/// `isula` with its outputs in files, recorded as attached.
fn attached(node: &Node, words: &[String]) -> Client {
    let seq = node.seq();
    let (stdout, stderr) = (node.dir().join(format!("out-{seq}")), node.dir().join(format!("err-{seq}")));
    let mut command = node.command(words);
    command.stdout(File::create(&stdout).unwrap()).stderr(File::create(&stderr).unwrap());
    let child = command.spawn().expect("isula runs");
    node.event_after(seq, |event| event.name == "Attached");
    deadline::until("it runs", || node.status_of("x") == "running");
    Client { child, stdout, stderr }
}

impl Client {
    fn process(&self) -> Process {
        Process::of(self.child.id().cast_signed()).expect("a child not waited for is in /proc")
    }

    fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("a child can be asked").is_some()
    }

    fn has_output(&self) -> bool {
        std::fs::metadata(&self.stdout).unwrap().len() > 0
    }

    fn finish(self) -> (i32, String, String) {
        let ended = command::finish(self.child, deadline::PATIENCE).unwrap_or_else(|_| panic!("isula does not end"));
        let read = |path: &Path| String::from_utf8_lossy(&std::fs::read(path).unwrap()).into_owned();
        (ended.code(), read(&self.stdout), read(&self.stderr))
    }
}

fn logged(node: &Node, id: &str) -> u64 {
    std::fs::metadata(node.bundle(id).join("console.log")).map_or(0, |log| log.len())
}

fn strings(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

#[track_caller]
fn kill_shim(node: &Node, id: &str) {
    let seq = node.seq();
    node.shim_of("x").kill();
    node.event_named(seq, id, "ShimAdopted");
}

fn a_run_goes_on_with_the_next_shim(runtime: Runtime) {
    let node = Node::builder(runtime).config("container-log", serde_json::json!({"opts": {"max-size": "1g"}})).start();
    let run = attached(&node, &node.words("run", &["--name", "x"], &STORY));
    let id = node.inspect("x")["Id"].as_str().unwrap().to_owned();
    // The client reads nothing: its shim is killed with all its pending output.
    run.process().signal(Signal::STOP);
    let watcher = attached(&node, &strings(&["attach", "--no-stdin", "x"]));
    watcher.process().signal(Signal::STOP);
    node.ok(&["exec", "x", "touch", "/begin"]);
    deadline::until("much is logged", || logged(&node, &id) > 4_000_000);
    kill_shim(&node, &id);
    run.process().signal(Signal::CONT);
    let shown = |client: &Client| {
        let errors = std::fs::read_to_string(&client.stderr).unwrap();
        assert!(!errors.contains("The session was lost"), "{}", &errors[errors.len().saturating_sub(500)..]);
        std::fs::read_to_string(&client.stdout).unwrap()
    };
    let begun = format!("{}unfin", numbers(300_000));
    deadline::until("the beginning of the last line is there", || shown(&run).ends_with("300000\nunfin"));
    watcher.process().signal(Signal::CONT);
    deadline::until("for the other one, too", || shown(&watcher).ends_with("300000\nunfin"));
    // The part of the line that was shown is not shown again.
    kill_shim(&node, &id);
    kill_shim(&node, &id);
    // It may be killed by the end of the container.
    node.isula(&["exec", "x", "touch", "/go"]);
    let (code, stdout, stderr) = run.finish();
    assert_eq!(code, 3, "{stderr}");
    assert_repeated(&stdout, &format!("{begun}ished\n"));
    assert_repeated(&stderr, &format!("{}half whole\n", numbers(150_000)));
    let log = node.isula(&["logs", "x"]);
    assert!(log.stdout == stdout.as_bytes() && log.stderr == stderr, "it has what the log has");
    let (code, stdout, _) = watcher.finish();
    assert_eq!(code, 3);
    assert!(log.stdout.ends_with(stdout.as_bytes()), "it has what came after it");
    node.assert_clean_end();
}

/// A shim that is killed may have logged bytes that its successor finds in the pipe; these then come twice.
#[track_caller]
fn assert_repeated(text: &str, wanted: &str) {
    let wanted_lines = wanted.lines().collect::<Vec<_>>();
    let mut at = 0;
    let mut steps_back = 0;
    for line in text.lines() {
        if wanted_lines.get(at) != Some(&line) {
            let back = wanted_lines[..at].iter().rposition(|wanted| *wanted == line);
            at = back.unwrap_or_else(|| panic!("`{line}` comes for `{}`", wanted_lines.get(at).unwrap_or(&"nothing")));
            steps_back += 1;
        }
        at += 1;
    }
    assert_eq!(at, wanted_lines.len(), "all of it");
    assert!(steps_back <= 3, "{steps_back} steps back after three lost shims");
}

fn unlogged_output_is_reported_as_lost(runtime: Runtime) {
    let node = Node::start(runtime);
    let flags = ["--name", "x", "--log-driver", "none"];
    let run = attached(&node, &node.words("run", &flags, &STORY));
    let id = node.inspect("x")["Id"].as_str().unwrap().to_owned();
    kill_shim(&node, &id);
    let (code, _, stderr) = run.finish();
    assert_eq!(code, LOST, "{stderr}");
    let word = "output that is not in the container's log; container x may be running still";
    assert!(stderr.contains("The session was lost: ") && stderr.trim_end().ends_with(word), "{stderr}");
    node.ok(&["rm", "-f", "x"]);

    // Bytes that are no text are not in the log as they were.
    let bytes = [
        "sh",
        "-c",
        "until [ -e /go ]; do sleep 0.05; done; printf 'a\\377b\\n'; \
                 until [ -e /end ]; do sleep 0.05; done",
    ];
    let mut run = attached(&node, &node.words("run", &["--name", "x"], &bytes));
    let id = node.inspect("x")["Id"].as_str().unwrap().to_owned();
    run.process().signal(Signal::STOP);
    let seq = node.seq();
    let shim = node.shim_of("x");
    shim.signal(Signal::STOP);
    node.ok(&["exec", "x", "touch", "/go"]);
    shim.kill();
    node.event_named(seq, &id, "ShimAdopted");
    deadline::until("it is logged", || logged(&node, &id) > 0);
    run.process().signal(Signal::CONT);
    // The client may have been connected to the next shim before that has read the bytes: then its session goes on.
    deadline::until("the session is lost, or has the bytes", || run.has_ended() || run.has_output());
    // It may be killed by the end of the container.
    node.isula(&["exec", "x", "touch", "/end"]);
    let (code, stdout, stderr) = run.finish();
    assert!(code == LOST && stdout.is_empty() || stdout.starts_with('a'), "{code} {stdout:?} {stderr}");
    node.remove_all();

    // A terminal is gone with its shim, and mostly the processes in it.
    let terminal = Terminal::open();
    let seq = node.seq();
    let script = ["sh", "-c", "trap 'exit 5' HUP; echo ready; while :; do sleep 0.05; done"];
    let mut child = terminal.spawn(&node.command(&node.words("run", &["-t", "--name", "x"], &script)));
    node.event_after(seq, |event| event.name == "Attached");
    terminal.until("ready");
    node.shim_of("x").kill();
    terminal.until("The session was lost: the container's terminal was lost with the shim that held it");
    assert_eq!(child.wait().expect("a child can be waited for").code(), Some(LOST));
    node.remove_all();
    node.assert_clean_end();
}

fn an_exec_ends_with_a_code_of_its_own(runtime: Runtime) {
    let node = Node::start(runtime);
    node.sleeper("x");
    let keeper = node.shim_of("x");
    let mut exec = node.spawn(&["exec", "x", "sh", "-c", "echo runs; sleep 1000"]);
    node.event_after(0, |event| event.name == "ExecStarted");
    // A shim that is killed before it has answered has failed to start its process: that ends with 125.
    let mut begun = [0; 5];
    exec.stdout.as_mut().expect("it is piped").read_exact(&mut begun).expect("its output comes");
    assert_eq!(&begun, b"runs\n");
    assert_eq!(node.shims().len(), 2);
    node.shims().into_iter().filter(|shim| *shim != keeper).for_each(Process::kill);
    let output = command::finish(exec, deadline::PATIENCE).expect("it ends");
    assert_eq!(output.code(), LOST, "{}", output.stderr);
    assert!(output.stderr.contains("The session was lost: the shim of the process was lost"), "{}", output.stderr);
    node.remove_all();
    node.assert_clean_end();
}

/// Its shim does not read when it writes, and is killed after it.
fn the_last_output_is_logged_without_a_shim(runtime: Runtime) {
    let node = Node::start(runtime);
    let script =
        ["sh", "-c", "until [ -e /go ]; do sleep 0.05; done; echo last words; printf end; touch /done; sleep 1000"];
    let run = attached(&node, &node.words("run", &["--name", "x"], &script));
    let id = node.inspect("x")["Id"].as_str().unwrap().to_owned();
    let (process, shim) = (node.process_of("x"), node.shim_of("x"));
    shim.signal(Signal::STOP);
    node.ok(&["exec", "x", "sh", "-c", "touch /go; until [ -e /done ]; do sleep 0.05; done"]);
    process.signal(Signal::KILL);
    // The daemon has seen the end, and holds the output.
    deadline::until("the output is held", || node.daemon().has_open("stdout"));
    shim.signal(Signal::KILL);
    node.event_named(0, &id, "Exited");
    let (code, stdout, stderr) = run.finish();
    assert_eq!((code, stdout.as_str()), (137, "last words\nend"), "{stderr}");
    assert_eq!(node.isula(&["logs", "x"]).stdout, b"last words\nend");
    node.assert_clean_end();
}
