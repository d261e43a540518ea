//! A call of a runtime that was given up cannot reach a later start: it ends with the process that has made it.

use std::fs;
use std::path::PathBuf;

use integration::process::Process;
use integration::{Node, Runtime, deadline};
use serde_json::json;

use crate::bad_input::script;

on_each_runtime!(
    a_delete_ends_with_its_killed_shim,
    a_start_that_hangs_ends_with_its_shim,
    a_call_of_the_daemon_ends_with_it,
);

/// Where a call of the runtime that names `verb` hangs as long as `hang` is there, and goes on after that: as the worst
/// of runtimes would, late, and of its own accord.
pub(crate) struct Hanging {
    pub(crate) node: Node,
    verb: &'static str,
}

impl Hanging {
    pub(crate) fn new(runtime: Runtime, verb: &'static str) -> Self {
        let mut node = Node::builder(runtime).build();
        let dir = node.dir().display().to_string();
        let text = format!(
            "case \" $* \" in *\" {verb} \"*) if [ -e {dir}/hang ]; then echo $$ >>{dir}/marks; \
             while [ -e {dir}/hang ]; do sleep 0.05; done; fi;; esac\nexec $real \"$@\""
        );
        let path = script(&node, "hanging", &text);
        node.set("runtimes", json!({ "hanging": { "path": path } }));
        node.set("default-runtime", json!("hanging"));
        node.launch();
        Self { node, verb }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.node.dir().join(name)
    }

    pub(crate) fn hang(&self) {
        fs::write(self.file("hang"), "").expect("the node's directory is ours");
    }

    /// Lets hanging calls go on, if they still can.
    pub(crate) fn go_on(&self) {
        fs::remove_file(self.file("hang")).expect("it was there");
    }

    /// Calls that have hung so far.
    fn marks(&self) -> Vec<Process> {
        let text = fs::read_to_string(self.file("marks")).unwrap_or_default();
        text.lines().filter_map(|line| Process::of(line.parse().ok()?)).collect()
    }

    pub(crate) fn one_hangs(&self) -> Process {
        deadline::until(&format!("a {} hangs", self.verb), || !self.marks().is_empty());
        self.marks()[0]
    }

    /// Runs to its end the first time, and on and on from then on.
    fn run_twice(&self) -> String {
        let data = self.file("data");
        fs::create_dir(&data).expect("the node's directory is ours");
        let volume = format!("{}:/data", data.display());
        let script = "test -e /data/again && exec sleep 100000; touch /data/again; exit 4";
        self.node.run_detached(&["--name", "x", "-v", &volume], &["sh", "-c", script])
    }

    #[track_caller]
    fn assert_second_run_lives(&self) {
        let process = self.node.process_of("x");
        assert_eq!(self.node.status_of("x"), "running");
        self.node.ok(&["exec", "x", "true"]);
        assert!(process.alive());
        self.node.assert_clean_end();
    }
}

fn a_delete_ends_with_its_killed_shim(runtime: Runtime) {
    let hanging = Hanging::new(runtime, "delete");
    hanging.hang();
    hanging.run_twice();
    let late = hanging.one_hangs();
    // Killed from outside, such as by the memory killer.
    hanging.node.shims().into_iter().for_each(Process::kill);
    deadline::until("the runtime has ended with its shim", || !late.alive());
    hanging.go_on();
    assert_eq!(hanging.node.wait("x"), Some(4));
    hanging.node.ok(&["start", "x"]);
    hanging.assert_second_run_lives();
}

/// The daemon ends a shim that does not leave, and the runtime with it.
#[test]
fn a_delete_that_hangs_is_ended_with_its_shim() {
    let hanging = Hanging::new(Runtime::Runc, "delete");
    hanging.hang();
    hanging.run_twice();
    let late = hanging.one_hangs();
    assert_eq!(hanging.node.wait("x"), Some(4));
    // The shim's own patience with it is longer than the daemon's with the shim.
    assert!(late.wait_gone(4 * deadline::PATIENCE), "the runtime goes on");
    deadline::until("the daemon tries itself", || !hanging.marks().is_empty());
    hanging.go_on();
    hanging.node.ok(&["start", "x"]);
    hanging.assert_second_run_lives();
}

fn a_start_that_hangs_ends_with_its_shim(runtime: Runtime) {
    let hanging = Hanging::new(runtime, "run");
    hanging.hang();
    let client = hanging.node.spawn(&hanging.node.words("run", &["-d", "--name", "y"], &["sleep", "100000"]));
    let late = hanging.one_hangs();
    hanging.node.shims().into_iter().for_each(Process::kill);
    deadline::until("the runtime has ended with its shim", || !late.alive());
    let output = integration::command::finish(client, deadline::PATIENCE).expect("the client hears of it");
    assert_ne!(output.code(), 0);
    hanging.go_on();
    hanging.node.ok(&["start", "y"]);
    assert_eq!(hanging.node.status_of("y"), "running");
    hanging.node.assert_clean_end();
}

fn a_call_of_the_daemon_ends_with_it(runtime: Runtime) {
    let mut hanging = Hanging::new(runtime, "pause");
    hanging.node.sleeper("z");
    hanging.hang();
    let client = hanging.node.spawn(&["pause", "z"]);
    let late = hanging.one_hangs();
    hanging.node.kill9();
    deadline::until("the runtime has ended with the daemon", || !late.alive());
    let _ = integration::command::finish(client, deadline::PATIENCE);
    hanging.go_on();
    hanging.node.launch();
    hanging.node.verified();
    assert_eq!(hanging.node.status_of("z"), "running");
    hanging.node.assert_clean_end();
}
