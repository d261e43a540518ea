//! The operator chooses the places of the roots, also through links; and the container's own files define its users.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use integration::{Node, Runtime};

on_each_runtime!(
    through_links,
    run_and_exec_agree_on_users,
    files_of_a_bundle_come_back,
    refused_before_a_runtime_runs
);

/// Moves a directory and puts a link in its place, as an operator of a full disk would.
fn move_behind_a_link(from: &Path, to: &Path) {
    fs::create_dir_all(to.parent().expect("not the root")).expect("the node's directory is ours");
    fs::rename(from, to).expect("nothing is mounted in it");
    if from.is_symlink() {
        fs::remove_file(from).expect("the node's directory is ours");
    }
    symlink(to, from).expect("the node's directory is ours");
}

fn mounts_below(dir: &Path) -> usize {
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("/proc is mounted");
    mounts
        .lines()
        .filter(|line| line.split(' ').nth(4).is_some_and(|target| Path::new(target).starts_with(dir)))
        .count()
}

fn through_links(runtime: Runtime) {
    let mut node = Node::builder(runtime).build();
    let dir = node.dir().to_owned();
    move_behind_a_link(&node.graph(), &dir.join("disk/graph"));
    move_behind_a_link(&node.state(), &dir.join("disk/state"));
    node.launch();
    let flags = ["--name", "web", "-v", "data:/data"];
    node.run_detached(&flags, &["sh", "-c", "echo kept > /data/file; echo ready; sleep 100000"]);
    node.written("web", "ready");
    assert_eq!(node.ok(&["exec", "web", "cat", "/data/file"]), "kept");
    node.kill9();
    node.launch();
    node.verified();
    assert_eq!(
        (node.status_of("web"), node.ok(&["exec", "web", "cat", "/data/file"])),
        ("running".into(), "kept".into())
    );
    node.ok(&["stop", "-t", "0", "web"]);
    // A volume is where the graph is, wherever that has gone.
    node.terminate();
    fs::remove_file(node.graph()).expect("it is a link");
    fs::rename(dir.join("disk/graph"), dir.join("other")).expect("nothing is mounted in it");
    symlink(dir.join("other"), node.graph()).expect("the node's directory is ours");
    node.launch();
    node.ok(&["start", "web"]);
    assert_eq!(node.ok(&["exec", "web", "cat", "/data/file"]), "kept");
    node.assert_clean_end();
    // Under their true names, which the harness does not look for.
    assert_eq!(mounts_below(&dir), 0, "what was mounted is unmounted");
}

fn run_and_exec_agree_on_users(runtime: Runtime) {
    let node = Node::start(runtime);
    let users = node.dir().join("users");
    fs::create_dir(&users).expect("the node's directory is ours");
    fs::write(users.join("passwd"), "root:x:0:0::/root:/bin/sh\nolga:x:70:80::/home/olga:/bin/sh\n").expect("ours");
    fs::write(users.join("group"), "olga:x:80:\nstaff:x:90:olga\nmore:x:95:\n").expect("ours");
    let bind = |name: &str| format!("{}:/etc/{name}:ro", users.join(name).display());
    let (passwd, group) = (bind("passwd"), bind("group"));
    let script = "id -u; id -g; id -G; echo $HOME";
    let flags = ["--name", "who", "-u", "olga", "--group-add", "more", "-v", &passwd, "-v", &group];
    node.run_detached(
        &flags,
        &["sh", "-c", &format!("{{ {script}; }} | tr '\\n' ';'; echo; echo ready; sleep 100000")],
    );
    node.written("who", "ready");
    let seen = "70;80;80 90 95;/home/olga;";
    assert_eq!(node.ok(&["logs", "who"]), format!("{seen}\nready"));
    let exec = |user: &str| node.ok(&["exec", "-u", user, "who", "sh", "-c", script]).replace('\n', ";") + ";";
    assert_eq!(exec("olga"), seen);
    assert!(node.isula(&["exec", "-u", "guest", "who", "true"]).code() != 0, "it is hidden by what is mounted");
    let refused = node.run(&["-u", "guest", "-v", &passwd], &["true"]).refused(125);
    assert!(refused.contains("no user `guest`"), "{refused}");
    // The primary group is one of the groups, also without users in the group file.
    assert_eq!(node.run(&["-u", "100:200"], &["id", "-G"]).ok(), "200");
    assert_eq!(node.ok(&["exec", "-u", "100:200", "who", "id", "-G"]), "200 95");
    node.assert_clean_end();
}

fn files_of_a_bundle_come_back(runtime: Runtime) {
    let node = Node::start(runtime);
    let id = node.create(&["--name", "c", "--add-host", "six:[fd00::6]"], &["cat", "/etc/hosts", "/etc/hostname"]);
    for name in ["hosts", "hostname", "resolv.conf"] {
        fs::remove_file(node.bundle(&id).join(name)).expect("a creation makes it");
    }
    let text = node.ok(&["start", "-a", "c"]);
    assert!(text.contains("fd00::6\tsix") && text.contains("localhost"), "{text}");
    node.assert_clean_end();
}

/// Nothing is run: a runtime that would have been run would have left its trace in the container's state.
fn refused_before_a_runtime_runs(runtime: Runtime) {
    let node = Node::start(runtime);
    let root = node.dir().join("root");
    integration::rootfs::make(&root);
    fs::remove_dir(root.join("sys")).expect("it is empty");
    symlink("run", root.join("sys")).expect("the node's directory is ours");
    let place = root.display().to_string();
    let refused =
        node.isula(&["run", "--runtime", runtime.name(), "--external-rootfs", &place, "none", "true"]).refused(125);
    assert!(refused.contains("`/sys` of the container's root is a link where a directory is needed"), "{refused}");
    fs::remove_file(root.join("sys")).expect("it is a link");
    // Links of images that have a reason are followed: this one is the most common of all.
    fs::create_dir_all(root.join("var")).expect("the node's directory is ours");
    symlink("../run", root.join("var/run")).expect("the node's directory is ours");
    symlink("../run/systemd/resolve/stub-resolv.conf", root.join("etc/resolv.conf"))
        .expect("the node's directory is ours");
    let data = node.dir().join("data");
    fs::create_dir(&data).expect("the node's directory is ours");
    fs::write(data.join("file"), "of the host").expect("the node's directory is ours");
    let volume = format!("{}:/var/run/app", data.display());
    let flags = ["run", "--runtime", runtime.name(), "--dns", "10.0.0.53", "-v", &volume, "-w", "/var/run/work"];
    let rest =
        ["--external-rootfs", &place, "none", "sh", "-c", "cat /run/app/file; echo; cat /etc/resolv.conf; pwd -P"];
    let text = node.ok(&[&flags[..], &rest].concat());
    assert_eq!(text, "of the host\nnameserver 10.0.0.53\n/run/work");
    node.assert_clean_end();
}
