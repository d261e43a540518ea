//! Needs root: real overlays, binds and tmpfs, each in a directory of its own that is clean afterwards.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use super::*;

const ID: &str = "c0ffee";

struct Fixture {
    dir: tempfile::TempDir,
}

impl Fixture {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("graph")).unwrap();
        Self { dir }
    }

    fn lower(&self, name: &str) -> String {
        let lower = self.dir.path().join(name);
        fs::create_dir_all(&lower).unwrap();
        fs::write(lower.join("file"), "below").unwrap();
        lower.to_str().unwrap().to_owned()
    }

    fn dirs<'a>(&self, graph: &'a Path) -> ContainerDirs<'a> {
        ContainerDirs { graph, runtime: "runc", id: ID }
    }

    fn graph(&self) -> PathBuf {
        self.dir.path().join("graph")
    }

    fn mounted(&self) -> usize {
        mounts_below(&[self.dir.path()]).unwrap().len()
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        // A failed assertion must not leave mounts on the machine.
        for mount in mounts_below(&[self.dir.path()]).unwrap_or_default().iter().rev() {
            let _ = release(&mount.target);
        }
    }
}

fn external(dir: String, direct: bool) -> Rootfs {
    Rootfs::External { dir, direct }
}

#[test]
fn the_directory_below_an_overlay_is_never_changed() {
    let fixture = Fixture::new();
    let (graph, lower) = (fixture.graph(), fixture.lower("rootfs"));
    let dirs = fixture.dirs(&graph);
    let root = mount(&dirs, &external(lower.clone(), false)).unwrap();
    fs::write(root.join("file"), "above").unwrap();
    fs::write(root.join("new"), "above").unwrap();
    assert_eq!(fs::read_to_string(Path::new(&lower).join("file")).unwrap(), "below");
    assert!(!Path::new(&lower).join("new").exists());
    assert_eq!(fs::read_to_string(dirs.upper().join("file")).unwrap(), "above");
    unmount(&dirs).unwrap();
    assert_eq!(fixture.mounted(), 0);
}

#[test]
fn written_files_are_there_after_the_next_mount() {
    let fixture = Fixture::new();
    let graph = fixture.graph();
    let (dirs, rootfs) = (fixture.dirs(&graph), external(fixture.lower("rootfs"), false));
    fs::write(mount(&dirs, &rootfs).unwrap().join("kept"), "x").unwrap();
    unmount(&dirs).unwrap();
    assert!(mount(&dirs, &rootfs).unwrap().join("kept").exists());
    unmount(&dirs).unwrap();
}

#[test]
fn the_root_directory_keeps_its_owner_and_mode() {
    let fixture = Fixture::new();
    let (graph, lower) = (fixture.graph(), fixture.lower("rootfs"));
    std::os::unix::fs::chown(&lower, Some(1234), Some(4321)).unwrap();
    fs::set_permissions(&lower, fs::Permissions::from_mode(0o1751)).unwrap();
    let dirs = fixture.dirs(&graph);
    let facts = fs::metadata(mount(&dirs, &external(lower, false)).unwrap()).unwrap();
    assert_eq!((facts.uid(), facts.gid(), facts.mode() & 0o7777), (1234, 4321, 0o1751));
    unmount(&dirs).unwrap();
}

#[test]
fn mounting_and_unmounting_may_be_repeated() {
    let fixture = Fixture::new();
    let graph = fixture.graph();
    let dirs = fixture.dirs(&graph);
    for direct in [false, true] {
        let rootfs = external(fixture.lower("rootfs"), direct);
        for _ in 0..3 {
            mount(&dirs, &rootfs).unwrap();
            mount_shm(&dirs, 1 << 20).unwrap();
        }
        assert_eq!(fixture.mounted(), 2, "a repeated mount must not stack (direct: {direct})");
        for _ in 0..3 {
            unmount(&dirs).unwrap();
            unmount_shm(&dirs).unwrap();
        }
        assert_eq!(fixture.mounted(), 0);
        assert!(!dirs.merged().exists() && !dirs.shm().exists());
    }
}

#[test]
fn odd_names_just_work() {
    for name in ["a,b", "a:b", "a\\b", "a\\,b", "a b\"c", "ü\nx", "x,upperdir=y", &"long".repeat(60)] {
        let fixture = Fixture::new();
        let graph = fixture.dir.path().join(format!("graph {name}"));
        let dirs = fixture.dirs(&graph);
        let root = mount(&dirs, &external(fixture.lower(name), false)).unwrap();
        assert_eq!(fs::read_to_string(root.join("file")).unwrap(), "below", "{name:?}");
        fs::write(root.join("new"), "x").unwrap();
        assert!(dirs.upper().join("new").exists(), "{name:?}");
        assert_eq!(mounts_below(&[&root]).unwrap().len(), 1, "{name:?}");
        unmount(&dirs).unwrap();
        assert_eq!(fixture.mounted(), 0, "{name:?}");
    }
}

#[test]
fn a_path_longer_than_the_kernel_takes_as_option_just_works() {
    let fixture = Fixture::new();
    let deep = (0..8).map(|_| "d".repeat(200)).collect::<Vec<_>>().join("/");
    let lower = fixture.lower(&deep);
    let graph = fixture.dir.path().join("g".repeat(250)).join("h".repeat(250)).join("i".repeat(250));
    let dirs = fixture.dirs(&graph);
    assert!(mount(&dirs, &external(lower, false)).unwrap().join("file").exists());
    unmount(&dirs).unwrap();
}

#[test]
fn a_direct_root_is_the_directory_itself() {
    let fixture = Fixture::new();
    let (graph, lower) = (fixture.graph(), fixture.lower("rootfs"));
    let dirs = fixture.dirs(&graph);
    fs::write(mount(&dirs, &external(lower.clone(), true)).unwrap().join("new"), "x").unwrap();
    assert!(Path::new(&lower).join("new").exists());
    assert!(!dirs.upper().exists());
    unmount(&dirs).unwrap();
    assert!(Path::new(&lower).join("new").exists());
}

#[test]
fn shared_memory_has_its_size_and_mode() {
    let fixture = Fixture::new();
    let graph = fixture.graph();
    let dirs = fixture.dirs(&graph);
    let shm = mount_shm(&dirs, 8 << 20).unwrap();
    assert_eq!(fs::metadata(&shm).unwrap().mode() & 0o7777, 0o1777);
    let facts = nix::sys::statfs::statfs(&shm).unwrap();
    assert_eq!(facts.blocks() * facts.block_size() as u64, 8 << 20);
    let options = mounts_below(&[&shm]).unwrap().remove(0).options;
    for option in ["nosuid", "nodev", "noexec"] {
        assert!(options.contains(option), "{options}");
    }
    unmount_shm(&dirs).unwrap();
}

#[test]
fn a_root_that_cannot_be_used_is_named() {
    let fixture = Fixture::new();
    let graph = fixture.graph();
    let dirs = fixture.dirs(&graph);
    let file = fixture.dir.path().join("plain");
    fs::write(&file, "").unwrap();
    let cases = [
        ("relative/dir".to_owned(), "root file system `relative/dir` is not an absolute path"),
        ("/no/such/dir".to_owned(), "root file system `/no/such/dir` does not exist"),
        (file.to_str().unwrap().to_owned(), "is not a directory"),
    ];
    for (dir, expected) in cases {
        for direct in [false, true] {
            let rootfs = external(dir.clone(), direct);
            for error in [check(&graph, &rootfs).unwrap_err(), mount(&dirs, &rootfs).unwrap_err()] {
                assert!(error.to_string().contains(expected), "{error}");
            }
        }
    }
    unmount(&dirs).unwrap();
    assert!(!dirs.merged().exists());
}

#[test]
fn a_directory_that_contains_the_graph_can_be_a_root() {
    let fixture = Fixture::new();
    let graph = fixture.graph();
    let dirs = fixture.dirs(&graph);
    fixture.lower("");
    let root = mount(&dirs, &external(fixture.dir.path().to_str().unwrap().to_owned(), false)).unwrap();
    assert_eq!(fs::read_to_string(root.join("file")).unwrap(), "below");
    unmount(&dirs).unwrap();
}

#[test]
fn an_overlay_over_its_own_writable_layer_is_refused_by_name() {
    let fixture = Fixture::new();
    let graph = fixture.graph();
    let dirs = fixture.dirs(&graph);
    let within = dirs.upper().join("within");
    fs::create_dir_all(&within).unwrap();
    let error = mount(&dirs, &external(within.to_str().unwrap().to_owned(), false)).unwrap_err();
    assert!(matches!(error, RootfsError::Overlapping { .. }), "{error:?}");
    assert!(error.to_string().contains("within"), "{error}");
    unmount(&dirs).unwrap();
}

#[test]
fn a_mount_point_with_something_in_it_is_kept_and_reported() {
    let fixture = Fixture::new();
    let graph = fixture.graph();
    let dirs = fixture.dirs(&graph);
    fs::create_dir_all(dirs.merged()).unwrap();
    fs::write(dirs.merged().join("precious"), "x").unwrap();
    assert!(matches!(unmount(&dirs).unwrap_err(), RootfsError::RemoveMountPoint { .. }));
    assert!(dirs.merged().join("precious").exists());
}

#[test]
fn an_unmount_never_follows_a_link() {
    let fixture = Fixture::new();
    let graph = fixture.graph();
    let dirs = fixture.dirs(&graph);
    let shm = mount_shm(&dirs, 1 << 20).unwrap();
    fs::create_dir_all(dirs.merged().parent().unwrap()).unwrap();
    std::os::unix::fs::symlink(&shm, dirs.merged()).unwrap();
    let _ = unmount(&dirs);
    assert_eq!(fixture.mounted(), 1, "the link's target stays mounted");
    unmount_shm(&dirs).unwrap();
}

/// Layers with a file of their own each, and one that all have: the topmost one's counts.
fn layers(graph: &Path, names: &[String]) -> Vec<PathBuf> {
    let make = |name: &String| {
        let files = layer_files(graph, name);
        fs::create_dir_all(&files).unwrap();
        fs::write(files.join(name), "").unwrap();
        fs::write(files.join("all"), name).unwrap();
        files
    };
    names.iter().map(make).collect()
}

fn image(layers: &[String]) -> Rootfs {
    Rootfs::Image { id: String::new(), layers: layers.to_vec() }
}

fn chain(number: usize) -> String {
    format!("{number:064x}")
}

#[test]
fn layers_lie_over_one_another_in_order() {
    let fixture = Fixture::new();
    let graph = fixture.graph();
    let dirs = fixture.dirs(&graph);
    let names = ["bottom", "middle", "top"].map(str::to_owned);
    let paths = layers(&graph, &names);
    fs::set_permissions(&paths[0], fs::Permissions::from_mode(0o700)).unwrap();
    fs::set_permissions(&paths[2], fs::Permissions::from_mode(0o1751)).unwrap();
    std::os::unix::fs::chown(&paths[2], Some(77), Some(78)).unwrap();
    check(&graph, &image(&names)).unwrap();
    for _ in 0..2 {
        let root = mount(&dirs, &image(&names)).unwrap();
        assert_eq!(fs::read_to_string(root.join("all")).unwrap(), "top");
        assert!(names.iter().all(|name| root.join(name).exists()));
        let facts = fs::metadata(&root).unwrap();
        assert_eq!((facts.uid(), facts.gid(), facts.mode() & 0o7777), (77, 78, 0o1751));
        fs::write(root.join("all"), "written").unwrap();
        assert_eq!(fs::read_to_string(paths[2].join("all")).unwrap(), "top");
        fs::write(root.join("all"), "top").unwrap();
    }
    assert_eq!(fixture.mounted(), 1);
    unmount(&dirs).unwrap();
}

#[test]
fn as_many_layers_as_an_image_may_have_in_a_long_place() {
    let fixture = Fixture::new();
    let graph = fixture.dir.path().join("g".repeat(200));
    let dirs = fixture.dirs(&graph);
    let names: Vec<String> = (0..127).map(chain).collect();
    let paths = layers(&graph, &names);
    let root = mount(&dirs, &image(&names)).unwrap();
    assert_eq!(fs::read_dir(&root).unwrap().count(), 128);
    assert_eq!(fs::read_to_string(root.join("all")).unwrap(), names[126]);
    unmount(&dirs).unwrap();
    let view = fixture.dir.path().join("view");
    mount_view(&paths, &view).unwrap();
    assert_eq!(fs::read_dir(&view).unwrap().count(), 128);
    unmount_view(&view).unwrap();
    // More than a page of names, and more than images have.
    let many: Vec<String> = (0..400).map(|number| chain(number % 127)).collect();
    assert!(matches!(mount(&dirs, &image(&many)).unwrap_err(), RootfsError::TooManyLayers { count: 400, .. }));
    unmount(&dirs).unwrap();
}

#[test]
fn an_image_without_layers_is_an_empty_root() {
    let fixture = Fixture::new();
    let graph = fixture.graph();
    let dirs = fixture.dirs(&graph);
    let root = mount(&dirs, &image(&[])).unwrap();
    assert_eq!(fs::read_dir(&root).unwrap().count(), 0);
    fs::write(root.join("new"), "").unwrap();
    unmount(&dirs).unwrap();
}

#[test]
fn a_missing_layer_is_named_with_the_way_out() {
    let fixture = Fixture::new();
    let graph = fixture.graph();
    let dirs = fixture.dirs(&graph);
    let names = [chain(1), chain(2)];
    layers(&graph, &names[..1]);
    for error in [check(&graph, &image(&names)).unwrap_err(), mount(&dirs, &image(&names)).unwrap_err()] {
        let text = error.to_string();
        assert!(text.starts_with("layer 000000000000 of the image is missing (`"), "{text}");
        assert!(text.contains(&names[1]) && text.ends_with("pull or load the image again"), "{text}");
    }
    let error = mount_view(&[layer_files(&graph, &names[1])], &fixture.dir.path().join("view")).unwrap_err();
    assert!(matches!(error, RootfsError::MissingLayer { .. }), "{error}");
    unmount(&dirs).unwrap();
}

#[test]
fn a_view_is_only_read() {
    let fixture = Fixture::new();
    let graph = fixture.graph();
    let target = graph.join("images/views/x");
    for count in 0..3 {
        let names: Vec<String> = (0..count).map(|number| format!("layer-{number}")).collect();
        let paths = layers(&graph, &names);
        for _ in 0..3 {
            mount_view(&paths, &target).unwrap();
        }
        assert_eq!(fixture.mounted(), 1, "a repeated mount must not stack");
        assert!(names.iter().all(|name| target.join(name).exists()));
        let error = fs::write(target.join("new"), "x").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ReadOnlyFilesystem, "{count} layers");
        let entry = mounts_below(&[&target]).unwrap().remove(0);
        for option in ["ro", "nosuid", "nodev"] {
            assert!(entry.options.split(',').any(|found| found == option), "{}", entry.options);
        }
        assert!(entry.propagation.is_empty());
        for _ in 0..3 {
            unmount_view(&target).unwrap();
        }
        assert_eq!(fixture.mounted(), 0);
        assert!(!target.exists());
    }
}
