//! Sessions at a real terminal: `run -it`, `attach`, the detach keys, sizes, and the terminal as before on every way
//! out.

use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ExitStatus};

use integration::process::{Signal, with_argument};
use integration::{Node, Process, Runtime, Terminal, deadline};

on_each_runtime!(
    a_shell_at_a_terminal,
    sizes_are_passed_on_and_nonsense_is_not,
    ctrl_c_is_the_containers,
    leaving_and_coming_back,
    unread_input_delays_neither_sizes_nor_detaching,
    a_terminal_that_is_let_go_and_taken_again,
    a_further_process_at_a_terminal,
    the_terminal_is_as_before_when_the_daemon_is_killed,
    a_terminal_lost_with_its_shim_is_reported,
);

/// The exit code of a session that was lost before its process's end.
const LOST: i32 = 122;

/// A shell in a container, at this terminal; its prompt is there.
fn shell(node: &Node, terminal: &Terminal, flags: &[&str]) -> Child {
    let child = terminal.spawn(&node.command(&node.words("run", &[&["-it"], flags].concat(), &["sh"])));
    terminal.until("# ");
    assert!(!terminal.is_cooked(), "keys are the container's");
    child
}

/// `isula` with these words at this terminal, which it has attached to a container.
fn attach(node: &Node, terminal: &Terminal, words: &[&str]) -> Child {
    let seq = node.seq();
    let child = terminal.spawn(&node.command(words));
    node.event_after(seq, |event| event.name == "Attached");
    child
}

fn ended(mut child: Child) -> ExitStatus {
    let process = Process::of(child.id().cast_signed());
    assert!(process.is_none_or(|process| process.wait_gone(deadline::PATIENCE)), "isula does not end");
    child.wait().expect("a child can be waited for")
}

fn signal(child: &Child, signal: Signal) {
    Process::of(child.id().cast_signed()).expect("it runs").signal(signal);
}

fn a_shell_at_a_terminal(runtime: Runtime) {
    let node = Node::start(runtime);
    let terminal = Terminal::open();
    let child = shell(&node, &terminal, &["--name", "x"]);
    terminal.types("echo $((6 * 7)) $(tty)\r");
    terminal.until("42 /dev/pts/0");
    terminal.types("exit 7\r");
    assert_eq!(ended(child).code(), Some(7));
    assert!(terminal.is_cooked());
    node.remove_all();
    node.assert_nothing_left();
}

fn sizes_are_passed_on_and_nonsense_is_not(runtime: Runtime) {
    let node = Node::start(runtime);
    let terminal = Terminal::open();
    terminal.resize(99, 33);
    let child = terminal.spawn(&node.command(&node.words("run", &["-it", "--rm"], &["stty", "size"])));
    // In its first moment already.
    terminal.until("33 99\r\n");
    assert_eq!(ended(child).code(), Some(0));

    let child = shell(&node, &terminal, &["--name", "x"]);
    let size_is = |size: &str| {
        terminal.types("stty size\r");
        terminal.until(&format!("\n{size}\r\n"));
    };
    size_is("33 99");
    terminal.resize(120, 50);
    deadline::until("the container hears of it", || {
        terminal.types("stty size\r");
        terminal.rest().contains("\n50 120\r\n")
    });
    for (columns, rows) in [(0, 0), (0, 40), (65535, 65535), (65535, 40)] {
        terminal.resize(columns, rows);
        size_is("50 120");
    }
    terminal.types("exit\r");
    ended(child);

    let script = "trap 'stty size' WINCH; echo ready; while :; do sleep 0.01; done";
    let child = terminal.spawn(&node.command(&node.words("run", &["-it", "--rm"], &["sh", "-c", script])));
    terminal.until("ready\r\n");
    terminal.resize(60, 30);
    terminal.until("30 60\r\n");
    signal(&child, Signal::TERM);
    ended(child);
    node.remove_all();
}

fn ctrl_c_is_the_containers(runtime: Runtime) {
    let node = Node::start(runtime);
    let terminal = Terminal::open();
    let script = "trap 'echo caught; exit 5' INT; echo ready; while :; do sleep 0.01; done";
    let child = terminal.spawn(&node.command(&node.words("run", &["-it", "--rm"], &["sh", "-c", script])));
    terminal.until("ready");
    terminal.types("\x03");
    terminal.until("caught");
    assert_eq!(ended(child).code(), Some(5));
    assert!(terminal.is_cooked());
}

fn leaving_and_coming_back(runtime: Runtime) {
    let node = Node::start(runtime);
    let terminal = Terminal::open();
    let child = shell(&node, &terminal, &["--name", "x"]);
    let process = node.process_of("x");
    // Input typed in one go with the keys goes to the container all the same.
    terminal.types("word=kept; echo so far\r\x10\x11");
    assert_eq!(ended(child).code(), Some(0));
    assert!(terminal.is_cooked());
    terminal.rest();

    let child = attach(&node, &terminal, &["attach", "x"]);
    // A program is made to draw itself again; the first half of a sequence is held until the next key.
    terminal.until("# ");
    terminal.types("cho $word!\x01");
    terminal.types("e\r");
    terminal.until("kept!\r\n");
    terminal.types("\x01q");
    assert_eq!(ended(child).code(), Some(0));

    let child = attach(&node, &terminal, &["attach", "--detach-keys", "ctrl-x,d", "x"]);
    terminal.types("cho as$((1 + 1)) before\x01e\r");
    terminal.until("as2 before\r\n");
    terminal.types("\x18d");
    assert_eq!(ended(child).code(), Some(0));
    assert!(terminal.is_cooked());

    assert!(process.alive(), "nothing of this was its business");
    let child = attach(&node, &terminal, &["attach", "x"]);
    terminal.types("exit 3\r");
    assert_eq!(ended(child).code(), Some(3));
    let child = terminal.spawn(&node.command(&["start", "-ai", "x"]));
    terminal.until("# ");
    terminal.types("exit 4\r");
    assert_eq!(ended(child).code(), Some(4));
    assert_eq!(sessions(&node), (5, 5), "each is recorded with its end");
    let events = node.ok(&["events", "--since", "0", "--until", "0s"]);
    assert_eq!((events.matches(" attach ").count(), events.matches(" detach ").count()), (5, 5), "{events}");
    node.remove_all();
    node.assert_nothing_left();
}

/// A script that never reads, prints each new size, and ends when this file exists.
fn deaf(file: &str) -> String {
    format!("stty raw -echo; trap 'stty size' WINCH; echo ready; while [ ! -e {file} ]; do sleep 0.01; done; exit 6")
}

fn unread_input_delays_neither_sizes_nor_detaching(runtime: Runtime) {
    let node = Node::start(runtime);
    let terminal = Terminal::open();
    let run = node.words("run", &["-it", "--name", "x"], &["sh", "-c", &deaf("/tmp/first")]);
    let exec = ["exec", "-it", "x", "sh", "-c", &deaf("/tmp/second")].map(str::to_owned).to_vec();
    for (words, columns) in [(run, 101), (exec, 102)] {
        let child = terminal.spawn(&node.command(&words));
        terminal.until("ready");
        // More than all there is room for on the way.
        terminal.types(&"x".repeat(3 << 20));
        terminal.resize(columns, 37);
        terminal.until(&format!("37 {columns}"));
        terminal.types("\x10\x11");
        assert_eq!(ended(child).code(), Some(0), "{words:?}");
        assert!(terminal.is_cooked());
    }
    assert_eq!(node.events().iter().filter(|event| event.name == "ExecExited").count(), 0, "it goes on");
    let seq = node.seq();
    node.ok(&["exec", "x", "touch", "/tmp/second"]);
    node.event_after(seq, |event| event.name == "ExecExited" && event.attributes["exitCode"] == "6");
    // Its end may be faster than that of the exec that causes it.
    node.isula(&["exec", "x", "touch", "/tmp/first"]);
    assert_eq!(node.wait("x"), Some(6));
    node.remove_all();
    node.assert_nothing_left();
}

/// The terminal is closed by all processes for a while, which is not its end.
fn a_terminal_that_is_let_go_and_taken_again(runtime: Runtime) {
    let node = Node::start(runtime);
    let terminal = Terminal::open();
    let script = "tty=$(tty); echo first; exec </dev/null >/dev/null 2>&1; while [ ! -e /tmp/go ]; do sleep 0.01; done
        exec <$tty >$tty 2>&1; echo second; read line; echo \"<$line>\"; exit 4";
    let child = terminal.spawn(&node.command(&node.words("run", &["-it", "--name", "x"], &["sh", "-c", script])));
    terminal.until("first\r\n");
    let process = node.process_of("x");
    let fds = || std::fs::read_dir(format!("/proc/{}/fd", process.pid)).expect("it runs").flatten();
    let has_terminal = || fds().any(|fd| std::fs::read_link(fd.path()).is_ok_and(|it| it.starts_with("/dev/pts")));
    deadline::until("the terminal is let go", || !has_terminal());
    node.ok(&["exec", "x", "touch", "/tmp/go"]);
    terminal.until("second\r\n");
    terminal.types("word\r");
    terminal.until("<word>\r\n");
    assert_eq!(ended(child).code(), Some(4));
    let log = node.ok(&["logs", "x"]);
    assert!(log.contains("first") && log.contains("second") && log.contains("<word>"), "{log:?}");
    node.remove_all();
    node.assert_nothing_left();
}

fn a_further_process_at_a_terminal(runtime: Runtime) {
    let mut node = Node::start(runtime);
    node.sleeper("x");
    let terminal = Terminal::open();
    terminal.resize(97, 31);
    // crun takes no size for a further process: there it comes a moment later.
    let script = match runtime {
        Runtime::Runc => "stty size",
        Runtime::Crun => "until [ \"$(stty size 2>/dev/null)\" = '31 97' ]; do :; done; stty size",
    };
    let child = terminal.spawn(&node.command(&["exec", "-it", "x", "sh", "-c", script]));
    terminal.until("31 97\r\n");
    assert_eq!(ended(child).code(), Some(0));

    let shell = |node: &Node| {
        terminal.rest();
        let child = terminal.spawn(&node.command(&["exec", "-it", "x", "sh"]));
        terminal.until("# ");
        assert!(!terminal.is_cooked());
        child
    };
    let child = shell(&node);
    terminal.resize(98, 32);
    deadline::until("the new size is there", || {
        terminal.types("stty size\r");
        terminal.rest().contains("\n32 98\r\n")
    });
    // Ctrl-C ends the shell's child, and nothing else.
    // The number differs between the tests, so that each finds its own child.
    let seconds = match runtime {
        Runtime::Runc => "98765",
        Runtime::Crun => "98766",
    };
    terminal.types(&format!("echo begin; sleep {seconds}; echo status $?\r"));
    terminal.until("begin\r\n");
    // From then on it has the terminal: the shell itself lets Ctrl-C pass.
    deadline::until("sleep runs", || !with_argument("sleep", |word| word == seconds).is_empty());
    terminal.types("\x03");
    terminal.until("# ");
    terminal.types("exit 12\r");
    assert_eq!(ended(child).code(), Some(12));
    assert!(terminal.is_cooked());

    let child = shell(&node);
    terminal.types("echo $$ in$((1 + 1))\r");
    terminal.until("in2\r\n");
    node.kill9();
    assert_eq!(ended(child).code(), Some(LOST));
    assert!(terminal.is_cooked());
    node.launch();
    node.verified();
    let child = shell(&node);
    signal(&child, Signal::TERM);
    assert_eq!(ended(child).code(), Some(143));
    assert!(terminal.is_cooked());
    let left = || node.ok(&["top", "x"]).matches(" sh\n").count();
    deadline::until("no shell is left", || left() == 0);
    node.remove_all();
    node.assert_nothing_left();
}

/// How many clients have come, and gone. Their end is recorded in the background.
fn sessions(node: &Node) -> (usize, usize) {
    let count = |name: &str| node.events().iter().filter(|event| event.name == name).count();
    deadline::until("every session has its end", || count("Attached") == count("Detached"));
    (count("Attached"), count("Detached"))
}

fn the_terminal_is_as_before_when_the_daemon_is_killed(runtime: Runtime) {
    let mut node = Node::start(runtime);
    let terminal = Terminal::open();
    let child = shell(&node, &terminal, &["--name", "x"]);
    let process = node.process_of("x");
    terminal.types("word=kept; echo go$((1 + 1))\r");
    terminal.until("go2\r\n");
    node.kill9();
    assert_eq!(ended(child).code(), Some(LOST));
    assert!(terminal.is_cooked());
    terminal.until("container x may be running still\r\n");

    node.launch();
    node.verified();
    assert_eq!(node.process_of("x"), process);
    terminal.resize(70, 20);
    let child = attach(&node, &terminal, &["attach", "x"]);
    terminal.types("echo $word $(stty size)\r");
    terminal.until("kept 20 70\r\n");
    terminal.resize(71, 21);
    deadline::until("the new size is there", || {
        terminal.types("stty size\r");
        terminal.rest().contains("\n21 71\r\n")
    });
    terminal.types("exit 6\r");
    assert_eq!(ended(child).code(), Some(6));
    node.remove_all();
    node.assert_nothing_left();
}

/// The other side of the terminal ended with the shim that held it: only a program that ignores that lives on.
fn a_terminal_lost_with_its_shim_is_reported(runtime: Runtime) {
    let node = Node::start(runtime);
    let script = "trap '' HUP; echo ready; while :; do sleep 0.1; done";
    let id = node.run_detached(&["-it", "--name", "x"], &["sh", "-c", script]);
    node.written("x", "ready");
    let process = node.process_of("x");
    let seq = node.seq();
    node.shim_of("x").kill();
    node.event_named(seq, &id, "ShimAdopted");
    assert!(process.alive());
    let terminal = Terminal::open();
    let child = terminal.spawn(&node.command(&["attach", "x"]));
    terminal.until("the container's terminal was lost with the shim that held it");
    assert_eq!(ended(child).code(), Some(1));
    assert!(terminal.is_cooked());
    node.remove_all();
}

#[test]
fn the_terminal_is_as_before_when_a_signal_ends_isula() {
    let node = Node::start(Runtime::Runc);
    let terminal = Terminal::open();
    let child = shell(&node, &terminal, &["--name", "x"]);
    let process = node.process_of("x");
    signal(&child, Signal::TERM);
    assert_eq!(ended(child).code(), Some(143));
    assert!(terminal.is_cooked());
    for (sent, code) in [(Signal::HUP, 129), (Signal::INT, 130), (Signal::QUIT, 131), (Signal::USR1, 138)] {
        let child = attach(&node, &terminal, &["attach", "x"]);
        deadline::until("it is raw", || !terminal.is_cooked());
        signal(&child, sent);
        assert_eq!(ended(child).code(), Some(code));
        assert!(terminal.is_cooked(), "after {code}");
    }
    // A stop is no end: a shell takes the terminal back, and gives it again.
    let child = attach(&node, &terminal, &["attach", "x"]);
    terminal.types("echo o$((1 + 1))\r");
    terminal.until("o2");
    signal(&child, Signal::STOP);
    signal(&child, Signal::CONT);
    terminal.types("echo o$((2 + 2))\r");
    terminal.until("o4");
    assert!(!terminal.is_cooked());
    // A terminal that is closed under it.
    drop(terminal);
    ended(child);
    assert!(process.alive(), "none of it was the container's business");
    node.remove_all();
    node.assert_nothing_left();
}

#[test]
fn a_killed_client_leaves_the_others_alone() {
    let node = Node::start(Runtime::Runc);
    let (first, second) = (Terminal::open(), Terminal::open());
    let one = shell(&node, &first, &["--name", "x"]);
    let two = attach(&node, &second, &["attach", "x"]);
    first.types("echo to$((1 + 1)) both\r");
    first.until("to2 both\r\n");
    second.until("to2 both\r\n");
    signal(&one, Signal::KILL);
    assert_eq!(ended(one).signal(), Some(9));
    second.types("echo alone$((3 + 3))\r");
    second.until("alone6\r\n");
    second.types("exit\r");
    assert_eq!(ended(two).code(), Some(0));
    assert_eq!(sessions(&node), (2, 2));
    node.remove_all();
}

#[test]
fn keys_that_are_none_and_input_that_is_no_terminal() {
    let node = Node::start(Runtime::Runc);
    node.run_detached(&["-it", "--name", "x"], &["sh"]);
    for words in [&["attach"][..], &["start", "-a"]] {
        let complaint = node.isula(&[words, &["--detach-keys", "ctrl-1", "x"]].concat()).refused(125);
        assert!(complaint.contains("Invalid value \"ctrl-1\" for flag --detach-keys"), "{complaint}");
    }
    let complaint = node.isula(&["attach", "x"]).refused(1);
    assert_eq!(complaint, "The input device is not a TTY; --no-stdin attaches without input");
    // Without input, the output is there, and Ctrl-C is for isula.
    let terminal = Terminal::open();
    let child = attach(&node, &terminal, &["attach", "--no-stdin", "x"]);
    assert!(terminal.is_cooked());
    terminal.types("\x03");
    assert_eq!(ended(child).code(), Some(130));
    assert_eq!(node.state_of("x")["Status"], "running");
    node.remove_all();
}
