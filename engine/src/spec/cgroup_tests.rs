//! On trees of plain directories: not every machine has version 2, and the files have the same contents.

use super::*;

const ID: &str = "/isulad/c0ffee";

fn group(path: &str) -> GroupPath {
    GroupPath::unchecked(path)
}

struct Tree {
    dir: tempfile::TempDir,
    cgroups: Cgroups,
}

/// Hierarchies by the name of their directory; those called `unified` or with an empty name are version 2.
fn tree(hierarchies: &[(&str, &str)]) -> Tree {
    let dir = tempfile::tempdir().unwrap();
    let mut mountinfo =
        String::from("1 0 0:1 / /proc rw - proc proc rw\n2 0 0:2 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n");
    for (name, controllers) in hierarchies {
        let root = dir.path().join(name);
        fs::create_dir_all(&root).unwrap();
        let fs_type = if name.is_empty() || *name == "unified" { "cgroup2" } else { "cgroup" };
        mountinfo.push_str(&format!("3 2 0:3 / {} rw - {fs_type} cgroup rw,{controllers}\n", root.display()));
    }
    let cgroups = Cgroups::from_mountinfo(mountinfo.as_bytes());
    Tree { dir, cgroups }
}

fn v1() -> Tree {
    tree(&[("cpu,cpuacct", "cpu,cpuacct"), ("memory", "memory"), ("pids", "pids"), ("systemd", "xattr,name=systemd")])
}

fn hybrid() -> Tree {
    tree(&[("memory", "memory"), ("pids", "pids"), ("systemd", "name=systemd"), ("unified", "nsdelegate")])
}

fn v2() -> Tree {
    let tree = tree(&[("", "nsdelegate")]);
    fs::write(tree.dir.path().join("cgroup.controllers"), "cpuset cpu io memory pids\n").unwrap();
    tree
}

impl Tree {
    fn make(&self, hierarchy: &str, path: &str, procs: &str) -> PathBuf {
        let dir = below(&self.dir.path().join(hierarchy), path);
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("cgroup.procs"), procs).unwrap();
        dir
    }
}

#[test]
fn the_version_follows_the_mounts() {
    assert_eq!(v1().cgroups.version(), Version::V1);
    assert_eq!(hybrid().cgroups.version(), Version::Hybrid);
    assert_eq!(v2().cgroups.version(), Version::V2);
}

#[test]
fn controllers_are_found_in_every_version() {
    let tree = v1();
    assert_eq!(tree.cgroups.controller_root("cpu"), Some(&*tree.dir.path().join("cpu,cpuacct")));
    assert_eq!(tree.cgroups.controller_root("cpuacct"), Some(&*tree.dir.path().join("cpu,cpuacct")));
    assert_eq!(tree.cgroups.controller_root("blkio"), None);
    let tree = hybrid();
    fs::write(tree.dir.path().join("unified/cgroup.controllers"), "io memory\n").unwrap();
    assert_eq!(tree.cgroups.controller_root("memory"), Some(&*tree.dir.path().join("memory")));
    assert_eq!(tree.cgroups.controller_root("io"), None, "of no use: the runtimes use version 1 here");
    let tree = v2();
    assert_eq!(tree.cgroups.controller_root("memory"), Some(tree.dir.path()));
    assert_eq!(tree.cgroups.controller_root("memo"), None);
}

#[test]
fn the_last_mount_at_a_place_counts_and_a_hierarchy_only_once() {
    let text = b"1 0 0:1 / /c/memory rw - cgroup c rw,memory\n2 1 0:2 / /c/memory rw - cgroup c rw,pids\n\
                 3 0 0:3 / /other/pids rw - cgroup c rw,pids\n";
    let cgroups = Cgroups::from_mountinfo(text);
    assert_eq!(cgroups.controller_root("memory"), None);
    assert_eq!(cgroups.controller_root("pids"), Some(Path::new("/c/memory")));
    assert_eq!(cgroups.hierarchies.len(), 1);
}

#[test]
fn out_of_memory_kills_are_read() {
    for (tree, hierarchy, file, text) in [
        (v1(), "memory", "memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n"),
        (v2(), "", "memory.events", "low 0\nhigh 0\nmax 9\noom 4\noom_kill 3\noom_group_kill 0\n"),
    ] {
        assert_eq!(tree.cgroups.oom_kills(&group(ID)).unwrap(), None, "no cgroup, no count");
        let dir = tree.make(hierarchy, ID, "");
        fs::write(dir.join(file), text).unwrap();
        assert_eq!(tree.cgroups.oom_file(&group(ID)), Some(dir.join(file)));
        assert_eq!(tree.cgroups.oom_kills(&group(ID)).unwrap(), Some(3));
    }
    assert_eq!(tree(&[("pids", "pids")]).cgroups.oom_kills(&group(ID)).unwrap(), None);
}

#[test]
fn processes_of_all_hierarchies_and_depths_each_once() {
    let tree = hybrid();
    tree.make("memory", ID, "12\n7\n");
    tree.make("pids", ID, "7\n");
    tree.make("systemd", &format!("{ID}/deeper/still"), "99\n0\n");
    tree.make("memory", "/isulad/another", "5\n");
    assert_eq!(tree.cgroups.processes(&group(ID)).unwrap(), [7, 12, 99]);
    assert_eq!(tree.cgroups.processes(&group("/isulad/none")).unwrap(), Vec::<i32>::new());
}

/// Plain directories with files in them cannot be removed as cgroups can, so these have none.
#[test]
fn leftover_cgroups_are_removed_children_first_and_no_others() {
    for tree in [v1(), hybrid(), v2()] {
        for hierarchy in &tree.cgroups.hierarchies {
            fs::create_dir_all(below(&hierarchy.root, &format!("{ID}/a/b"))).unwrap();
            fs::create_dir_all(below(&hierarchy.root, "/isulad/another")).unwrap();
        }
        assert!(tree.cgroups.exists(&group(ID)));
        for _ in 0..2 {
            tree.cgroups.remove(&group(ID)).unwrap();
        }
        assert!(!tree.cgroups.exists(&group(ID)));
        assert!(tree.cgroups.exists(&group("/isulad/another")));
    }
}

#[test]
fn a_failed_removal_of_one_cgroup_does_not_keep_the_others() {
    let tree = v1();
    let busy = tree.make("cpu,cpuacct", ID, "7\n");
    let free = below(&tree.dir.path().join("pids"), ID);
    fs::create_dir_all(&free).unwrap();
    tree.cgroups.remove(&group(ID)).unwrap_err();
    assert!(busy.exists() && !free.exists());
}

#[test]
fn the_shims_cgroup_is_in_the_tracked_hierarchies() {
    for (tree, hierarchies) in [
        (v1(), &["systemd"][..]),
        (hybrid(), &["systemd", "unified"]),
        (v2(), &[""]),
        (tree(&[("memory", "memory")]), &[]),
    ] {
        let dirs: Vec<PathBuf> =
            hierarchies.iter().map(|hierarchy| tree.dir.path().join(hierarchy).join("isulad/shims")).collect();
        for _ in 0..2 {
            let files = tree.cgroups.make_shims("/isulad").unwrap();
            assert_eq!(files, dirs.iter().map(|dir| dir.join("cgroup.procs")).collect::<Vec<_>>());
        }
        assert!(dirs.iter().all(|dir| dir.is_dir()));
        for _ in 0..2 {
            tree.cgroups.remove_shims("/isulad").unwrap();
        }
        assert!(!dirs.iter().any(|dir| dir.exists()));
    }
}

/// The same on this machine's own hierarchies, with a process in them.
#[test]
fn real_cgroups_hold_a_process_and_are_removed_after_it() {
    let cgroups = Cgroups::detect().unwrap();
    let parent = format!("/isulad-cgroup-test-{}", std::process::id());
    let files = cgroups.make_shims(&parent).unwrap();
    assert!(!files.is_empty(), "this test needs a version 2 or name=systemd hierarchy");
    let mut child = std::process::Command::new("cat").stdin(std::process::Stdio::piped()).spawn().unwrap();
    for file in &files {
        fs::write(file, child.id().to_string()).unwrap();
    }
    let path = format!("{parent}/shims");
    assert_eq!(cgroups.processes(&group(&path)).unwrap(), [child.id() as i32]);
    cgroups.remove_shims(&parent).unwrap();
    assert!(cgroups.exists(&group(&path)), "in use, so it stays");
    assert_eq!(cgroups.remove(&group(&path)).unwrap_err().kind(), io::ErrorKind::ResourceBusy);
    drop(child.stdin.take());
    child.wait().unwrap();
    cgroups.remove_shims(&parent).unwrap();
    cgroups.remove(&group(&parent)).unwrap();
    assert!(!cgroups.exists(&group(&parent)));
}

#[test]
fn a_process_is_found_in_one_hierarchy() {
    let text = "9:name=systemd:/system.slice/isulad:1.service\n8:pids:/\n4:memory:/m\n2:cpu,cpuacct:/c\n0::/u\n";
    let found = |tree: &Tree, text| {
        tree.cgroups.procs_of(text).map(|path| path.strip_prefix(tree.dir.path()).unwrap().to_str().unwrap().to_owned())
    };
    let [old, both, new] = [v1(), hybrid(), v2()];
    assert_eq!(found(&old, text).as_deref(), Some("systemd/system.slice/isulad:1.service/cgroup.procs"));
    assert_eq!(found(&both, text).as_deref(), Some("unified/u/cgroup.procs"));
    assert_eq!(found(&new, "0::/u/v\n").as_deref(), Some("u/v/cgroup.procs"));
    let one = tree(&[("cpu,cpuacct", "cpu,cpuacct")]);
    assert_eq!(found(&one, text).as_deref(), Some("cpu,cpuacct/c/cgroup.procs"));
    // A hierarchy that is not mounted, and texts without a cgroup.
    assert_eq!(found(&tree(&[("freezer", "freezer")]), text), None);
    assert_eq!(found(&new, "nonsense\n\n0:\n"), None);
    assert_eq!(Cgroups::from_mountinfo(b"").procs_of(text), None);
}
