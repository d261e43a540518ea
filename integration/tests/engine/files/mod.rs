//! Files of containers: copied in and out, exported, compared; running or not.

mod bad;
mod crash;
mod diff;
mod export;

pub(crate) use crash::points;

use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Stdio};

use integration::deadline::PATIENCE;
use integration::process::Signal;
use integration::{Node, Output, Runtime, command, deadline};

on_each_runtime!(
    copies_go_both_ways_running_and_stopped,
    mounts_and_volumes_are_copied_from_and_to,
    links_to_nothing_and_files_of_no_size
);

/// A directory of the test's own.
fn place(node: &Node, name: &str) -> PathBuf {
    let path = node.dir().join(name);
    fs::create_dir_all(&path).unwrap();
    path
}

fn text(path: &Path) -> &str {
    path.to_str().expect("the tests' paths are UTF-8")
}

fn cp(node: &Node, from: &str, to: &str) -> Output {
    node.isula(&["cp", from, to])
}

#[track_caller]
fn copied(node: &Node, from: &str, to: &str) {
    cp(node, from, to).ok();
}

/// The content of a file of a container, in any state.
#[track_caller]
fn content_of(node: &Node, at: &str) -> String {
    let to = place(node, "content").join("file");
    let _ = fs::remove_file(&to);
    copied(node, at, text(&to));
    fs::read_to_string(to).unwrap()
}

/// A tree on the host with all kinds of files.
fn tree(node: &Node) -> PathBuf {
    let tree = place(node, "tree");
    fs::create_dir_all(tree.join("deep/er")).unwrap();
    fs::write(tree.join("deep/er/file"), "deep").unwrap();
    fs::write(tree.join("program"), "#!").unwrap();
    fs::set_permissions(tree.join("program"), fs::Permissions::from_mode(0o751)).unwrap();
    fs::write(tree.join("a\nb"), "odd").unwrap();
    fs::hard_link(tree.join("program"), tree.join("again")).unwrap();
    symlink("deep/er", tree.join("link")).unwrap();
    std::os::unix::fs::chown(tree.join("program"), Some(1000), Some(1000)).unwrap();
    tree
}

fn copies_go_both_ways_running_and_stopped(runtime: Runtime) {
    let node = Node::start(runtime);
    node.sleeper("running");
    node.create(&["--name", "created"], &["true"]);
    node.run(&["--name", "ended"], &["true"]);
    node.sleeper("paused");
    node.ok(&["pause", "paused"]);
    let tree = tree(&node);
    let before = (node.mounts().len(), node.settled_descriptors());
    for name in ["running", "created", "ended", "paused"] {
        copied(&node, text(&tree), &format!("{name}:/root"));
        // By now there is such a directory, so another goes into it; with `/.` only the contents do.
        copied(&node, &format!("{}/.", text(&tree)), &format!("{name}:/root/tree/deep"));
        copied(&node, text(&tree), &format!("{name}:/root/new"));
        copied(&node, &format!("{}/program", text(&tree)), &format!("{name}:/etc/renamed"));
        let out = place(&node, &format!("out-{name}"));
        copied(&node, &format!("{name}:/root/tree"), text(&out));
        copied(&node, &format!("{name}:/root/new/."), text(&out));
        copied(&node, &format!("{name}:/etc/renamed"), &format!("{}/named", text(&out)));
        for file in ["tree/deep/er/file", "tree/deep/deep/er/file", "deep/er/file"] {
            assert_eq!(fs::read(out.join(file)).unwrap(), b"deep", "{name} {file}");
        }
        assert_eq!(fs::read(out.join("a\nb")).unwrap(), b"odd");
        assert_eq!(fs::read_link(out.join("link")).unwrap(), Path::new("deep/er"));
        let facts = |of: &str| fs::metadata(out.join(of)).unwrap();
        assert_eq!((facts("named").mode() & 0o7777, facts("named").uid()), (0o751, 0));
        assert_eq!(facts("program").ino(), facts("again").ino());
        assert_eq!(facts("program").mtime(), fs::metadata(tree.join("program")).unwrap().mtime());
        // With -a owners are kept, in both directions.
        node.ok(&["cp", "-a", &format!("{}/program", text(&tree)), &format!("{name}:/etc/owned")]);
        node.ok(&["cp", "-a", &format!("{name}:/etc/owned"), text(&out)]);
        assert_eq!(fs::metadata(out.join("owned")).unwrap().uid(), 1000);
        // With -L the link's target.
        node.ok(&["cp", "-L", &format!("{name}:/root/tree/link"), &format!("{}/followed", text(&out))]);
        assert!(out.join("followed/file").is_file());
        node.ok(&["cp", "-L", &format!("{}/link", text(&tree)), &format!("{name}:/root/followed")]);
        assert_eq!(content_of(&node, &format!("{name}:/root/followed/file")), "deep");
        // Through a link within the container, and over an existing file.
        copied(&node, &format!("{}/deep/er/file", text(&tree)), &format!("{name}:/root/tree/link/file"));
        copied(&node, &format!("{}/program", text(&tree)), &format!("{name}:/etc/renamed"));
    }
    assert_eq!(node.mounts().len(), before.0, "nothing stays mounted");
    // The last client's connection is closed a moment after it has left.
    deadline::until("nothing stays open", || node.daemon().descriptors() <= before.1);
    node.ok(&["unpause", "paused"]);
    for name in ["created", "ended"] {
        node.ok(&["start", name]);
    }
    node.assert_clean_end();
}

/// A stopped container's files are where the next start finds them, and its own writes are where they were.
fn mounts_and_volumes_are_copied_from_and_to(runtime: Runtime) {
    let node = Node::start(runtime);
    let (host, ro) = (place(&node, "host"), place(&node, "ro"));
    fs::write(ro.join("file"), "read-only").unwrap();
    symlink("/etc/passwd", host.join("out")).unwrap();
    let file = place(&node, "own").join("file");
    fs::write(&file, "own").unwrap();
    let binds = [format!("{}:/bind", text(&host)), format!("{}:/deep/er/ro:ro", text(&ro)), "vol:/volume".to_owned()];
    let flags = ["--name", "c", "-v", &binds[0], "-v", &binds[1], "-v", &binds[2], "--tmpfs", "/memory"];
    let script =
        "trap 'exit 0' TERM; echo written >> /volume/log; cat /bind/file /volume/file; echo; sleep 1000 & wait";
    node.create(&flags, &["sh", "-c", script]);
    for round in 0..2 {
        copied(&node, text(&file), "c:/bind/file");
        copied(&node, text(&file), "c:/volume/file");
        assert_eq!(fs::read(host.join("file")).unwrap(), b"own", "round {round}");
        assert_eq!(fs::read(node.graph().join("volumes/vol/_data/file")).unwrap(), b"own");
        assert_eq!(content_of(&node, "c:/deep/er/ro/file"), "read-only");
        assert!(!content_of(&node, "c:/bind/../etc/passwd").is_empty());
        // A link in a mount leads to somewhere in the container.
        assert!(node.ok(&["cp", "-L", "c:/bind/out", "-"]).contains("guest"));
        let refusal = cp(&node, text(&file), "c:/deep/er/ro/new").refused(1);
        assert!(refusal.contains("read-only"), "{refusal}");
        assert!(content_of(&node, "c:/etc/hosts").contains("localhost"));
        if round == 0 {
            let refusal = cp(&node, text(&file), "c:/memory/file").refused(1);
            assert!(refusal.contains("only while the container runs"), "{refusal}");
            node.ok(&["start", "c"]);
            integration::deadline::until("it has read its files", || node.ok(&["logs", "c"]) == "ownown");
        }
    }
    copied(&node, text(&file), "c:/memory/file");
    assert_eq!(content_of(&node, "c:/memory/file"), "own", "a tmpfs of a running container");
    assert!(content_of(&node, "c:/proc/1/cmdline").contains("trap"));
    // A file that is mounted is written to.
    copied(&node, text(&file), "c:/etc/hosts");
    assert_eq!(content_of(&node, "c:/etc/hosts"), "own");
    node.ok(&["stop", "c"]);
    assert_eq!(content_of(&node, "c:/volume/log"), "written\n");
    node.assert_clean_end();
}

#[test]
fn a_read_only_container_refuses_in_every_state() {
    let node = Node::start(Runtime::Runc);
    let file = place(&node, "own").join("file");
    fs::write(&file, "own").unwrap();
    let flags = ["--name", "c", "--read-only"];
    node.create(&flags, &["sh", "-c", "trap 'exit 0' TERM; sleep 1000 & wait"]);
    for _ in 0..2 {
        let refusal = cp(&node, text(&file), "c:/etc/file").refused(1);
        assert!(refusal.contains("read-only"), "{refusal}");
        assert!(!content_of(&node, "c:/etc/passwd").is_empty());
        node.ok(&["start", "c"]);
    }
    node.assert_clean_end();
}

#[test]
fn a_stream_is_a_tar() {
    let node = Node::start(Runtime::Runc);
    node.sleeper("c");
    let tree = tree(&node);
    let out = place(&node, "out");
    let pipe = |script: String| {
        let mut shell = std::process::Command::new("sh");
        let isula = integration::binaries::path("isula");
        shell.args(["-ec", &script]).env("isula", isula);
        shell.env("ISULAD_HOST", format!("unix://{}", node.socket().display()));
        command::run(&mut shell, PATIENCE).ok()
    };
    pipe(format!("tar -C {} -c . | $isula cp - c:/root", text(&tree)));
    pipe(format!("tar -C {} -cz deep | $isula cp - c:/tmp", text(&tree)));
    pipe(format!("$isula cp c:/root - | tar -C {} -x", text(&out)));
    pipe(format!("$isula cp c:/tmp/deep/er/file - | tar -C {} -x", text(&out)));
    assert_eq!(fs::read(out.join("root/deep/er/file")).unwrap(), b"deep");
    assert_eq!(fs::read(out.join("root/a\nb")).unwrap(), b"odd");
    assert_eq!(fs::read(out.join("file")).unwrap(), b"deep");
    node.assert_clean_end();
}

/// A hundred megabytes both ways are the same bytes, and the daemon does not hold them.
#[test]
fn large_files_are_not_held_in_memory() {
    let node = Node::start(Runtime::Runc);
    node.sleeper("c");
    let file = place(&node, "own").join("large");
    let mut out = fs::File::create(&file).unwrap();
    let mut block = vec![0_u8; 1 << 20];
    for number in 0..100_u32 {
        block.chunks_mut(4).enumerate().for_each(|(at, bytes)| {
            bytes.copy_from_slice(&(number.wrapping_mul(at as u32 | 1)).to_le_bytes());
        });
        out.write_all(&block).unwrap();
    }
    let before = node.daemon().status_kib("VmRSS").unwrap();
    copied(&node, text(&file), "c:/tmp/large");
    let back = file.with_extension("back");
    copied(&node, "c:/tmp/large", text(&back));
    let grown = node.daemon().status_kib("VmRSS").unwrap().saturating_sub(before);
    assert!(grown < 40 << 10, "the daemon has grown by {grown} KiB");
    command::tool(&["cmp", text(&file), text(&back)]);
    node.assert_clean_end();
}

/// A client that has sent the beginning of a file, and sends no more.
fn half_a_file(node: &Node, to: &str) -> (Child, ChildStdin) {
    let mut command = node.command(&["cp", "-", to]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let mut header = vec![0_u8; 512];
    header[..4].copy_from_slice(b"half");
    header[100..108].copy_from_slice(b"0000644\0");
    header[108..116].copy_from_slice(b"0000000\0");
    header[116..124].copy_from_slice(b"0000000\0");
    header[124..136].copy_from_slice(b"00077777777\0");
    header[136..148].copy_from_slice(b"00000000000\0");
    header[148..156].copy_from_slice(b"        ");
    header[156] = b'0';
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(&header).unwrap();
    stdin.write_all(&vec![b'x'; 1 << 20]).unwrap();
    stdin.flush().unwrap();
    (child, stdin)
}

/// A client that is killed half-way leaves neither a file nor anything open.
#[test]
fn a_client_that_goes_away_leaves_nothing() {
    let node = Node::start(Runtime::Runc);
    node.sleeper("c");
    node.create(&["--name", "created"], &["true"]);
    copied(&node, "/etc/hostname", "c:/tmp/first");
    copied(&node, "/etc/hostname", "created:/tmp/first");
    let before = node.settled_descriptors();
    for name in ["c", "created"] {
        let (mut child, _stdin) = half_a_file(&node, &format!("{name}:/tmp"));
        integration::deadline::until("the daemon is at it", || node.daemon().descriptors() > before);
        child.kill().unwrap();
        child.wait().unwrap();
        // And one that stops reading.
        let mut command = node.command(&["cp", &format!("{name}:/bin"), "-"]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut first = [0; 512];
        std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut first).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        integration::deadline::until("nothing is open any more", || node.daemon().descriptors() <= before);
        let left = node.ok(&["cp", &format!("{name}:/tmp"), "-"]);
        assert!(!left.contains("half") && !left.contains(".isula-cp"), "a part of a file is left");
    }
    node.assert_clean_end();
}

/// A start does not wait for a client that has stopped reading, and the copy reports the reason of its end.
#[test]
fn a_start_and_a_removal_end_copies() {
    let node = Node::start(Runtime::Runc);
    node.create(&["--name", "c"], &["sh", "-c", "trap 'exit 0' TERM; sleep 1000 & wait"]);
    node.create(&["--name", "gone"], &["true"]);
    let stuck = |name: &str| {
        let mut command = node.command(&["cp", &format!("{name}:/bin"), "-"]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut first = [0; 512];
        std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut first).unwrap();
        child
    };
    for (name, verb, why) in [("c", "start", "is being started"), ("gone", "rm", "is being removed")] {
        let copying = stuck(name);
        node.ok(&[verb, name]);
        let output = command::finish(copying, PATIENCE).unwrap();
        // The copy was read to its end before, or it has the reason.
        assert!(output.code() == 0 || output.stderr.contains(why), "{}", output.stderr);
    }
    assert_eq!(node.status_of("c"), "running");
    node.assert_clean_end();
}

/// The process has ended, and its shim is kept from reporting that.
#[test]
fn a_copy_waits_for_the_record_of_an_end() {
    let node = Node::start(Runtime::Runc);
    node.sleeper("x");
    node.ok(&["exec", "x", "sh", "-c", "echo content >/tmp/file"]);
    let (process, shim) = (node.process_of("x"), node.shim_of("x"));
    shim.signal(Signal::STOP);
    process.signal(Signal::KILL);
    deadline::until("it has ended", || !process.alive());
    let copying = node.spawn(&["cp", "x:/tmp/file", "-"]);
    let refusal = node.isula(&["exec", "x", "true"]).refused(125);
    assert!(refusal.ends_with("Container x is not running"), "{refusal}");
    shim.signal(Signal::CONT);
    let output = command::finish(copying, PATIENCE).unwrap();
    assert_eq!(output.code(), 0, "{}", output.stderr);
    assert!(output.text().contains("content"), "the file is in the archive");
    node.assert_clean_end();
}

/// A dangling link stays, and its target is made; files of the kernel are copied to their end.
fn links_to_nothing_and_files_of_no_size(runtime: Runtime) {
    let node = Node::start(runtime);
    let id = node.sleeper("x");
    let from = place(&node, "from");
    fs::write(from.join("file"), "new").unwrap();
    let file = from.join("file");
    let file = text(&file);
    let link = |target: &str, name: &str| node.ok(&["exec", "x", "ln", "-s", target, name]);
    node.ok(&["exec", "x", "mkdir", "/srv", "/srv/deep"]);
    link("/srv/deep/target", "/tmp/absolute");
    link("../srv/relative", "/tmp/chained");
    link("/tmp/chained", "/tmp/chain");
    link("../../../../../../srv/climbs", "/tmp/climbs");
    for running in [true, false] {
        for (name, made) in [("absolute", "deep/target"), ("chain", "relative"), ("climbs", "climbs")] {
            copied(&node, file, &format!("x:/tmp/{name}"));
            assert_eq!(content_of(&node, &format!("x:/srv/{made}")), "new", "{name}");
            let to = place(&node, "links").join(name);
            let _ = fs::remove_file(&to);
            copied(&node, &format!("x:/tmp/{name}"), text(&to));
            assert!(to.is_symlink(), "{name} is still a link");
        }
        if running {
            node.ok(&["exec", "x", "rm", "/srv/deep/target", "/srv/relative", "/srv/climbs"]);
            node.ok(&["stop", &id]);
        }
    }
    node.ok(&["start", "x"]);
    // On our side it is the same.
    let ours = place(&node, "ours");
    symlink("made", ours.join("link")).unwrap();
    copied(&node, "x:/srv/relative", text(&ours.join("link")));
    assert_eq!(fs::read_link(ours.join("link")).unwrap(), Path::new("made"));
    assert_eq!(fs::read_to_string(ours.join("made")).unwrap(), "new");
    for path in ["/sys/kernel/mm/transparent_hugepage/enabled", "/proc/1/status", "/proc/version"] {
        if Path::new(path).exists() {
            let content = content_of(&node, &format!("x:{path}"));
            assert!(!content.is_empty() && !content.contains('\0'), "{path}: {content:?}");
            copied(&node, path, "x:/srv/kernels");
            let back = content_of(&node, "x:/srv/kernels");
            assert!(!back.is_empty() && !back.contains('\0'), "{path}: {back:?}");
        }
    }
    for (from, to) in
        [("x:/etc/passwd", "/no/such/dir/"), ("x:/etc/passwd", "/no/such/dir/file"), ("/no/such", "x:/tmp")]
    {
        let refusal = cp(&node, from, to).refused(1);
        assert!(refusal.contains("/no/such") && !refusal.contains("entity"), "{refusal}");
    }
    let refusal = cp(&node, file, "x:/no/such/dir/").refused(1);
    assert!(refusal.contains("/no/such/dir/"), "{refusal}");
    node.assert_clean_end();
}
