//! The spec's contents, for definitions and hosts of all kinds; read back with another project's library.

use std::collections::BTreeMap;
use std::fs;

use serde_json::{Value, json};

use super::capabilities::CapabilitySet;
use super::*;
use crate::definition::*;

/// A container that asks for nothing special.
pub(crate) fn definition() -> Definition {
    Definition {
        version: 1,
        name: "c".to_owned(),
        id: "c0ffee".to_owned(),
        image: "none".to_owned(),
        rootfs: Rootfs::External { dir: "/".to_owned(), direct: false },
        runtime: "runc".to_owned(),
        hostname: "box".to_owned(),
        process: Process {
            entrypoint: Vec::new(),
            command: vec!["/bin/sh".to_owned()],
            env: Vec::new(),
            user: String::new(),
            group_add: Vec::new(),
            workdir: String::new(),
            tty: false,
            open_stdin: false,
            stdin_once: false,
        },
        stop_signal: 15,
        stop_timeout: 10,
        auto_remove: false,
        labels: BTreeMap::new(),
        annotations: BTreeMap::new(),
        mounts: Vec::new(),
        shm_size: 64 << 20,
        devices: Vec::new(),
        read_only_rootfs: false,
        resources: Resources::default(),
        oom_score_adj: None,
        ulimits: Vec::new(),
        cgroup_parent: String::new(),
        security: Security {
            privileged: false,
            cap_add: Vec::new(),
            cap_drop: Vec::new(),
            no_new_privileges: false,
            seccomp: Seccomp::Default,
            sysctls: BTreeMap::new(),
        },
        namespaces: Namespaces {
            network: Network::None,
            pid: Sharing::Own,
            ipc: Sharing::Own,
            uts: Sharing::Own,
            cgroup: Sharing::Own,
        },
        dns: Dns::default(),
        extra_hosts: Vec::new(),
        log: Log::JsonFile { max_size: 0, max_files: 1 },
        exposed: Vec::new(),
        healthcheck: None,
        health_exit_on_unhealthy: false,
        restart: crate::definition::Restart::No,
        init: false,
    }
}

pub(crate) fn bind(source: &str, target: &str) -> Mount {
    Mount {
        kind: MountKind::Bind,
        source: source.to_owned(),
        target: target.to_owned(),
        read_only: false,
        propagation: String::new(),
        options: Vec::new(),
        create_source: false,
        non_recursive: false,
        name: String::new(),
        anonymous: false,
        copy: false,
    }
}

pub(crate) fn tmpfs(target: &str, options: &[&str]) -> Mount {
    let options = options.iter().map(|option| (*option).to_owned()).collect();
    Mount { kind: MountKind::Tmpfs, source: String::new(), options, ..bind("", target) }
}

pub(super) fn strings(list: &[&str]) -> Vec<String> {
    list.iter().map(|text| (*text).to_owned()).collect()
}

/// A machine with every feature, independent of the real one.
fn able_host() -> Host {
    let mut host = Host::probe().unwrap();
    host.features = host::Features {
        memory: true,
        memory_reservation: true,
        swap: true,
        swappiness: true,
        oom_kill_disable: true,
        cpu_shares: true,
        cpu_quota: true,
        cpu_realtime: true,
        cpuset: true,
        pids: true,
        blkio_weight: true,
        seccomp: true,
        cgroup_namespace: true,
    };
    host.known_capabilities = CapabilitySet::up_to(40);
    host.capabilities = host.known_capabilities;
    host.may_raise_limits = true;
    host.max_open_files = 1 << 20;
    host.oom_score_adj = 0;
    host.architecture = host::Architecture::X86_64;
    host
}

struct Case {
    definition: Definition,
    host: Host,
    joined: Joined,
    shm: Option<&'static str>,
    systemd: bool,
    recursive: bool,
    size: Option<Size>,
    rootfs: tempfile::TempDir,
}

impl Case {
    fn new(change: impl FnOnce(&mut Definition)) -> Self {
        let mut definition = definition();
        change(&mut definition);
        let rootfs = tempfile::tempdir().unwrap();
        fs::create_dir(rootfs.path().join("etc")).unwrap();
        fs::write(rootfs.path().join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\nnina:x:7:8::/home/nina:\n")
            .unwrap();
        Self {
            definition,
            host: able_host(),
            joined: Joined::default(),
            shm: Some("/b/mounts/shm"),
            systemd: false,
            recursive: true,
            size: None,
            rootfs,
        }
    }

    fn build(&self) -> Result<Built, SpecError> {
        let place = Place {
            bundle: Path::new("/b"),
            rootfs: self.rootfs.path(),
            shm: self.shm.map(Path::new),
            joined: &self.joined,
            cgroup_parent: "",
            systemd_cgroup: self.systemd,
            log_path: Path::new("/b/console.log"),
            console_size: self.size,
            init: Path::new("/g/isulad-init"),
            recursive_read_only: self.recursive,
        };
        build(&self.definition, &self.host, &place)
    }

    /// The spec, which the other library must accept too, and the warnings.
    fn spec(&self) -> (Value, Vec<String>) {
        let built = self.build().unwrap();
        serde_json::from_slice::<oci_spec::runtime::Spec>(&built.json).unwrap();
        (serde_json::from_slice(&built.json).unwrap(), built.warnings)
    }

    fn error(&self) -> String {
        let error = self.build().unwrap_err();
        let mut text = error.to_string();
        let mut source = std::error::Error::source(&error);
        while let Some(cause) = source {
            text.push_str(&format!(": {cause}"));
            source = cause.source();
        }
        text
    }
}

fn spec(change: impl FnOnce(&mut Definition)) -> Value {
    let (spec, warnings) = Case::new(change).spec();
    assert_eq!(warnings, Vec::<String>::new());
    spec
}

fn error(change: impl FnOnce(&mut Definition)) -> String {
    Case::new(change).error()
}

fn targets(spec: &Value) -> Vec<&str> {
    spec["mounts"].as_array().unwrap().iter().map(|mount| mount["destination"].as_str().unwrap()).collect()
}

fn mount_at<'a>(spec: &'a Value, target: &str) -> &'a Value {
    let mut found = spec["mounts"].as_array().unwrap().iter().filter(|mount| mount["destination"] == target);
    let mount = found.next().unwrap_or_else(|| panic!("nothing mounted at {target}"));
    assert!(found.next().is_none(), "two mounts at {target}");
    mount
}

fn namespaces(spec: &Value) -> BTreeMap<&str, Option<&str>> {
    let list = spec["linux"]["namespaces"].as_array().unwrap();
    list.iter().map(|entry| (entry["type"].as_str().unwrap(), entry["path"].as_str())).collect()
}

#[test]
fn a_terminal_has_its_size_from_the_beginning() {
    let mut case = Case::new(|_| {});
    case.size = Size::new(100, 40);
    assert_eq!(case.spec().0["process"].get("consoleSize"), None, "there is no terminal");
    case.definition.process.tty = true;
    assert_eq!(case.spec().0["process"]["consoleSize"], json!({"height": 40, "width": 100}));
}

#[test]
fn a_plain_container() {
    let spec = spec(|_| {});
    assert_eq!(spec["ociVersion"], "1.0.2");
    assert_eq!(spec["root"]["readonly"], false);
    assert_eq!(spec["hostname"], "box");
    assert_eq!(spec["process"]["args"], json!(["/bin/sh"]));
    assert_eq!(spec["process"]["cwd"], "/");
    assert_eq!(spec["process"]["terminal"], false);
    assert_eq!(spec["process"]["user"], json!({"uid": 0, "gid": 0, "additionalGids": [0]}));
    assert_eq!(spec["process"]["noNewPrivileges"], false);
    assert_eq!(spec["process"]["oomScoreAdj"], 0);
    assert_eq!(spec["process"]["capabilities"]["bounding"].as_array().unwrap().len(), 14);
    assert_eq!(spec["process"]["capabilities"]["bounding"], spec["process"]["capabilities"]["effective"]);
    assert_eq!(spec["annotations"], json!({"log.console.file": "/b/console.log"}));
    assert_eq!(spec["linux"]["cgroupsPath"], "/isulad/c0ffee");
    assert_eq!(spec["linux"]["seccomp"]["defaultAction"], "SCMP_ACT_ERRNO");
    assert_eq!(spec["linux"]["resources"].as_object().unwrap().keys().collect::<Vec<_>>(), ["devices"]);
    assert!(spec["linux"]["readonlyPaths"].as_array().unwrap().contains(&json!("/proc/sys")));
    assert!(spec["linux"]["maskedPaths"].as_array().unwrap().contains(&json!("/proc/kcore")));
    let expected = ["mount", "pid", "network", "ipc", "uts", "cgroup"];
    assert_eq!(namespaces(&spec), expected.map(|kind| (kind, None)).into());
    for (target, read_only) in [("/sys", true), ("/sys/fs/cgroup", true), ("/proc", false)] {
        assert_eq!(
            mount_at(&spec, target)["options"].as_array().unwrap().contains(&json!("ro")),
            read_only,
            "{target}"
        );
    }
    for name in ["hosts", "hostname", "resolv.conf"] {
        assert_eq!(mount_at(&spec, &format!("/etc/{name}"))["source"], format!("/b/{name}"));
    }
    assert_eq!(mount_at(&spec, "/dev/shm")["source"], "/b/mounts/shm");
}

#[test]
fn a_privileged_container() {
    let spec = spec(|definition| definition.security.privileged = true);
    assert_eq!(spec["process"]["capabilities"]["effective"].as_array().unwrap().len(), 41);
    for absent in ["seccomp", "maskedPaths", "readonlyPaths"] {
        assert!(spec["linux"].get(absent).is_none(), "{absent}");
    }
    for target in ["/sys", "/sys/fs/cgroup"] {
        assert!(mount_at(&spec, target)["options"].as_array().unwrap().contains(&json!("rw")), "{target}");
    }
    let rules = spec["linux"]["resources"]["devices"].as_array().unwrap();
    assert_eq!(rules.last().unwrap(), &json!({"allow": true, "type": "a", "access": "rwm"}));
    let nodes = spec["linux"]["devices"].as_array().unwrap();
    assert!(nodes.iter().any(|node| node["path"] == "/dev/null" && node["major"] == 1 && node["minor"] == 3));
    assert!(!nodes.iter().any(|node| node["path"].as_str().unwrap().starts_with("/dev/pts/")));
}

#[test]
fn the_environment() {
    let env = |change: fn(&mut Definition)| spec(change)["process"]["env"].clone();
    let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    assert_eq!(env(|_| {}), json!([path, "HOSTNAME=box", "HOME=/root"]));
    assert_eq!(env(|d| d.process.tty = true), json!([path, "HOSTNAME=box", "TERM=xterm", "HOME=/root"]));
    assert_eq!(env(|d| d.process.user = "nina".into()), json!([path, "HOSTNAME=box", "HOME=/home/nina"]));
    assert_eq!(env(|d| d.process.user = "9999".into()), json!([path, "HOSTNAME=box", "HOME=/"]));
    assert_eq!(
        env(|d| d.process.env = strings(&["PATH=/x", "A=1", "A=2", "HOME=/h", "B==", "HOSTNAME", "NONE"])),
        json!(["PATH=/x", "HOME=/h", "A=2", "B=="])
    );
}

#[test]
fn only_root_starts_with_capabilities_in_effect() {
    let spec = spec(|definition| definition.process.user = "nina".into());
    assert_eq!(spec["process"]["user"], json!({"uid": 7, "gid": 8, "additionalGids": [8]}));
    let capabilities = &spec["process"]["capabilities"];
    assert_eq!(capabilities["bounding"].as_array().unwrap().len(), 14);
    assert_eq!((&capabilities["effective"], &capabilities["permitted"]), (&json!([]), &capabilities["bounding"]));
    assert_eq!((capabilities.get("inheritable"), capabilities.get("ambient")), (None, None));
}

#[test]
fn invalid_definitions_are_refused_by_name() {
    type Change = Box<dyn FnOnce(&mut Definition)>;
    let cases: Vec<(&str, Change)> = vec![
        ("no command specified", Box::new(|d| d.process.command.clear())),
        ("`etc`", Box::new(|d| d.process.workdir = "etc".into())),
        ("no user `ghost`", Box::new(|d| d.process.user = "ghost".into())),
        ("no group `ghosts`", Box::new(|d| d.process.group_add = strings(&["ghosts"]))),
        ("unknown capability `FLY`", Box::new(|d| d.security.cap_add = strings(&["FLY"]))),
        ("line 1, column 2", Box::new(|d| d.security.seccomp = Seccomp::Profile("nonsense".into()))),
        ("ulimit `files`", Box::new(|d| d.ulimits = vec![Ulimit { name: "files".into(), soft: 1, hard: 1 }])),
        ("soft limit 2 exceeds", Box::new(|d| d.ulimits = vec![Ulimit { name: "nofile".into(), soft: 2, hard: 1 }])),
        ("soft limit -1 exceeds", Box::new(|d| d.ulimits = vec![Ulimit { name: "core".into(), soft: -1, hard: 1 }])),
        ("`/no/where` does not exist", Box::new(|d| d.mounts = vec![bind("/no/where", "/x")])),
        ("mount target `x`", Box::new(|d| d.mounts = vec![bind("/", "x")])),
        ("mount target `/a/..`", Box::new(|d| d.mounts = vec![bind("/", "/a/..")])),
        ("`loud`", Box::new(|d| d.mounts = vec![Mount { propagation: "loud".into(), ..bind("/", "/x") }])),
        ("`/dev/none`", Box::new(|d| d.devices = vec![device("/dev/none", "", "")])),
        ("`/proc/self/status` is not a device", Box::new(|d| d.devices = vec![device("/proc/self/status", "", "")])),
        ("cgroup parent `/a/../..`", Box::new(|d| d.cgroup_parent = "/a/../..".into())),
        (
            "network namespace of container `other`",
            Box::new(|d| d.namespaces.network = Network::Container("other".into())),
        ),
        ("pid namespace of container `other`", Box::new(|d| d.namespaces.pid = Sharing::Container("other".into()))),
    ];
    for (expected, change) in cases {
        let text = error(change);
        assert!(text.contains(expected), "{text:?} does not contain {expected:?}");
    }
}

fn device(host: &str, container: &str, permissions: &str) -> Device {
    Device { host: host.to_owned(), container: container.to_owned(), permissions: permissions.to_owned() }
}

#[test]
fn namespaces_are_own_the_hosts_or_anothers() {
    let shared = spec(|definition| {
        definition.namespaces = Namespaces {
            network: Network::Host,
            pid: Sharing::Host,
            ipc: Sharing::Host,
            uts: Sharing::Host,
            cgroup: Sharing::Host,
        };
    });
    assert_eq!(namespaces(&shared), [("mount", None)].into());
    assert!(shared.get("hostname").is_none());
    assert_eq!(mount_at(&shared, "/dev/shm")["source"], "/dev/shm");

    let other = || Sharing::Container("other".into());
    let mut case = Case::new(|definition| {
        definition.namespaces = Namespaces {
            network: Network::Container("other".into()),
            pid: other(),
            ipc: other(),
            uts: other(),
            cgroup: other(),
        };
    });
    let path = |kind: &str| Some(PathBuf::from(format!("/proc/7/ns/{kind}")));
    case.joined = Joined {
        network: path("net"),
        pid: path("pid"),
        ipc: path("ipc"),
        uts: path("uts"),
        cgroup: path("cgroup"),
        network_bundle: Some("/other".into()),
    };
    case.shm = Some("/other/mounts/shm");
    let (joined, _) = case.spec();
    let expected = [("network", "net"), ("pid", "pid"), ("ipc", "ipc"), ("uts", "uts"), ("cgroup", "cgroup")];
    for (kind, name) in expected {
        assert_eq!(namespaces(&joined)[kind], Some(&*format!("/proc/7/ns/{name}")));
    }
    assert!(joined.get("hostname").is_none());
    assert_eq!(mount_at(&joined, "/etc/hosts")["source"], "/other/hosts");
    assert_eq!(mount_at(&joined, "/etc/resolv.conf")["source"], "/other/resolv.conf");
    assert_eq!(mount_at(&joined, "/etc/hostname")["source"], "/b/hostname");
    assert_eq!(mount_at(&joined, "/dev/shm")["source"], "/other/mounts/shm");

    case.host.features.cgroup_namespace = false;
    assert!(!namespaces(&case.spec().0).contains_key("cgroup"));
}

#[test]
fn mounts_come_after_those_they_lie_within_and_replace_defaults() {
    let spec = spec(|definition| {
        definition.mounts = vec![
            bind("/", "/a/b/c"),
            tmpfs("/a", &["size=1m", "exec"]),
            bind("/tmp", "/dev/shm/"),
            Mount { read_only: true, non_recursive: true, ..bind("/tmp", "//etc/./x/../hosts") },
            bind("/", "/a/b"),
        ];
    });
    let order = targets(&spec);
    for (index, target) in order.iter().enumerate() {
        for earlier in &order[..index] {
            assert!(!earlier.starts_with(&format!("{target}/")), "{earlier} would be hidden by {target}");
        }
    }
    assert_eq!(mount_at(&spec, "/dev/shm")["source"], "/tmp");
    let hosts = mount_at(&spec, "/etc/hosts");
    assert_eq!((&hosts["source"], &hosts["options"]), (&json!("/tmp"), &json!(["bind", "ro", "rprivate"])));
    assert_eq!(mount_at(&spec, "/a")["options"], json!(["noexec", "nosuid", "nodev", "size=1m", "exec"]));
    assert_eq!(mount_at(&spec, "/a/b")["options"], json!(["rbind", "rprivate"]));
    assert!(spec["linux"].get("rootfsPropagation").is_none());
}

/// A mount of the test's own.
struct Mounted(tempfile::TempDir);

impl Mounted {
    fn new(flags: nix::mount::MsFlags) -> Self {
        let dir = tempfile::tempdir().unwrap();
        nix::mount::mount(Some("x"), dir.path(), Some("tmpfs"), flags, None::<&str>).unwrap();
        nix::mount::mount(None::<&str>, dir.path(), None::<&str>, nix::mount::MsFlags::MS_PRIVATE, None::<&str>)
            .unwrap();
        Self(dir)
    }

    fn path(&self) -> &str {
        self.0.path().to_str().unwrap()
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = nix::mount::umount2(self.0.path(), nix::mount::MntFlags::MNT_DETACH);
    }
}

#[test]
fn a_bind_has_the_flags_of_its_source_unless_others_are_asked_for() {
    use nix::mount::MsFlags;
    let with = |flags: MsFlags, change: &dyn Fn(&mut Mount)| {
        let source = Mounted::new(flags);
        let mut mount = bind(source.path(), "/x");
        change(&mut mount);
        let spec = spec(|definition| definition.mounts = vec![mount]);
        mount_at(&spec, "/x")["options"].clone()
    };
    let all = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    assert_eq!(with(MsFlags::empty(), &|_| {}), json!(["rbind", "rprivate"]));
    assert_eq!(with(MsFlags::MS_NODEV, &|_| {}), json!(["rbind", "rprivate", "nodev"]));
    assert_eq!(with(all, &|_| {}), json!(["rbind", "rprivate", "nosuid", "nodev", "noexec"]));
    assert_eq!(
        with(all | MsFlags::MS_RDONLY, &|_| {}),
        json!(["rbind", "rprivate", "ro", "nosuid", "nodev", "noexec"])
    );
    let read_only = |mount: &mut Mount| mount.read_only = true;
    let expected = json!(["rbind", "ro", "rprivate", "nosuid", "nodev", "noexec"]);
    assert_eq!(with(all | MsFlags::MS_RDONLY, &read_only), expected);
    assert_eq!(with(all, &read_only), expected);
    let asked = |mount: &mut Mount| mount.options = strings(&["exec", "nodev"]);
    assert_eq!(with(all, &asked), json!(["rbind", "rprivate", "nosuid", "exec", "nodev"]));
    let volume = |mount: &mut Mount| (mount.kind, mount.non_recursive) = (MountKind::Volume, true);
    assert_eq!(with(MsFlags::MS_NOSUID, &volume), json!(["bind", "rprivate", "nosuid"]));

    let shm = Mounted::new(all);
    let mut case = Case::new(|_| {});
    case.shm = Some(Box::leak(shm.path().to_owned().into_boxed_str()));
    let options = &mount_at(&case.spec().0, "/dev/shm")["options"].clone();
    assert_eq!(options, &json!(["rbind", "rprivate", "nosuid", "nodev", "noexec"]));
}

#[test]
fn read_only_covers_mounts_below_or_a_warning_is_given() {
    let source = Mounted::new(nix::mount::MsFlags::empty());
    let below = source.0.path().join("below");
    fs::create_dir(&below).unwrap();
    let mut case = Case::new(|definition| {
        definition.mounts = vec![Mount { read_only: true, ..bind(source.path(), "/x") }];
    });
    let options = |case: &Case| {
        let (spec, warnings) = case.spec();
        (mount_at(&spec, "/x")["options"].clone(), warnings.len(), asks_for_recursion(&case.definition).unwrap())
    };
    assert_eq!(options(&case), (json!(["rbind", "ro", "rprivate"]), 0, false));
    nix::mount::mount(Some("x"), &below, Some("tmpfs"), nix::mount::MsFlags::empty(), None::<&str>).unwrap();
    assert_eq!(options(&case), (json!(["rbind", "ro", "rro", "rprivate"]), 0, true));
    case.recursive = false;
    assert_eq!(options(&case), (json!(["rbind", "ro", "rprivate"]), 1, true));
    assert!(case.spec().1[0].contains(source.path()));
    case.definition.mounts[0].non_recursive = true;
    assert_eq!(options(&case), (json!(["bind", "ro", "rprivate"]), 0, false));
    case.definition.mounts[0].read_only = false;
    assert_eq!(options(&case), (json!(["bind", "rprivate"]), 0, false));
}

#[test]
fn the_user_is_the_one_that_the_container_will_see() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("passwd"), "root:x:0:0::/root:\nolga:x:70:80::/home/olga:\n").unwrap();
    fs::write(dir.path().join("group"), "olga:x:80:\nstaff:x:90:olga\n").unwrap();
    let source = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let olga = json!({"uid": 70, "gid": 80, "additionalGids": [80, 90]});
    for mounts in [
        vec![bind(&source(""), "/etc")],
        vec![bind(&source("passwd"), "/etc/passwd"), bind(&source("group"), "/etc/group")],
        vec![tmpfs("/etc", &[]), bind(&source("passwd"), "/etc/passwd"), bind(&source("group"), "/etc/group")],
        vec![Mount { kind: MountKind::Volume, ..bind(&source(""), "/etc") }],
    ] {
        let spec = spec(|definition| {
            definition.process.user = "olga".into();
            definition.process.group_add = strings(&["staff"]);
            definition.mounts = mounts;
        });
        assert_eq!(spec["process"]["user"], olga);
        assert!(spec["process"]["env"].as_array().unwrap().contains(&json!("HOME=/home/olga")));
    }
    let hidden = error(|definition| {
        definition.process.user = "nina".into();
        definition.mounts = vec![tmpfs("/etc", &[])];
    });
    assert!(hidden.contains("no user `nina`"), "{hidden}");
}

#[test]
fn ten_thousand_mounts_are_planned_in_time_that_grows_with_them() {
    let growth = crate::latest::cost::growth(10_000, |count| {
        let case = Case::new(|definition| {
            definition.mounts =
                (0..count).map(|number| bind("/", &format!("/data/{}/{number}", number % 100))).collect();
        });
        case.build().unwrap();
    });
    assert!(growth < 10.0, "{growth}");
}

#[test]
fn a_source_that_may_be_made_is_made() {
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("a/b");
    let mut case = Case::new(|definition| {
        definition.mounts = vec![Mount { create_source: true, ..bind(source.to_str().unwrap(), "/x") }];
    });
    assert!(case.error().contains("does not exist"));
    for _ in 0..2 {
        make_sources(&case.definition).unwrap();
    }
    case.spec();
    case.definition.mounts[0].create_source = false;
    fs::remove_dir(&source).unwrap();
    make_sources(&case.definition).unwrap();
    assert!(!source.exists());
}

#[test]
fn without_a_shm_of_its_own_the_runtime_makes_one() {
    let mut case = Case::new(|_| {});
    case.shm = None;
    let (spec, _) = case.spec();
    assert_eq!(mount_at(&spec, "/dev/shm")["type"], "tmpfs");
    assert!(mount_at(&spec, "/dev/shm")["options"].as_array().unwrap().contains(&json!("size=67108864")));
}

#[test]
fn limits_in_the_terms_of_the_spec() {
    let spec = spec(|definition| {
        definition.resources = Resources {
            memory: Some(64 << 20),
            memory_swap: Some(-1),
            memory_reservation: Some(32 << 20),
            memory_swappiness: Some(0),
            oom_kill_disable: Some(true),
            nano_cpus: Some(1_500_000_000),
            cpu_shares: Some(512),
            cpu_period: None,
            cpu_quota: None,
            cpuset_cpus: "0-1".into(),
            cpuset_mems: "0".into(),
            cpu_rt_runtime: Some(1000),
            cpu_rt_period: Some(2000),
            pids_limit: Some(100),
            blkio_weight: Some(300),
        };
    });
    let resources = &spec["linux"]["resources"];
    assert_eq!(
        resources["memory"],
        json!({"limit": 64 << 20, "reservation": 32 << 20, "swap": -1, "swappiness": 0, "disableOOMKiller": true})
    );
    assert_eq!(
        resources["cpu"],
        json!({"shares": 512, "quota": 150_000, "period": 100_000, "realtimeRuntime": 1000, "realtimePeriod": 2000,
               "cpus": "0-1", "mems": "0"})
    );
    assert_eq!(resources["pids"], json!({"limit": 100}));
    assert_eq!(resources["blockIO"], json!({"weight": 300}));
}

#[test]
fn zero_and_minus_one_are_no_limit() {
    for pids in [0, -1] {
        let spec = spec(|definition| {
            definition.resources = Resources {
                memory: Some(0),
                nano_cpus: Some(0),
                cpu_shares: Some(0),
                pids_limit: Some(pids),
                blkio_weight: Some(0),
                oom_kill_disable: Some(false),
                memory_swappiness: Some(u64::MAX),
                ..Resources::default()
            };
        });
        assert_eq!(spec["linux"]["resources"].as_object().unwrap().keys().collect::<Vec<_>>(), ["devices"]);
    }
}

#[test]
fn missing_kernel_features_are_left_out_with_one_warning_each() {
    let mut case = Case::new(|definition| {
        definition.resources = Resources {
            memory: Some(64 << 20),
            memory_swap: Some(128 << 20),
            memory_swappiness: Some(10),
            oom_kill_disable: Some(true),
            cpuset_cpus: "0".into(),
            cpuset_mems: "0".into(),
            pids_limit: Some(5),
            ..Resources::default()
        };
    });
    case.host.features.swap = false;
    case.host.features.swappiness = false;
    case.host.features.oom_kill_disable = false;
    case.host.features.cpuset = false;
    case.host.features.seccomp = false;
    let (spec, warnings) = case.spec();
    assert_eq!(spec["linux"]["resources"]["memory"], json!({"limit": 64 << 20}));
    assert!(spec["linux"]["resources"].get("cpu").is_none());
    assert_eq!(spec["linux"]["resources"]["pids"], json!({"limit": 5}));
    assert!(spec["linux"].get("seccomp").is_none());
    assert_eq!(warnings.len(), 5, "{warnings:#?}");
    for (warning, what) in warnings.iter().zip(["seccomp", "swap", "swappiness", "OOM killer", "cpuset"]) {
        assert!(warnings.iter().any(|warning| warning.contains(what)), "{what}");
        assert!(warning.starts_with("Your kernel does not support "), "{warning}");
    }
}

#[test]
fn limits_above_the_daemons_own_are_clamped_with_a_warning() {
    let change = |definition: &mut Definition| {
        let ulimit = |name: &str, soft, hard| Ulimit { name: name.to_owned(), soft, hard };
        definition.ulimits = vec![ulimit("nofile", 100, 5000), ulimit("nproc", -1, -1), ulimit("core", 0, 0)];
        definition.oom_score_adj = Some(-500);
        definition.security.privileged = true;
    };
    let mut case = Case::new(change);
    case.host.may_raise_limits = false;
    case.host.hard_limits = [Some(1000); 16];
    case.host.oom_score_adj = 100;
    case.host.capabilities = case.host.capabilities.without(CapabilitySet::SYS_RESOURCE);
    let (spec, warnings) = case.spec();
    assert_eq!(
        spec["process"]["rlimits"],
        json!([
            {"type": "RLIMIT_NOFILE", "soft": 100, "hard": 1000},
            {"type": "RLIMIT_NPROC", "soft": 1000, "hard": 1000},
            {"type": "RLIMIT_CORE", "soft": 0, "hard": 0}
        ])
    );
    assert_eq!(spec["process"]["oomScoreAdj"], 100);
    assert!(!spec["process"]["capabilities"]["bounding"].as_array().unwrap().contains(&json!("CAP_SYS_RESOURCE")));
    assert_eq!(warnings.len(), 4, "{warnings:#?}");
    for what in ["CAP_SYS_RESOURCE", "nofile", "nproc", "OOM score"] {
        assert!(warnings.iter().any(|warning| warning.contains(what)), "{what}: {warnings:#?}");
    }

    // With the privilege, all but the kernel's own limit.
    let case = Case::new(change);
    let (spec, warnings) = case.spec();
    assert_eq!(spec["process"]["rlimits"][1], json!({"type": "RLIMIT_NPROC", "soft": u64::MAX, "hard": u64::MAX}));
    assert_eq!(spec["process"]["oomScoreAdj"], -500);
    assert_eq!(warnings, Vec::<String>::new());

    let mut case = Case::new(|_| {});
    case.host.may_raise_limits = false;
    case.host.oom_score_adj = 100;
    let (spec, warnings) = case.spec();
    assert_eq!((&spec["process"]["oomScoreAdj"], warnings.len()), (&json!(100), 0), "nobody asked for less");
}

#[test]
fn devices_by_name_and_by_directory() {
    let one = spec(|definition| definition.devices = vec![device("/dev/null", "/dev/nothing", "r")]);
    assert_eq!(one["linux"]["devices"][0]["path"], "/dev/nothing");
    assert_eq!((&one["linux"]["devices"][0]["major"], &one["linux"]["devices"][0]["minor"]), (&json!(1), &json!(3)));
    let rules = one["linux"]["resources"]["devices"].as_array().unwrap();
    assert_eq!(rules[0], json!({"allow": false, "type": "a", "access": "rwm"}));
    assert_eq!(rules.last().unwrap(), &json!({"allow": true, "type": "c", "major": 1, "minor": 3, "access": "r"}));

    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("sub")).unwrap();
    fs::write(dir.path().join("plain"), "").unwrap();
    let node = dir.path().join("sub/full");
    let (kind, mode) = (nix::sys::stat::SFlag::S_IFCHR, nix::sys::stat::Mode::from_bits_truncate(0o640));
    nix::sys::stat::mknod(&node, kind, mode, nix::sys::stat::makedev(1, 7)).unwrap();
    let all = spec(|definition| definition.devices = vec![device(dir.path().to_str().unwrap(), "/dev/mine", "rw")]);
    let nodes = all["linux"]["devices"].as_array().unwrap();
    assert_eq!(nodes.len(), 1);
    assert_eq!((&nodes[0]["path"], &nodes[0]["minor"]), (&json!("/dev/mine/sub/full"), &json!(7)));
}

#[test]
fn sysctls_of_own_namespaces_only() {
    let with = |key: &str, change: fn(&mut Definition)| {
        Case::new(|definition| {
            definition.security.sysctls = BTreeMap::from([(key.to_owned(), "1".to_owned())]);
            change(definition);
        })
    };
    let host_net: fn(&mut Definition) = |definition| definition.namespaces.network = Network::Host;
    let host_ipc: fn(&mut Definition) = |definition| definition.namespaces.ipc = Sharing::Host;
    for (key, fine, refused_with) in [
        ("net.ipv4.ip_forward", true, Some(host_net)),
        ("net/ipv4/ip_forward", true, Some(host_net)),
        ("kernel.shmmax", true, Some(host_ipc)),
        ("kernel.sem", true, Some(host_ipc)),
        ("kernel.msgmnb", true, Some(host_ipc)),
        ("fs.mqueue.msg_max", true, Some(host_ipc)),
        ("kernel.domainname", true, None),
        ("kernel.panic", false, None),
        ("kernel.hostname", false, None),
        ("vm.swappiness", false, None),
        ("net", false, None),
        ("net..x", false, None),
        ("net/../kernel/panic", false, None),
        ("", false, None),
    ] {
        let case = with(key, |_| {});
        if !fine {
            assert!(case.error().contains("is not namespaced"), "{key}");
            continue;
        }
        assert_eq!(case.spec().0["linux"]["sysctl"][key], "1", "{key}");
        if let Some(change) = refused_with {
            assert!(with(key, change).error().contains("of the host"), "{key}");
        }
    }
}

#[test]
fn cgroup_paths() {
    let path = |parent: &str, systemd: bool| {
        let mut case = Case::new(|definition| definition.cgroup_parent = parent.to_owned());
        case.systemd = systemd;
        case.build().map(|built| {
            let spec: Value = serde_json::from_slice(&built.json).unwrap();
            (spec["linux"]["cgroupsPath"].as_str().unwrap().to_owned(), built.group.to_string())
        })
    };
    let both = |text: &str| (text.to_owned(), text.to_owned());
    assert_eq!(path("", false).unwrap(), both("/isulad/c0ffee"));
    assert_eq!(path("mine/own/", false).unwrap(), both("/mine/own/c0ffee"));
    assert_eq!(path("/", false).unwrap(), both("/c0ffee"));
    for (parent, for_runtime, path_below) in [
        ("", "system.slice:isulad:c0ffee", "/system.slice/isulad-c0ffee.scope"),
        ("/isulad", "system.slice:isulad:c0ffee", "/system.slice/isulad-c0ffee.scope"),
        ("a-b.slice", "a-b.slice:isulad:c0ffee", "/a.slice/a-b.slice/isulad-c0ffee.scope"),
        ("/a.slice/a-b.slice", "a-b.slice:isulad:c0ffee", "/a.slice/a-b.slice/isulad-c0ffee.scope"),
        ("-.slice", "-.slice:isulad:c0ffee", "/isulad-c0ffee.scope"),
    ] {
        assert_eq!(path(parent, true).unwrap(), (for_runtime.to_owned(), path_below.to_owned()), "{parent:?}");
    }
    assert_eq!(path("//mine//./own", false).unwrap(), both("/mine/own/c0ffee"));
    for parent in ["..", "/mine/..", "mi\nne"] {
        assert!(matches!(path(parent, false), Err(SpecError::CgroupParent { .. })), "{parent:?}");
    }
    for parent in ["mine", "a--b.slice", ".slice"] {
        assert!(matches!(path(parent, true), Err(SpecError::NotASlice { .. })), "{parent}");
    }
}

#[test]
fn the_annotation_names_the_log_where_it_is() {
    let annotations = |log| spec(|definition| definition.log = log)["annotations"].clone();
    let path = "/var/log/pods/a_b_c/d/0.log";
    assert_eq!(annotations(Log::Cri { path: path.into() }), json!({"log.console.file": path}));
    assert_eq!(annotations(Log::None), serde_json::Value::Null);
}

#[test]
fn an_annotation_cannot_pose_as_the_logs() {
    let spec = spec(|definition| {
        definition.annotations = BTreeMap::from([("log.console.file".into(), "/x".into()), ("a".into(), "b".into())]);
    });
    assert_eq!(spec["annotations"], json!({"a": "b", "log.console.file": "/b/console.log"}));
}

/// No promise about any machine: a spec that took as long as the budget of a whole start would show.
#[test]
fn building_costs_far_less_than_reading_it_back() {
    let case = Case::new(|_| {});
    let json = case.build().unwrap().json;
    let time = |f: &dyn Fn()| {
        let rounds = (0..20).map(|_| {
            let start = std::time::Instant::now();
            f();
            start.elapsed()
        });
        rounds.min().unwrap()
    };
    let build = time(&|| drop(case.build().unwrap()));
    let parse = time(&|| drop(serde_json::from_slice::<Value>(&json).unwrap()));
    assert!(build < parse * 4, "building takes {build:?}, parsing {parse:?}, for {} bytes", json.len());
}

#[test]
fn mounts_and_variables_are_planned_in_linear_time() {
    let growth = crate::latest::cost::growth(16_000, |count| {
        let case = Case::new(|definition| {
            definition.process.env = (0..count).map(|n| format!("NAME{n}=x")).collect();
            definition.mounts = (0..count).map(|n| tmpfs(&format!("/mnt/{n}"), &[])).collect();
        });
        case.build().unwrap();
    });
    assert!(growth < 10.0, "{growth}");
}
