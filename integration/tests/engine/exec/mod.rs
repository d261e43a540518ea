//! Further processes in a running container: codes, streams, ends, and nothing left of them.

mod faults;
mod many;
mod probes;

use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Instant;

use cri_api::isula::v1::exec_input::Input;
use cri_api::isula::v1::{Empty, ExecInput, ExecOpen, ExecProcess, exec_output};
use integration::process::Signal;
use integration::{Node, Process, Runtime, command, deadline};
use tokio_stream::StreamExt;

pub(crate) use faults::{points, shim_points};

on_each_runtime!(
    codes_are_passed_on_and_output_is_apart,
    ten_mebibytes_come_back_as_they_went,
    user_environment_and_namespaces,
    a_background_process_delays_no_client,
    a_client_that_is_killed_takes_the_whole_tree_along,
    a_detached_one_runs_on,
    a_detached_one_runs_on_while_daemons_come_and_go,
    one_that_its_client_leaves_runs_on,
    a_session_of_input_alone_gets_the_end,
    the_end_of_the_container_ends_it,
    where_nothing_can_be_run_it_is_refused,
    a_terminal_has_a_size,
    the_journal_has_the_user_and_the_duration,
);

/// Directories of execs.
pub(crate) fn directories(node: &Node, id: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(node.state_dir(id).join("exec"));
    entries.into_iter().flatten().map(|entry| entry.unwrap().path()).collect()
}

/// Nothing is left of execs but the container itself.
#[track_caller]
pub(crate) fn assert_gone(node: &Node, id: &str) {
    deadline::until("the directories are gone", || directories(node, id).is_empty());
    deadline::until("one shim is left", || node.shims().len() == 1);
}

/// Living sleepers in this node's containers with this word. Those of others may sleep as long.
fn with_word(node: &Node, word: &str) -> Vec<Process> {
    let below = format!(":{}/", node.cgroup_parent());
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let found = pids.filter(|pid| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let mut words = line.split(|byte| *byte == 0);
        // Not the client that asks for it.
        words.next().is_some_and(|program| program.ends_with(b"sleep"))
            && words.any(|found| found == word.as_bytes())
            && std::fs::read_to_string(format!("/proc/{pid}/cgroup")).is_ok_and(|groups| groups.contains(&below))
    });
    found.filter_map(Process::of).filter(|process| process.alive()).collect()
}

fn codes_are_passed_on_and_output_is_apart(runtime: Runtime) {
    let node = Node::start(runtime);
    let id = node.sleeper("x");
    for (words, code) in [
        (&["true"][..], 0),
        (&["sh", "-c", "exit 7"], 7),
        (&["sh", "-c", "kill -9 $$"], 137),
        (&["sh", "-c", "kill -15 $$"], 143),
        (&["no-such-command"], 127),
        (&["/no/such/command"], 127),
        (&["/tmp"], 126),
        (&["/etc/passwd"], 126),
    ] {
        let output = node.isula(&[&["exec", "x"], words].concat());
        assert_eq!(output.code(), code, "{words:?}: {}", output.stderr);
        assert_eq!(output.text(), "", "{words:?}");
        assert_eq!(output.stderr.is_empty(), !matches!(code, 126 | 127), "{words:?}: {}", output.stderr);
    }
    let output = node.isula(&["exec", &id[..12], "sh", "-c", "echo out; echo err >&2"]);
    assert_eq!((output.stdout.as_slice(), output.stderr.as_str()), (&b"out\n"[..], "err\n"));
    // Without -i there is nothing to read.
    assert_eq!(node.ok(&["exec", "x", "cat"]), "");
    assert_gone(&node, &id);
    node.assert_clean_end();
}

fn ten_mebibytes_come_back_as_they_went(runtime: Runtime) {
    let node = Node::start(runtime);
    let id = node.sleeper("x");
    let bytes: Vec<u8> = (0..10_u32 << 18).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    let mut child = node.command(&["exec", "-i", "x", "cat"]);
    let mut child = child.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let sent = bytes.clone();
    let writer = std::thread::spawn(move || stdin.write_all(&sent).unwrap());
    let output = command::finish(child, deadline::PATIENCE).expect("it ends with its input");
    writer.join().unwrap();
    assert_eq!(output.code(), 0, "{}", output.stderr);
    assert!(output.stdout == bytes, "{} bytes came back", output.stdout.len());
    assert_gone(&node, &id);
    node.assert_clean_end();
}

fn user_environment_and_namespaces(runtime: Runtime) {
    let node = Node::start(runtime);
    let id = node.run_detached(
        &["--name", "x", "-e", "A=1", "-e", "B=2", "-w", "/tmp", "--ulimit", "nofile=200:300"],
        &["sh", "-c", "trap 'exit 0' TERM; sleep 100000 & wait"],
    );
    let exec = |flags: &[&str], script: &str| node.ok(&[&["exec"], flags, &["x", "sh", "-c", script]].concat());
    assert_eq!(exec(&[], "echo $A $B $PWD $HOME; ulimit -Hn"), "1 2 /tmp /root\n300");
    assert_eq!(exec(&["-e", "A=9", "--env=C=3"], "echo $A $B $C"), "9 2 3");
    assert_eq!(exec(&["-w", "/etc"], "pwd"), "/etc");
    assert_eq!(exec(&["-u", "1234:55"], "id -u; id -g"), "1234\n55");
    assert_eq!(exec(&["-u", "1234"], "grep CapEff /proc/self/status"), "CapEff:\t0000000000000000");
    let effective = |flags: &[&str]| {
        let text = exec(flags, "grep CapEff /proc/self/status");
        u64::from_str_radix(text.trim_start_matches("CapEff:\t"), 16).unwrap()
    };
    assert!(effective(&["--privileged"]) > effective(&[]), "more than the default set");
    // The process is in the container: it sees the container's processes, and none of the machine.
    assert_eq!(exec(&[], "readlink /proc/1/ns/pid"), exec(&[], "readlink /proc/self/ns/pid"));
    let file = node.dir().join("env");
    std::fs::write(&file, "# none\nD=4\n").unwrap();
    assert_eq!(exec(&["--env-file", file.to_str().unwrap()], "echo $D"), "4");
    for (flags, text) in [
        (&["-u", "nobody-here"][..], "no user `nobody-here`"),
        (&["-w", "tmp"], "needs to be an absolute path"),
        (&["-w", "/no/such"], "cannot use the working directory `/no/such` of the container"),
    ] {
        let refusal = node.isula(&[&["exec"], flags, &["x", "true"]].concat()).refused(125);
        assert!(refusal.contains(text), "{refusal}");
    }
    assert_gone(&node, &id);
    node.assert_clean_end();
}

fn a_background_process_delays_no_client(runtime: Runtime) {
    let node = Node::start(runtime);
    let id = node.sleeper("x");
    // An exec that waited for it would wait for most of a day.
    let output = node.isula(&["exec", "x", "sh", "-c", "echo before; sleep 74711 & exit 4"]);
    assert_eq!((output.code(), output.text().as_str()), (4, "before"));
    assert_eq!(with_word(&node, "74711").len(), 1, "it runs on");
    assert_gone(&node, &id);
    node.assert_clean_end();
}

fn a_client_that_is_killed_takes_the_whole_tree_along(runtime: Runtime) {
    let node = Node::start(runtime);
    let id = node.sleeper("x");
    let seq = node.seq();
    for signal in [Signal::KILL, Signal::INT, Signal::TERM] {
        let script = "sleep 74801 & (sleep 74802 & sleep 74803) & wait";
        let mut client = node.spawn(&["exec", "x", "sh", "-c", script]);
        let living = || ["74801", "74802", "74803"].iter().flat_map(|word| with_word(&node, word)).count();
        deadline::until("all of it runs", || living() == 3);
        Process::of(client.id().cast_signed()).unwrap().signal(signal);
        client.wait().unwrap();
        deadline::until("all of it is gone", || living() == 0);
        assert_gone(&node, &id);
    }
    let ends = node.events().into_iter().filter(|event| event.seq > seq && event.name == "ExecExited");
    let codes: Vec<_> = ends.map(|event| event.attributes["exitCode"].clone()).collect();
    assert_eq!(codes, ["137"; 3]);
    node.assert_clean_end();
}

fn a_detached_one_runs_on(runtime: Runtime) {
    let node = Node::start(runtime);
    let id = node.sleeper("x");
    let seq = node.seq();
    assert_eq!(node.ok(&["exec", "-d", "x", "sh", "-c", "while [ ! -e /tmp/stop ]; do sleep 0.01; done; exit 9"]), "");
    let started = node.event_named(seq, &id, "ExecStarted");
    assert_eq!(started.attributes["detached"], "true");
    assert_eq!(directories(&node, &id).len(), 1);
    node.ok(&["exec", "x", "touch", "/tmp/stop"]);
    let exec = started.attributes["execID"].clone();
    let of = |event: &cri_api::isula::v1::Event| event.attributes.get("execID") == Some(&exec);
    let ended = node.event_after(seq, |event| event.name == "ExecExited" && of(event));
    assert_eq!(ended.attributes["exitCode"], "9");
    for (words, code) in [(&["no-such-command"][..], 127), (&["/tmp"], 126)] {
        assert_eq!(node.isula(&[&["exec", "-d", "x"], words].concat()).code(), code);
    }
    assert_gone(&node, &id);
    node.assert_clean_end();
}

fn a_detached_one_runs_on_while_daemons_come_and_go(runtime: Runtime) {
    let mut node = Node::start(runtime);
    let id = node.sleeper("x");
    let seq = node.seq();
    let wait = |file: &str| format!("while [ ! -e /tmp/{file} ]; do sleep 0.01; done; exit 9");
    node.ok(&["exec", "-d", "x", "sh", "-c", &wait("one")]);
    node.ok(&["exec", "-d", "-t", "x", "sh", "-c", &wait("two")]);
    // One of the execs ends while there is no daemon.
    let root = format!("/proc/{}/root/tmp", node.process_of("x").pid);
    node.kill9();
    std::fs::write(format!("{root}/one"), "").unwrap();
    deadline::until("it has ended", || node.shims().len() == 2);
    node.launch();
    node.verified();
    let ends =
        |node: &Node| node.events().into_iter().filter(|event| event.seq > seq && event.name == "ExecExited").count();
    deadline::until("one end", || ends(&node) == 1);
    assert_eq!(node.shims().len(), 2);
    node.restart();
    node.verified();
    assert_eq!((ends(&node), directories(&node, &id).len()), (1, 1));
    node.ok(&["exec", "x", "touch", "/tmp/two"]);
    deadline::until("both ends, and that of the touch", || ends(&node) == 3);
    let mut codes: Vec<_> = node
        .events()
        .iter()
        .filter(|event| event.name == "ExecExited")
        .map(|event| event.attributes["exitCode"].clone())
        .collect();
    codes.sort_unstable();
    assert_eq!(codes, ["0", "9", "9"]);
    assert_gone(&node, &id);
    node.assert_clean_end();
}

/// As by the detach keys.
fn one_that_its_client_leaves_runs_on(runtime: Runtime) {
    let mut node = Node::start(runtime);
    let id = node.sleeper("x");
    let seq = node.seq();
    let script = "while [ ! -e /tmp/stop ]; do sleep 0.01; done; exit 9";
    let process = ExecProcess {
        container: "x".into(),
        command: ["sh", "-c", script].map(str::to_owned).to_vec(),
        tty: true,
        ..ExecProcess::default()
    };
    let open = ExecOpen { process: Some(process), stdin: true, stdout: true, ..ExecOpen::default() };
    let inputs = [Input::Open(open), Input::Detach(Empty {})].map(|input| ExecInput { input: Some(input) });
    node.block_on(async {
        let mut stream = node.execs().exec(tokio_stream::iter(inputs)).await.unwrap().into_inner();
        let first = stream.message().await.unwrap().unwrap();
        assert!(matches!(first.output, Some(exec_output::Output::Started(_))), "{first:?}");
        while let Some(message) = stream.message().await.unwrap() {
            assert!(!matches!(message.output, Some(exec_output::Output::Exited(_))), "{message:?}");
        }
    });
    node.restart();
    node.verified();
    assert_eq!(directories(&node, &id).len(), 1);
    node.ok(&["exec", "x", "touch", "/tmp/stop"]);
    let ended = node.event_after(seq, |event| event.name == "ExecExited" && event.attributes["exitCode"] == "9");
    assert_eq!(ended.id, id);
    assert_gone(&node, &id);
    node.assert_clean_end();
}

fn the_end_of_the_container_ends_it(runtime: Runtime) {
    for flags in [&[][..], &["--pid", "host"]] {
        let node = Node::start(runtime);
        node.run_detached(
            &[&["--name", "x"], flags].concat(),
            &["sh", "-c", "trap 'exit 0' TERM; sleep 100000 & wait"],
        );
        for words in [&["kill", "x"][..], &["stop", "x"], &["rm", "-f", "x"]] {
            let attached = node.spawn(&["exec", "x", "sleep", "74901"]);
            node.ok(&["exec", "-d", "x", "sleep", "74902"]);
            let living = || with_word(&node, "74901").iter().chain(&with_word(&node, "74902")).count();
            deadline::until("both run", || living() >= 2);
            node.ok(words);
            let output = command::finish(attached, deadline::PATIENCE).expect("it ends with the container");
            assert_eq!(output.code(), 137, "{words:?}: {}", output.stderr);
            deadline::until("both are gone", || living() == 0);
            if words[0] != "rm" {
                node.wait("x");
                node.ok(&["start", "x"]);
            }
        }
        let count = |name: &str| node.events().iter().filter(|event| event.name == name).count();
        assert_eq!((count("ExecStarted"), count("ExecExited")), (6, 6));
        node.assert_clean_end();
    }
}

fn where_nothing_can_be_run_it_is_refused(runtime: Runtime) {
    let node = Node::start(runtime);
    let id = node.sleeper("x");
    assert_eq!(
        node.isula(&["exec", "nobody", "true"]).refused(125),
        "Error response from daemon: No such container:nobody"
    );
    assert_eq!(node.isula(&["exec", "x", ""]).refused(125), "Error response from daemon: No command specified");
    assert!(node.isula(&["exec", "-it", "x", "sh"]).refused(125).contains("The input device is not a TTY"));
    node.ok(&["pause", "x"]);
    assert_eq!(
        node.isula(&["exec", "x", "true"]).refused(125),
        "Error response from daemon: Container x is paused, unpause the container before exec"
    );
    node.ok(&["unpause", "x"]);
    node.ok(&["exec", "x", "true"]);
    // A running exec is paused with the container, and goes on with it.
    let client = node.spawn(&["exec", "x", "sh", "-c", "sleep 75611; exit 3"]);
    deadline::until("it runs", || !with_word(&node, "75611").is_empty());
    node.ok(&["pause", "x"]);
    node.ok(&["unpause", "x"]);
    with_word(&node, "75611").into_iter().for_each(Process::kill);
    assert_eq!(command::finish(client, deadline::PATIENCE).expect("it ends").code(), 3);
    node.ok(&["stop", "x"]);
    assert_eq!(
        node.isula(&["exec", "x", "true"]).refused(125),
        "Error response from daemon: Container x is not running"
    );
    deadline::until("the directories are gone", || directories(&node, &id).is_empty());
    node.assert_clean_end();
}

fn a_terminal_has_a_size(runtime: Runtime) {
    let node = Node::start(runtime);
    let id = node.sleeper("x");
    // A terminal of the process's own, without one of ours: it has no size.
    let output = node.isula(&["exec", "-t", "x", "sh", "-c", "tty; echo err >&2; echo $TERM"]);
    assert_eq!(output.text(), "/dev/pts/0\r\nerr\r\nxterm", "{}", output.stderr);
    // `script` gives us one.
    let mut script = std::process::Command::new("script");
    // crun takes no size for a further process: there it comes a moment later.
    let inside = "until stty size | grep -q '33 77'; do :; done; stty size; read line; echo got $line; exit 5";
    let inner = "stty rows 33 cols 77; \"$ISULA\" exec -it x sh -c \"$INSIDE\"";
    let isula = node.command::<&str>(&[]);
    script.args(["-qec", inner, "/dev/null"]).env("ISULA", isula.get_program()).env("INSIDE", inside);
    script.envs(isula.get_envs().filter_map(|(key, value)| Some((key, value?))));
    let mut child = script.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    let mut output_so_far = String::new();
    let mut hear = |text: &str| {
        while !output_so_far.contains(text) {
            let mut buffer = [0; 256];
            let count = stdout.read(&mut buffer).unwrap();
            assert_ne!(count, 0, "{output_so_far:?}");
            output_so_far.push_str(&String::from_utf8_lossy(&buffer[..count]));
        }
    };
    hear("33 77");
    stdin.write_all(b"word\r").unwrap();
    hear("got word");
    assert_eq!(child.wait().unwrap().code(), Some(5));
    assert_gone(&node, &id);
    node.assert_clean_end();
}

fn a_session_of_input_alone_gets_the_end(runtime: Runtime) {
    let node = Node::start(runtime);
    let id = node.sleeper("x");
    let command = ["sh", "-c", "cat > /tmp/taken; echo out; echo err >&2; exit 4"].map(str::to_owned).to_vec();
    let process = ExecProcess { container: "x".into(), command, ..ExecProcess::default() };
    let open = ExecOpen { process: Some(process), stdin: true, ..ExecOpen::default() };
    let messages = [Input::Open(open), Input::Stdin(b"taken".to_vec()), Input::StdinClosed(Empty {})];
    let messages = messages.map(|input| ExecInput { input: Some(input) });
    let outputs = node.block_on(async {
        let inputs = tokio_stream::iter(messages).chain(tokio_stream::pending());
        let mut stream = node.execs().exec(inputs).await.unwrap().into_inner();
        let mut outputs = Vec::new();
        while let Some(message) = stream.message().await.unwrap() {
            outputs.push(message.output.unwrap());
        }
        outputs
    });
    let [exec_output::Output::Started(_), exec_output::Output::Exited(exit)] = outputs.as_slice() else {
        panic!("{outputs:?}")
    };
    assert_eq!(exit.code, Some(4));
    assert_eq!(node.ok(&["exec", "x", "cat", "/tmp/taken"]), "taken");
    assert_gone(&node, &id);
    node.assert_clean_end();
}

fn the_journal_has_the_user_and_the_duration(runtime: Runtime) {
    let mut node = Node::start(runtime);
    let id = node.sleeper("x");
    let seq = node.seq();
    let long = "a".repeat(1000);
    let asked = Instant::now();
    node.ok(&["exec", "-u", "0:0", "-e", "SECRET=hidden", "x", "sh", "-c", "sleep 1", &long]);
    let around = asked.elapsed().as_millis();
    let started = node.event_named(seq, &id, "ExecStarted");
    let ended = node.event_named(seq, &id, "ExecExited");
    assert_eq!((started.verb.as_str(), ended.verb.as_str()), ("exec_start", "exec_die"));
    assert_eq!(started.attributes["execID"], ended.attributes["execID"]);
    assert_eq!(started.attributes["command"], format!("sh -c sleep 1 {long}")[..256]);
    assert_eq!(started.attributes["user"], "0:0");
    assert_eq!((started.attributes["tty"].as_str(), started.attributes["detached"].as_str()), ("false", "false"));
    let lasted: u64 = ended.attributes["lastedMs"].parse().unwrap();
    assert!(lasted >= 200 && u128::from(lasted) <= around, "{lasted} of {around} ms");
    assert!(!format!("{:?}", node.events()).contains("hidden"));
    node.set("exec-log-args", false.into());
    node.restart();
    node.verified();
    let seq = node.seq();
    node.ok(&["exec", "x", "sh", "-c", "echo secret"]);
    assert_eq!(node.event_named(seq, &id, "ExecStarted").attributes["command"], "sh");
    node.assert_clean_end();
}
