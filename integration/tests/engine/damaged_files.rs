//! Files that decide about killing, unmounting or deleting are empty, zeroed, noise, the root's or another container's.
//! Running containers go on, and foreign processes, mounts and files are left alone. In a machine of its own: the
//! faults tested here could end every process.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use integration::disk::in_own_machine;
use integration::process::Signal;
use integration::{Node, Process, Runtime, command, deadline};

on_each_runtime!(
    damaged_files_do_not_end_a_container,
    an_empty_cgroup_file_kills_no_other_process,
    mounts_below_a_containers_directories_go_with_it,
    an_exit_fifo_that_is_gone_holds_nothing_up,
);

fn name(test: &str, runtime: Runtime) -> String {
    format!("damaged_files::{}::{test}", runtime.name())
}

/// Has nothing to do with any engine.
struct Bystander(Child);

impl Bystander {
    fn new() -> Self {
        Self(Command::new("sleep").arg("100000").stdin(Stdio::null()).spawn().expect("sleep runs"))
    }

    fn alive(&self) -> bool {
        Process::of(self.0.id().cast_signed()).is_some_and(Process::alive)
    }
}

impl Drop for Bystander {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The files of a running container that may be damaged.
fn files(node: &Node, id: &str) -> Vec<PathBuf> {
    let (bundle, state) = (node.bundle(id), node.state_dir(id));
    let mut files: Vec<PathBuf> = ["cgroup", "exit"].iter().map(|name| bundle.join(name)).collect();
    files.extend(["pid", "shim-pid", "exit", "process.json"].iter().map(|name| state.join(name)));
    files.push(node.state().join("boot-id"));
    files
}

fn damaged_files_do_not_end_a_container(runtime: Runtime) {
    in_own_machine(&name("damaged_files_do_not_end_a_container", runtime), || {
        let bystander = Bystander::new();
        let mut node = Node::start(runtime);
        let (x, other) = (node.sleeper("x"), node.sleeper("other"));
        let (process, shim, others) = (node.process_of("x"), node.shim_of("x"), node.process_of("other"));
        for (file, foreign) in files(&node, &x).into_iter().zip(files(&node, &other)) {
            let (whole, foreign) = (fs::read(&file).ok(), fs::read(&foreign).ok());
            let contents = [vec![], vec![0; 100], vec![0xff; 100], b"/".to_vec(), b"/isulad\n".to_vec()];
            for content in contents.into_iter().chain(foreign) {
                eprintln!("{}: {:?}", file.display(), String::from_utf8_lossy(&content[..content.len().min(40)]));
                node.kill9();
                fs::write(&file, content).expect("the node's directory is ours");
                node.launch();
                node.verified();
                assert_eq!((node.process_of("x"), node.process_of("other")), (process, others));
                assert!(process.alive() && shim.alive() && others.alive() && bystander.alive());
                match &whole {
                    Some(whole) => fs::write(&file, whole).expect("the node's directory is ours"),
                    None => fs::remove_file(&file).expect("the node's directory is ours"),
                }
            }
        }
        // Damaged, and its end comes.
        for file in
            [node.bundle(&x).join("cgroup"), node.state_dir(&x).join("pid"), node.state_dir(&x).join("shim-pid")]
        {
            fs::write(file, "").expect("the node's directory is ours");
        }
        node.ok(&["stop", "-t", "0", "x"]);
        assert_eq!(node.state_of("x")["ExitCode"], 137);
        assert!(others.alive() && bystander.alive());
        node.ok(&["start", "x"]);
        // Another container's file, well-formed: its shim, with all that it has started, is none of x's.
        let others_shim = node.shim_of("other");
        for end in [&["stop", "-t", "0", "x"][..], &["rm", "-f", "x"]] {
            let foreign = fs::read(node.state_dir(&other).join("shim-pid")).expect("it is there while it runs");
            fs::write(node.state_dir(&x).join("shim-pid"), foreign).expect("the node's directory is ours");
            node.ok(end);
            assert!(others.alive() && others_shim.alive() && bystander.alive(), "after {end:?}");
            assert_eq!(node.status_of("other"), "running");
            if end[0] == "stop" {
                node.ok(&["start", "x"]);
            }
        }
        node.assert_clean_end();
        assert!(bystander.alive());
    });
}

fn an_empty_cgroup_file_kills_no_other_process(runtime: Runtime) {
    in_own_machine(&name("an_empty_cgroup_file_kills_no_other_process", runtime), || {
        let bystander = Bystander::new();
        let mut node = Node::start(runtime);
        for content in ["", "/", "/..", "\0\0\0\0"] {
            let id = node.sleeper("x");
            let note = node.bundle(&id).join("cgroup");
            let whole = fs::read_to_string(&note).expect("it is there while the container runs");
            fs::write(&note, content).expect("the node's directory is ours");
            node.ok(&["kill", "x"]);
            node.wait("x");
            node.ok(&["start", "x"]);
            node.ok(&["pause", "x"]);
            fs::write(&note, content).expect("the node's directory is ours");
            node.restart();
            node.verified();
            assert_eq!(node.status_of("x"), "paused");
            let warnings = node.info().warnings;
            let named = |warning: &String| warning.contains(note.to_str().expect("UTF-8")) && warning.contains(&whole);
            assert!(warnings.iter().any(named), "{content:?}: {warnings:?}");
            fs::write(&note, content).expect("the node's directory is ours");
            node.ok(&["rm", "-f", "x"]);
            assert!(bystander.alive(), "{content:?}");
        }
        node.assert_clean_end();
    });
}

/// As runc leaves a mount of its own binary when it dies in the wrong moment; and a mount of a directory with foreign
/// data.
fn mounts_below_a_containers_directories_go_with_it(runtime: Runtime) {
    in_own_machine(&name("mounts_below_a_containers_directories_go_with_it", runtime), || {
        let mut node = Node::start(runtime);
        let data = node.dir().join("data");
        fs::create_dir(&data).expect("the node's directory is ours");
        fs::write(data.join("file"), "theirs").expect("the node's directory is ours");
        for recovered in [false, true] {
            let id = node.sleeper("x");
            bind(&data.join("file"), &own_root(&node, &id).join("runc.abc"), false);
            for dir in [node.state_dir(&id), node.bundle(&id)] {
                bind(&data.join("file"), &dir.join("file"), false);
                bind(&data, &dir.join("left"), true);
            }
            if recovered {
                let process = node.process_of("x");
                node.kill9();
                process.signal(Signal::KILL);
                node.launch();
                node.verified();
            } else {
                node.ok(&["stop", "-t", "0", "x"]);
            }
            node.ok(&["start", "x"]);
            node.ok(&["rm", "-f", "x"]);
            assert_eq!(fs::read_to_string(data.join("file")).expect("it is theirs"), "theirs");
            node.assert_nothing_left();
        }
        // Of an unknown container.
        node.kill9();
        let lost = node.state_dir(&"e".repeat(64));
        fs::create_dir_all(&lost).expect("the node's directory is ours");
        bind(&data, &lost.join("left"), true);
        node.launch();
        node.verified();
        deadline::until("it is swept", || !lost.exists());
        assert_eq!(fs::read_to_string(data.join("file")).expect("it is theirs"), "theirs");
        node.assert_clean_end();
    });
}

/// The runtime's own directory of the container.
fn own_root(node: &Node, id: &str) -> PathBuf {
    let root = node.state().join(node.runtime().name()).join("root");
    let mut entries = fs::read_dir(root).expect("the runtime has a root").flatten().map(|entry| entry.path());
    let is_own = |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(id));
    entries.find(is_own).expect("the runtime has a directory for it")
}

fn bind(from: &Path, to: &Path, directory: bool) {
    let made = if directory { fs::create_dir(to) } else { fs::write(to, "") };
    made.expect("the node's directory is ours");
    command::tool(&["mount", "--bind", from.to_str().expect("UTF-8"), to.to_str().expect("UTF-8")]);
}

fn an_exit_fifo_that_is_gone_holds_nothing_up(runtime: Runtime) {
    in_own_machine(&name("an_exit_fifo_that_is_gone_holds_nothing_up", runtime), || {
        let mut node = Node::start(runtime);
        let words = ["sh", "-c", "trap 'exit 7' TERM; echo ready; sleep 100000 & wait"];
        let id = node.run_detached(&["--name", "x"], &words);
        node.written("x", "ready");
        node.kill9();
        fs::remove_file(node.state_dir(&id).join("exit_fifo")).expect("it is there while the container runs");
        node.launch();
        node.verified();
        node.ok(&["stop", "-t", "50", "x"]);
        assert_eq!(node.state_of("x")["ExitCode"], 7);
        node.ok(&["start", "x"]);
        node.ok(&["rm", "-f", "x"]);
        // Warnings of waits that took their whole patience.
        let warnings = node.info().warnings;
        let late = |warning: &&String| warning.contains("does not report the end") || warning.contains("did not leave");
        assert_eq!(warnings.iter().find(late), None);
        node.assert_clean_end();
    });
}
