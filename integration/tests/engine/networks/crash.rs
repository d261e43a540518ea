//! The daemon dies between any two steps of attaching and detaching. The next one has the container running with all it
//! needs, or not running with nothing: no namespace, address, interface or rule is left.

use std::collections::BTreeSet;

use integration::{Node, Runtime, deadline};

use super::{SERVE, address, all_given_back, clean_end, node, serves, world};

on_each_runtime!(
    dies_attaching,
    dies_detaching,
    dies_putting_off,
    the_host_is_restarted,
    orphaned_namespaces_are_removed
);

const ATTACHING: [&str; 6] = [
    "net-recorded",
    "net-pinned",
    "net-plugin-added",
    // After the last of them.
    "net-plugin-added:3",
    "net-added",
    "net-attached",
];
const DETACHING: [&str; 3] = ["net-deleted", "net-unpinned", "net-detached"];
const PUTTING_OFF: [&str; 1] = ["net-put-off"];
const REMOVING: [&str; 1] = ["net-bridge-removed"];

pub(crate) fn points() -> BTreeSet<&'static str> {
    let all = ATTACHING.iter().chain(&DETACHING).chain(&PUTTING_OFF).chain(&REMOVING);
    all.map(|point| point.split(':').next().unwrap_or(point)).collect()
}

const FLAGS: [&str; 6] = ["--name", "x", "--net", "net", "-p", "8080:80"];

fn dies(node: &mut Node, point: &str, words: &[String]) {
    node.kill9();
    node.launch_with(&[("ISULAD_FAILPOINT", point)]);
    node.verified();
    let mut caller = node.spawn(words);
    node.died();
    let _ = caller.wait();
    node.launch();
    node.verified();
}

fn text(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

fn dies_attaching(runtime: Runtime) {
    let mut node = node(runtime);
    super::server(&node, "bystander", &["-p", "9090:80"]);
    serves(&node, "127.0.0.1:9090");
    let before = world(&node);
    for point in ATTACHING {
        eprintln!("{point}");
        node.create(&FLAGS, &SERVE);
        dies(&mut node, point, &text(&["start", "x"]));
        deadline::until("it has ended", || node.status_of("x") == "exited");
        deadline::until("interrupted attachments are given back", || world(&node) == before);
        // A further start works, with the same port.
        node.ok(&["start", "x"]);
        serves(&node, "127.0.0.1:8080");
        node.ok(&["rm", "-f", "x"]);
        assert_eq!(world(&node), before, "{point}");
        let run = node.words("run", &[&["-d", "--rm"], FLAGS.as_slice()].concat(), &SERVE);
        dies(&mut node, point, &run);
        deadline::until("it is gone", || node.list().len() == 1);
        deadline::until("interrupted attachments are given back", || world(&node) == before);
    }
    serves(&node, "127.0.0.1:9090");
    clean_end(&node);
}

fn dies_detaching(runtime: Runtime) {
    let mut node = node(runtime);
    super::server(&node, "bystander", &[]);
    let before = world(&node);
    for point in DETACHING {
        for ending in [&["stop", "-t", "0", "x"][..], &["rm", "-f", "x"], &["restart", "-t", "0", "x"]] {
            eprintln!("{point}: {ending:?}");
            node.run_detached(&FLAGS, &SERVE);
            dies(&mut node, point, &text(ending));
            match ending[0] {
                "stop" => assert_eq!(node.status_of("x"), "exited"),
                "rm" => deadline::until("it is gone", || node.list().len() == 1),
                _ => deadline::until("it is decided", || ["running", "exited"].contains(&node.status_of("x").as_str())),
            }
            if ending[0] != "rm" {
                let _ = node.isula(&["start", "x"]);
                serves(&node, &address(&node, "x"));
                serves(&node, "127.0.0.1:8080");
                node.ok(&["rm", "-f", "x"]);
            }
            deadline::until("all is given back", || world(&node) == before);
        }
    }
    serves(&node, &address(&node, "bystander"));
    clean_end(&node);
}

fn dies_putting_off(runtime: Runtime) {
    let mut node = node(runtime);
    for point in PUTTING_OFF {
        node.run_detached(&FLAGS, &SERVE);
        // DEL fails: a plugin is gone.
        node.kill9();
        node.set("cni-bin-dir", serde_json::json!("/no/such/dir"));
        node.launch();
        node.verified();
        dies(&mut node, point, &text(&["rm", "-f", "x"]));
        deadline::until("it is gone all the same", || node.list().is_empty());
        assert!(!world(&node).files.is_empty(), "it is still to be given back");
        node.kill9();
        node.set("cni-bin-dir", serde_json::json!("/usr/lib/cni"));
        node.launch();
        all_given_back(&node);
    }
    clean_end(&node);
}

/// Its file is there until the last, so that it can be removed again.
#[test]
fn dies_removing_a_network() {
    let mut node = node(Runtime::Runc);
    super::server(&node, "a", &[]);
    node.ok(&["rm", "-f", "a"]);
    for point in REMOVING {
        dies(&mut node, point, &text(&["network", "rm", "net"]));
        assert_eq!(node.ok(&["network", "ls", "-q"]), "net");
    }
    clean_end(&node);
}

/// Namespaces, interfaces and rules are gone with the boot; the addresses are not, and the next boot gives them back.
fn the_host_is_restarted(runtime: Runtime) {
    let mut node = node(runtime);
    super::server(&node, "a", &["-p", "8080:80"]);
    node.create(&["--name", "b", "--net", "net"], &SERVE);
    let processes = [node.shim_of("a"), node.process_of("a")];
    node.kill9();
    processes.into_iter().for_each(integration::process::Process::kill);
    for netns in node.networks().iter().filter(|path| path.starts_with(node.netns_dir())) {
        let path = netns.to_str().expect("UTF-8");
        super::on_host(&node, &["umount", path]).ok();
        std::fs::remove_file(netns).expect("it is ours");
    }
    std::fs::remove_dir_all(node.state()).expect("the state directory can be removed");
    node.launch_with(&[crate::world_changed::OTHER_BOOT]);
    node.verified();
    assert_eq!(node.status_of("a"), "exited");
    deadline::until("the address is given back", || node.networks().is_empty());
    for name in ["a", "b"] {
        node.ok(&["start", name]);
        serves(&node, &address(&node, name));
    }
    node.remove_all();
    assert_eq!(node.networks(), Vec::<std::path::PathBuf>::new());
    // A real restart would have taken the rules.
    assert_eq!(super::world(&node).rules, Vec::<String>::new());
}

/// An orphaned namespace with our mark is removed; one with another engine's mark is not, nor one in use.
fn orphaned_namespaces_are_removed(runtime: Runtime) {
    let mut node = node(runtime);
    let id = super::server(&node, "a", &[]);
    let used = super::settings(&node, "a")["SandboxKey"].as_str().expect("text").to_owned();
    let mark = used.rsplit('/').next().and_then(|name| name.split('-').nth(1)).expect("it has a mark").to_owned();
    node.kill9();
    let pin = |mark: &str, owner: &str| {
        let path = node.netns_dir().join(format!("isula-{mark}-{owner}-1"));
        let path = path.to_str().expect("UTF-8").to_owned();
        let script = format!("touch {path} && mount --bind /proc/self/ns/net {path}");
        super::on_host(&node, &["unshare", "--net", "sh", "-c", &script]).ok();
        path
    };
    let unowned = "f".repeat(16);
    let (ours, foreign) = (pin(&mark, &unowned), pin("00000000", &unowned));
    // The pin of a past start of the same container.
    let stale = pin(&mark, &id[..16]);
    node.launch();
    node.verified();
    let there = |path: &str| super::on_host(&node, &["mountpoint", "-q", path]).code() == 0;
    deadline::until("ours are swept", || !there(&ours) && !there(&stale));
    assert!(there(&foreign) && there(&used));
    assert!(node.info().warnings.iter().any(|warning| warning.contains(&ours)), "{:?}", node.info().warnings);
    serves(&node, &address(&node, "a"));
    super::on_host(&node, &["umount", &foreign]).ok();
    std::fs::remove_file(&foreign).expect("it is ours");
    clean_end(&node);
}
