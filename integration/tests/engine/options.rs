//! Options of `run`, seen from inside a container.

use std::fs;

use integration::{Node, Runtime, cgroup, command, deadline};

on_each_runtime!(process_and_filesystem, limits_and_rights, namespaces, mounts);

fn process_and_filesystem(runtime: Runtime) {
    let node = Node::start(runtime);
    let file = node.dir().join("env");
    fs::write(&file, "# comment\nFROM_FILE=yes\n").expect("the node's directory is ours");
    let env_file = file.display().to_string();
    let flags = [
        "-e",
        "A=1",
        "--env-file",
        &env_file,
        "-u",
        "guest:extra",
        "--group-add",
        "2001",
        "--workdir",
        "/home/guest",
        "-h",
        "box",
        "--read-only",
        "--tmpfs",
        "/scratch:size=1m,mode=1777",
        "--add-host",
        "db:10.0.0.9",
        "--dns",
        "10.0.0.53",
        "--shm-size",
        "8m",
        "--annotation",
        "a=b",
    ];
    let script = "echo $A $FROM_FILE; id -u; id -g; id -G; pwd; hostname; touch /no 2>&1; touch /scratch/yes && echo wrote; \
                  grep db /etc/hosts; cat /etc/resolv.conf; df -k /dev/shm | tail -1 | awk '{print $2}'; df -k /scratch | tail -1 \
                  | awk '{print $2}'; cat /etc/hostname";
    let output = node.run(&flags, &["sh", "-c", script]);
    let text = output.clone().ok();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], "1 yes", "{text}");
    assert_eq!((lines[1], lines[2]), ("1000", "2000"));
    assert!(lines[3].contains("2001"), "{text}");
    assert_eq!((lines[4], lines[5]), ("/home/guest", "box"));
    assert!(lines[6].contains("Read-only file system"), "{text}");
    assert_eq!(lines[7], "wrote", "{text}");
    assert!(lines[8].starts_with("10.0.0.9") && text.contains("nameserver 10.0.0.53"), "{text}");
    assert_eq!(&lines[lines.len() - 3..], ["8192", "1024", "box"], "{text}");
    // The directory that serves as root filesystem is not changed.
    assert!(!integration::rootfs::BUSYBOX.join("scratch").exists());
    node.assert_clean_end();
}

fn limits_and_rights(runtime: Runtime) {
    let node = Node::start(runtime);
    let flags = [
        "--name",
        "limits",
        "-m",
        "32m",
        "--memory-swap",
        "32m",
        "--pids-limit",
        "50",
        "--cpu-shares",
        "512",
        "--cpus",
        "0.5",
        "--ulimit",
        "nofile=111:222",
        "--cap-drop",
        "ALL",
        "--cap-add",
        "NET_BIND_SERVICE",
        "--security-opt",
        "no-new-privileges",
        "--sysctl",
        "net.ipv4.ip_forward=1",
    ];
    let script = "ulimit -Sn; ulimit -Hn; grep -E 'CapEff|NoNewPrivs|Seccomp:' /proc/self/status; \
                  cat /proc/sys/net/ipv4/ip_forward; echo ready; sleep 100000";
    let id = node.run_detached(&flags, &["sh", "-c", script]);
    node.written("limits", "ready");
    let text = node.ok(&["logs", "limits"]);
    let words: Vec<&str> = text.split_whitespace().collect();
    let wanted = ["111", "222", "CapEff:", "0000000000000400", "NoNewPrivs:", "1", "Seccomp:", "2", "1", "ready"];
    assert_eq!(words, wanted);
    let group = format!("{}/{id}", node.cgroup_parent());
    let read = |controller, v1, v2| {
        let path = cgroup::file(controller, &group, v1, v2);
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())).trim().to_owned()
    };
    assert_eq!(read("memory", "memory.limit_in_bytes", "memory.max"), (32 << 20).to_string());
    assert_eq!(read("pids", "pids.max", "pids.max"), "50");
    assert!(["50000", "50000 100000"].contains(&read("cpu", "cpu.cfs_quota_us", "cpu.max").as_str()));
    let open = node.run(&["--security-opt", "seccomp=unconfined"], &["grep", "Seccomp:", "/proc/self/status"]).ok();
    assert!(open.ends_with('0'), "{open}");
    let all = node.run(&["--privileged"], &["sh", "-c", "grep -E 'Seccomp:' /proc/self/status; ls /dev/null"]).ok();
    assert!(all.starts_with("Seccomp:\t0"), "{all}");
    let masked = node.run(&[], &["sh", "-c", "cat /proc/keys | wc -c; echo 60 > /proc/sys/vm/swappiness"]);
    assert!(masked.text().starts_with('0') && masked.stderr.contains("Read-only file system"), "{masked:?}");
    let device = node.run(&["--device", "/dev/null:/dev/mine:r"], &["sh", "-c", "cat /dev/mine; echo $?"]).ok();
    assert_eq!(device, "0");
    node.assert_clean_end();
}

fn namespaces(runtime: Runtime) {
    let node = Node::start(runtime);
    let own = |kind: &str| {
        fs::read_link(format!("/proc/self/ns/{kind}")).expect("we are in namespaces").display().to_string()
    };
    let seen = |flags: &[&str], kind: &str| node.run(flags, &["readlink", &format!("/proc/self/ns/{kind}")]).ok();
    node.run_detached(&["--name", "base"], &["sleep", "100000"]);
    let base = node.process_of("base").pid;
    let of_base =
        |kind: &str| fs::read_link(format!("/proc/{base}/ns/{kind}")).expect("it lives").display().to_string();
    for (flag, kind) in [("--net", "net"), ("--pid", "pid"), ("--ipc", "ipc")] {
        assert_eq!(seen(&[flag, "host"], kind), own(kind), "{flag} host");
        assert_eq!(seen(&[flag, "container:base"], kind), of_base(kind), "{flag} container:");
        let private = seen(&[], kind);
        assert!(private != own(kind) && private != of_base(kind), "{kind} is its own by default");
    }
    assert_eq!(seen(&["--uts", "host"], "uts"), own("uts"));
    let links = node.run(&["--net", "none"], &["ls", "/sys/class/net"]).ok();
    assert_eq!(links, "lo");
    assert!(node.run(&["--pid", "container:base"], &["ps"]).ok().contains("sleep 100000"));
    // One shared memory, not only one namespace.
    node.ok(&node.words("run", &["--ipc", "container:base"], &["sh", "-c", "echo shared > /dev/shm/x"]));
    assert_eq!(node.run(&["--ipc", "container:base"], &["cat", "/dev/shm/x"]).ok(), "shared");
    node.ok(&["stop", "-t", "0", "base"]);
    let refusal = node.run(&["--net", "container:base"], &["true"]).refused(125);
    assert!(refusal.contains("not running"), "{refusal}");
    assert!(node.run(&["--net", "container:nobody"], &["true"]).refused(125).contains("No such container:nobody"));
    node.assert_clean_end();
}

fn mounts(runtime: Runtime) {
    let node = Node::start(runtime);
    let host = node.dir().join("data");
    fs::create_dir(&host).expect("the node's directory is ours");
    fs::write(host.join("file"), "of the host\n").expect("the node's directory is ours");
    let place = host.display().to_string();
    let script = "cat /d/file; echo inside > /d/written; touch /ro/x; echo $?; cat /m/file";
    let flags = [
        "-v",
        &format!("{place}:/d"),
        "-v",
        &format!("{place}:/ro:ro"),
        "--mount",
        &format!("type=bind,src={place},dst=/m,readonly"),
    ];
    let output = node.run(flags.as_ref(), &["sh", "-c", script]);
    assert_eq!(output.text(), "of the host\n1\nof the host", "{}", output.stderr);
    assert_eq!(fs::read_to_string(host.join("written")).expect("it was written"), "inside\n");
    let made = host.join("made/by/v");
    node.ok(&node.words("run", &["-v", &format!("{}:/x", made.display())], &["true"]));
    assert!(made.is_dir(), "`-v` makes its source");
    let absent = host.join("absent");
    let mount = format!("type=bind,src={},dst=/x", absent.display());
    let refusal = node.run(&["--mount", &mount], &["true"]);
    assert_eq!(refusal.code(), 125);
    assert!(refusal.stderr.contains("absent") && !absent.exists(), "{}", refusal.stderr);
    // A writable layer of its own, which ends with the container.
    node.ok(&node.words("run", &["--name", "w"], &["sh", "-c", "echo kept > /kept"]));
    assert!(!integration::rootfs::BUSYBOX.join("kept").exists());
    node.create(&["--name", "r"], &["cat", "/kept"]);
    assert_eq!(node.isula(&["start", "-a", "r"]).code(), 1, "another container does not see it");
    node.assert_clean_end();
}

/// The client of a start gets the differences between its request and the started container.
#[test]
fn warnings_of_a_start_reach_its_caller() {
    let node = Node::start(Runtime::Runc);
    let flags = ["--oom-kill-disable"];
    let warned =
        |output: &integration::Output| output.stderr.lines().filter(|line| line.starts_with("WARNING: ")).count();
    let run = node.run(&flags, &["true"]);
    assert_eq!((run.code(), warned(&run)), (0, 1), "{}", run.stderr);
    let detached = node.isula(&node.words("run", &["-d", flags[0]], &["sleep", "1000"]));
    assert_eq!((detached.code(), warned(&detached)), (0, 1), "{}", detached.stderr);
    let id = node.create(&flags, &["sleep", "1000"]);
    let started = node.isula(&["start", &id]);
    assert_eq!((started.code(), warned(&started)), (0, 1), "{}", started.stderr);
    let again = node.isula(&["start", &id]);
    assert_eq!(warned(&again), 0, "nothing was started: {}", again.stderr);
    node.ok(&["stop", "-t", "0", &id]);
    let attached = node.spawn(&["start", "-a", &id]);
    deadline::until("it runs", || node.status_of(&id) == "running");
    node.ok(&["stop", "-t", "0", &id]);
    let attached = command::finish(attached, deadline::PATIENCE).expect("it ends");
    assert_eq!(warned(&attached), 1, "{}", attached.stderr);
    node.assert_clean_end();
}
