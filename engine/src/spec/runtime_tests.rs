//! Specs under the real runtimes: the view and the rights of a container started from one. Needs root, runc, crun,
//! busybox.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use nix::mount::MsFlags;

use super::tests::{bind, definition, strings, tmpfs};
use super::*;
use crate::definition::*;
use crate::rootfs::{self, ContainerDirs};

/// crun 1.8 refuses machines with both cgroup versions, so it runs where the second is hidden. The other mounts stay
/// connected to the host's, because propagation is under test.
const RUNTIMES: [&str; 2] = ["runc", "crun"];
const WITHOUT_UNIFIED: &str = "mountpoint -q /sys/fs/cgroup/unified && mount --make-rprivate /sys/fs/cgroup && \
                               umount /sys/fs/cgroup/unified; exec \"$@\"";

struct Machine {
    dir: tempfile::TempDir,
    runtime: &'static str,
    id: String,
}

struct Ran {
    code: i32,
    out: String,
    err: String,
    warnings: Vec<String>,
}

impl Machine {
    fn new(runtime: &'static str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let id = format!("spec-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let dir = tempfile::tempdir().unwrap();
        make_root(&dir.path().join("rootfs"));
        Self { dir, runtime, id }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn rootfs(&self) -> Rootfs {
        Rootfs::External { dir: self.path("rootfs").to_str().unwrap().to_owned(), direct: false }
    }

    /// Runs `script` in a container, and cleans up.
    fn run(&self, script: &str, change: impl FnOnce(&mut Definition)) -> Ran {
        self.run_with(script, &Joined::default(), change)
    }

    /// The same in the network, ipc and uts namespaces of another process.
    fn run_joined(&self, script: &str, joined: &Joined) -> Ran {
        self.run_with(script, joined, |definition| {
            definition.namespaces.network = Network::Container("other".into());
            definition.namespaces.ipc = Sharing::Container("other".into());
            definition.namespaces.uts = Sharing::Container("other".into());
        })
    }

    fn run_with(&self, script: &str, joined: &Joined, change: impl FnOnce(&mut Definition)) -> Ran {
        let mut definition = definition();
        definition.id = self.id.clone();
        definition.process.command = strings(&["/bin/sh", "-c", script]);
        // One parent each: removing a shared one while another container is about to be made below it would stop that.
        definition.cgroup_parent = format!("/isulad-{}", self.id);
        definition.rootfs = self.rootfs();
        change(&mut definition);
        let host = Host::probe().unwrap();
        let graph = self.path("graph");
        let dirs = ContainerDirs { graph: &graph, runtime: self.runtime, id: &self.id };
        let root = rootfs::mount(&dirs, &definition.rootfs).unwrap();
        let shm = rootfs::mount_shm(&dirs, definition.shm_size).unwrap();
        files::write(
            &dirs.bundle(),
            &definition,
            &files::HostNames::read().unwrap(),
            &files::NetworkSettings::default(),
        )
        .unwrap();
        let log_path = dirs.bundle().join("console.log");
        let place = Place {
            bundle: &dirs.bundle(),
            rootfs: &root,
            shm: Some(&shm),
            joined,
            cgroup_parent: DEFAULT_CGROUP_PARENT,
            systemd_cgroup: false,
            log_path: &log_path,
            console_size: None,
            init: Path::new(""),
            recursive_read_only: true,
        };
        let built = build(&definition, &host, &place).unwrap();
        fs::write(dirs.bundle().join("config.json"), &built.json).unwrap();
        let output = self.runtime(&["run", "--bundle", dirs.bundle().to_str().unwrap(), &self.id]);
        self.runtime(&["delete", "--force", &self.id]);
        rootfs::unmount(&dirs).unwrap();
        rootfs::unmount_shm(&dirs).unwrap();
        assert!(!host.cgroups.exists(&built.group), "the runtime left {}", built.group);
        host.cgroups.remove(&GroupPath::unchecked(&format!("/isulad-{}", self.id))).unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).trim_end().to_owned();
        Ran {
            code: output.status.code().unwrap_or(-1),
            out: text(output.stdout),
            err: text(output.stderr),
            warnings: built.warnings,
        }
    }

    fn runtime(&self, args: &[&str]) -> Output {
        let root = self.path("state");
        let mut command = if self.runtime == "crun" {
            let mut command = Command::new("unshare");
            command.args(["-m", "--propagation", "unchanged", "sh", "-c", WITHOUT_UNIFIED, "sh", "crun"]);
            command
        } else {
            Command::new(self.runtime)
        };
        command.arg("--root").arg(root).args(args).stdin(Stdio::null()).output().unwrap()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // Runs after a failed assertion too.
        self.runtime(&["delete", "--force", &self.id]);
        for mount in rootfs::mounts_below(&[self.dir.path()]).unwrap_or_default().iter().rev() {
            let _ = rootfs::release(&mount.target);
        }
        if let Ok(cgroups) = cgroup::Cgroups::detect() {
            let _ = cgroups.remove(&GroupPath::unchecked(&format!("/isulad-{}", self.id)));
        }
    }
}

/// A root with only busybox, two users and two groups.
fn make_root(root: &Path) {
    for dir in ["bin", "etc", "proc", "sys", "dev", "tmp"] {
        fs::create_dir_all(root.join(dir)).unwrap();
    }
    fs::copy("/bin/busybox", root.join("bin/busybox")).unwrap();
    let applets = Command::new("/bin/busybox").arg("--list").output().unwrap().stdout;
    for applet in String::from_utf8(applets).unwrap().lines().filter(|applet| *applet != "busybox") {
        std::os::unix::fs::symlink("busybox", root.join("bin").join(applet)).unwrap();
    }
    fs::write(root.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\nnina:x:1007:1008::/home/nina:/bin/sh\n")
        .unwrap();
    fs::write(root.join("etc/group"), "root:x:0:\nnina:x:1008:\nfriends:x:1100:nina,otto\n").unwrap();
    fs::set_permissions(root, fs::Permissions::from_mode(0o755)).unwrap();
}

impl Ran {
    #[track_caller]
    fn expect(self, out: &str) -> Self {
        assert_eq!((self.code, self.out.as_str()), (0, out), "stderr: {}", self.err);
        self
    }
}

/// Runs the script under both runtimes.
#[track_caller]
fn expect(script: &str, change: impl Fn(&mut Definition), out: &str) {
    for runtime in RUNTIMES {
        let ran = Machine::new(runtime).run(script, &change);
        assert_eq!((ran.code, ran.out.as_str()), (0, out), "{runtime}: {}", ran.err);
    }
}

#[test]
fn a_plain_container_is_confined() {
    for runtime in RUNTIMES {
        let script = "hostname; echo $$; id -u; pwd; echo $PATH; echo $HOME; grep -E '^(Seccomp|CapEff|NoNewPrivs):' \
                      /proc/self/status | tr -d '\\t'; cat /etc/hostname; ls /sys/class/net";
        Machine::new(runtime).run(script, |_| {}).expect(
            "box\n1\n0\n/\n/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n/root\n\
             CapEff:00000000a80425fb\nNoNewPrivs:0\nSeccomp:2\nbox\nlo",
        );
    }
}

#[test]
fn the_profile_and_the_masks_deny_access() {
    let script = "unshare -U true 2>/dev/null || echo no user namespace; \
                  mount -t tmpfs none /tmp 2>/dev/null || echo no mount; \
                  echo 1 2>/dev/null >/proc/sys/kernel/panic || echo no sysctl; \
                  touch /sys/x 2>/dev/null || echo no sysfs; \
                  cd /sys/fs/cgroup; test -d pids && cd pids; mkdir x 2>/dev/null || echo no cgroup; \
                  head -c 1 /proc/kcore 2>/dev/null | wc -c; \
                  dmesg >/dev/null 2>&1 || echo no kernel log; \
                  mknod /tmp/vda b 254 0 && (head -c 1 /tmp/vda 2>/dev/null || echo no disk); \
                  head -c 4 /dev/zero | wc -c; touch /tmp/y && echo root is writable";
    expect(
        script,
        |_| {},
        "no user namespace\nno mount\nno sysctl\nno sysfs\nno cgroup\n0\nno kernel log\nno disk\n4\nroot is writable",
    );
}

#[test]
fn a_privileged_container_may() {
    for runtime in RUNTIMES {
        let script = "mount -t tmpfs none /tmp && echo mount; grep -E '^Seccomp:' /proc/self/status | tr -d '\\t'; \
                      test -w /proc/sys/kernel/panic && echo sysctl; test -c /dev/kmsg && echo devices; \
                      cd /sys/fs/cgroup; test -d pids && cd pids; mkdir x && rmdir x && echo cgroup; \
                      unshare -m true && echo namespace";
        let ran = Machine::new(runtime).run(script, |definition| definition.security.privileged = true);
        let ran = ran.expect("mount\nSeccomp:0\nsysctl\ndevices\ncgroup\nnamespace");
        let held = Host::probe().unwrap();
        let missing = !held.capabilities.contains(held.known_capabilities);
        assert_eq!(ran.warnings.len(), usize::from(missing), "{:?}", ran.warnings);
    }
}

#[test]
fn a_read_only_root() {
    let script = "touch /x 2>/dev/null || echo no; touch /etc/hosts 2>/dev/null || echo no; touch /t/x && echo yes";
    expect(
        script,
        |definition| {
            definition.read_only_rootfs = true;
            definition.mounts = vec![tmpfs("/t", &[])];
        },
        "no\nno\nyes",
    );
}

#[test]
fn limits_arrive_in_the_cgroup() {
    let (script, expected) = match Host::probe().unwrap().cgroups.version() {
        cgroup::Version::V1 | cgroup::Version::Hybrid => (
            "cd /sys/fs/cgroup; cat memory/memory.limit_in_bytes memory/memory.soft_limit_in_bytes \
             memory/memory.memsw.limit_in_bytes memory/memory.swappiness pids/pids.max cpu/cpu.shares \
             cpu/cpu.cfs_period_us cpu/cpu.cfs_quota_us cpuset/cpuset.cpus cpuset/cpuset.mems",
            "67108864\n33554432\n100663296\n7\n33\n512\n100000\n50000\n0\n0",
        ),
        // The runtimes convert; how shares become a weight differs between their versions.
        cgroup::Version::V2 => (
            "cd /sys/fs/cgroup; cat memory.max memory.low memory.swap.max pids.max cpu.max cpuset.cpus cpuset.mems",
            "67108864\n33554432\n33554432\n33\n50000 100000\n0\n0",
        ),
    };
    let change = |definition: &mut Definition| {
        definition.resources = Resources {
            memory: Some(64 << 20),
            memory_swap: Some(96 << 20),
            memory_reservation: Some(32 << 20),
            memory_swappiness: Some(7),
            nano_cpus: Some(500_000_000),
            cpu_shares: Some(512),
            cpuset_cpus: "0".into(),
            cpuset_mems: "0".into(),
            pids_limit: Some(33),
            ..Resources::default()
        };
    };
    expect(script, change, expected);
}

#[test]
fn the_memory_limit_kills_and_is_counted() {
    let file = match Host::probe().unwrap().cgroups.version() {
        cgroup::Version::V1 | cgroup::Version::Hybrid => "memory/memory.oom_control",
        cgroup::Version::V2 => "memory.events",
    };
    // The count is read inside: the cgroup goes with the container.
    let script = format!("(tail -c 64m /dev/zero >/dev/null); grep '^oom_kill ' /sys/fs/cgroup/{file}");
    let limits = Resources { memory: Some(16 << 20), memory_swap: Some(16 << 20), ..Resources::default() };
    expect(&script, |definition| definition.resources = limits.clone(), "oom_kill 1");
}

#[test]
fn users_and_groups_by_name() {
    let script = "id -u; id -g; grep ^Groups: /proc/self/status | tr -d '\\t'; echo $HOME; \
                  grep ^CapEff: /proc/self/status | tr -d '\\t'; touch /root-only 2>/dev/null || echo denied";
    expect(
        script,
        |definition| {
            definition.process.user = "nina".into();
            definition.process.group_add = strings(&["1200", "root"]);
        },
        "1007\n1008\nGroups:0 1008 1100 1200 \n/home/nina\nCapEff:0000000000000000\ndenied",
    );
    expect("id -u; id -g; id -G", |definition| definition.process.user = "42:friends".into(), "42\n1100\n1100");
}

/// With `no_new_privs` too, where the kernel gives no more than was permitted before; an unbound capability is never
/// given.
#[test]
fn a_programs_own_capabilities_hold_for_any_user() {
    let script = "grep -E '^(CapEff|CapPrm):' /proc/$$/status | tr -d '\\t'";
    for runtime in RUNTIMES {
        for (no_new_privileges, add, expected) in [
            (false, &["sys_admin"][..], "0000000000200000"),
            (true, &["sys_admin"], "0000000000200000"),
            (false, &[], "exec"),
            (true, &[], "exec"),
        ] {
            let machine = Machine::new(runtime);
            fs::create_dir(machine.path("rootfs/claiming")).unwrap();
            let claiming = machine.path("rootfs/claiming/busybox");
            fs::copy("/bin/busybox", &claiming).unwrap();
            // cap_sys_admin=ep, as setcap writes it: revision 2, effective, number 21.
            let claim = [0x0200_0001_u32, 1 << 21, 0, 0, 0].map(u32::to_le_bytes).concat();
            rustix::fs::setxattr(&claiming, "security.capability", &claim, rustix::fs::XattrFlags::empty()).unwrap();
            let ran = machine.run("", |definition| {
                definition.process.user = "100:200".into();
                definition.process.command = strings(&["/claiming/busybox", "sh", "-c", script]);
                definition.security.cap_add = strings(add);
                definition.security.no_new_privileges = no_new_privileges;
            });
            let case = format!("{runtime}, no_new_privs {no_new_privileges}, {add:?}: {}", ran.err);
            match expected {
                // A program that needs a capability outside the bound is not run.
                "exec" => assert!(ran.code != 0 && ran.err.to_lowercase().contains("not permitted"), "{case}"),
                _ => assert_eq!((ran.code, ran.out), (0, format!("CapPrm:{expected}\nCapEff:{expected}")), "{case}"),
            }
        }
    }
}

#[test]
fn binds_tmpfs_and_shared_memory() {
    for runtime in RUNTIMES {
        let machine = Machine::new(runtime);
        let data = machine.path("data");
        fs::create_dir(&data).unwrap();
        fs::write(data.join("in"), "from the host\n").unwrap();
        let script = "cat /data/in; echo back >/data/out; touch /frozen/x 2>/dev/null || echo frozen; \
                      df -k /t | tail -1 | awk '{print $2}'; df -k /dev/shm | tail -1 | awk '{print $2}'; \
                      stat -c %a /dev/shm; echo x >/dev/shm/x && cat /dev/shm/x";
        let source = data.to_str().unwrap();
        let ran = machine.run(script, |definition| {
            definition.shm_size = 3 << 20;
            definition.mounts = vec![
                bind(source, "/data"),
                Mount { read_only: true, ..bind(source, "/frozen") },
                tmpfs("/t", &["size=2m"]),
            ];
        });
        ran.expect("from the host\nfrozen\n2048\n3072\n1777\nx");
        assert_eq!(fs::read_to_string(data.join("out")).unwrap(), "back\n");
    }
}

#[test]
fn binds_keep_the_flags_of_their_source() {
    for runtime in RUNTIMES {
        let machine = Machine::new(runtime);
        let (strict, plain) = (machine.path("strict"), machine.path("plain"));
        for (dir, flags) in
            [(&strict, MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC), (&plain, MsFlags::empty())]
        {
            fs::create_dir(dir).unwrap();
            mount(dir, "tmpfs", flags);
            mount(dir, "", MsFlags::MS_PRIVATE);
            fs::create_dir(dir.join("below")).unwrap();
        }
        mount(&plain.join("below"), "tmpfs", MsFlags::empty());
        let script = "for at in /rw /ro /asked /plain /volume /dev/shm; do \
                          set -- $(grep \" $at \" /proc/mounts | tail -1); echo $at $4 | sed 's/,\\(relatime\\|size\\|inode\\).*//'; \
                      done; touch /plain/below/x 2>/dev/null || echo read-only below";
        let ran = machine.run(script, |definition| {
            let (strict, plain) = (strict.to_str().unwrap(), plain.to_str().unwrap());
            definition.mounts = vec![
                bind(strict, "/rw"),
                Mount { read_only: true, ..bind(strict, "/ro") },
                Mount { options: strings(&["exec"]), ..bind(strict, "/asked") },
                Mount { read_only: true, ..bind(plain, "/plain") },
                Mount { kind: MountKind::Volume, non_recursive: true, ..bind(strict, "/volume") },
            ];
        });
        let expected = "/rw rw,nosuid,nodev,noexec\n/ro ro,nosuid,nodev,noexec\n/asked rw,nosuid,nodev\n/plain ro\n\
                        /volume rw,nosuid,nodev,noexec\n/dev/shm rw,nosuid,nodev,noexec\nread-only below";
        assert_eq!((ran.code, ran.out.as_str()), (0, expected), "{runtime}: {}", ran.err);
    }
}

/// The engine makes the directory before a start, and leaves it to the runtime within a mount.
#[test]
fn a_missing_working_directory_is_made_by_the_runtime_too() {
    let script = "pwd; stat -c '%u %g %a' .";
    for (workdir, mounts) in [("/made/here", vec![]), ("/data/app", vec![tmpfs("/data", &["mode=755"])])] {
        let change = |definition: &mut Definition| {
            definition.process.user = "1:1".to_owned();
            definition.process.workdir = workdir.to_owned();
            definition.mounts = mounts.clone();
        };
        expect(script, change, &format!("{workdir}\n0 0 755"));
    }
}

#[test]
fn sysctls_ulimits_devices_and_the_oom_score() {
    let script = "cat /proc/sys/kernel/shmmni /proc/sys/net/ipv4/ip_forward; ulimit -Sn; ulimit -Hn; \
                  head -c 1 /dev/nothing | wc -c; test -w /dev/nothing && (echo x >/dev/nothing) 2>/dev/null || echo r; \
                  cat /proc/self/oom_score_adj; grep ^NoNewPrivs: /proc/self/status | tr -d '\\t'";
    expect(
        script,
        |definition| {
            let sysctls = [("kernel.shmmni", "1234"), ("net.ipv4.ip_forward", "1")];
            definition.security.sysctls =
                sysctls.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
            definition.security.no_new_privileges = true;
            definition.ulimits = vec![Ulimit { name: "nofile".into(), soft: 111, hard: 222 }];
            definition.devices =
                vec![Device { host: "/dev/vcs1".into(), container: "/dev/nothing".into(), permissions: "r".into() }];
            definition.oom_score_adj = Some(321);
        },
        "1234\n1\n111\n222\n1\nr\n321\nNoNewPrivs:1",
    );
}

#[test]
fn a_limit_beyond_the_daemons_own_does_not_stop_a_start() {
    for runtime in RUNTIMES {
        let machine = Machine::new(runtime);
        let ran = machine.run("ulimit -Hn; cat /proc/self/oom_score_adj", |definition| {
            definition.ulimits = vec![Ulimit { name: "nofile".into(), soft: 64, hard: -1 }];
            definition.oom_score_adj = Some(-900);
        });
        assert_eq!(ran.code, 0, "{runtime}: {}", ran.err);
        assert!(ran.warnings.iter().any(|warning| warning.contains("nofile")), "{:?}", ran.warnings);
    }
}

#[test]
fn a_profile_of_the_users_is_the_one_in_force() {
    let profile = r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
        {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28}]}"#;
    expect(
        "mkdir /x 2>&1; touch /y && echo fine",
        |definition| definition.security.seccomp = Seccomp::Profile(profile.to_owned()),
        "mkdir: can't create directory '/x': No space left on device\nfine",
    );
    let unconfined = |definition: &mut Definition| definition.security.seccomp = Seccomp::Unconfined;
    expect("grep ^Seccomp: /proc/self/status | tr -d '\\t'", unconfined, "Seccomp:0");
}

#[test]
fn the_hosts_namespaces() {
    let script = "for kind in net ipc uts pid; do readlink /proc/self/ns/$kind; done";
    let own = |kind: &str| fs::read_link(format!("/proc/self/ns/{kind}")).unwrap().to_str().unwrap().to_owned();
    let expected = ["net", "ipc", "uts", "pid"].map(own).join("\n");
    let change = |definition: &mut Definition| {
        definition.namespaces.network = Network::Host;
        definition.namespaces.ipc = Sharing::Host;
        definition.namespaces.uts = Sharing::Host;
        definition.namespaces.pid = Sharing::Host;
        definition.namespaces.cgroup = Sharing::Host;
    };
    expect(script, change, &expected);
}

#[test]
fn namespaces_of_another_process() {
    for runtime in RUNTIMES {
        let machine = Machine::new(runtime);
        // Any process in namespaces of its own will do: it reports its readiness, and stays until its input ends.
        let mut other = Command::new("unshare")
            .args(["-n", "-i", "-u", "sh", "-c", "hostname other; echo there; cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(other.stdout.as_mut().unwrap()), &mut line).unwrap();
        let path = |kind: &str| PathBuf::from(format!("/proc/{}/ns/{kind}", other.id()));
        let joined = Joined {
            network: Some(path("net")),
            ipc: Some(path("ipc")),
            uts: Some(path("uts")),
            network_bundle: None,
            ..Joined::default()
        };
        let expected =
            ["net", "ipc", "uts"].map(|kind| fs::read_link(path(kind)).unwrap().display().to_string()).join("\n");
        let ran =
            machine.run_joined("for kind in net ipc uts; do readlink /proc/self/ns/$kind; done; hostname", &joined);
        drop(other.stdin.take());
        other.wait().unwrap();
        assert_eq!((ran.code, ran.out), (0, format!("{expected}\nother")), "{runtime}: {}", ran.err);
    }
}

/// A shared mount of the test's own, so that the machine's stay as they are.
#[test]
fn a_mount_below_a_shared_bind_shows_on_the_host() {
    for runtime in RUNTIMES {
        let machine = Machine::new(runtime);
        let source = machine.path("shared");
        fs::create_dir(&source).unwrap();
        let with = |propagation: &str| Mount {
            propagation: propagation.to_owned(),
            ..bind(source.to_str().unwrap(), "/data")
        };
        let asked = |propagation: &str| Definition { mounts: vec![with(propagation)], ..definition() };
        mount(&source, "tmpfs", MsFlags::empty());
        mount(&source, "", MsFlags::MS_PRIVATE);
        for propagation in ["rshared", "slave"] {
            let error = mounts::plan(&asked(propagation), &place(), &mut Vec::new()).err().unwrap().to_string();
            assert!(error.contains("shared") && error.contains("is not a shared"), "{error}");
        }
        mount(&source, "", MsFlags::MS_SHARED);
        fs::create_dir(source.join("below")).unwrap();
        assert_eq!(
            mounts::plan(&asked("rslave"), &place(), &mut Vec::new()).unwrap().rootfs_propagation,
            Some("rslave")
        );
        let script = "mount -t tmpfs none /data/below && touch /data/below/made-inside && echo mounted";
        let ran = machine.run(script, |definition| {
            definition.security.privileged = true;
            definition.mounts = vec![with("rshared")];
        });
        ran.expect("mounted");
        assert!(source.join("below/made-inside").exists(), "{runtime}");
    }
}

fn mount(target: &Path, fs_type: &str, flags: MsFlags) {
    let fs_type = Some(fs_type).filter(|fs_type| !fs_type.is_empty());
    nix::mount::mount(fs_type, target, fs_type, flags, None::<&str>).unwrap();
}

fn place() -> Place<'static> {
    static NOBODY: Joined =
        Joined { network: None, pid: None, ipc: None, uts: None, cgroup: None, network_bundle: None };
    let bundle = Path::new("/b");
    Place {
        bundle,
        // Never written to.
        rootfs: Path::new("/"),
        shm: None,
        joined: &NOBODY,
        cgroup_parent: "",
        systemd_cgroup: false,
        log_path: bundle,
        console_size: None,
        init: bundle,
        recursive_read_only: false,
    }
}
