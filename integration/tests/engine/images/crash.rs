//! The daemon dies at each failpoint of images and volumes. The next one has whole images or none, repeats the
//! operation without fetching blobs that it has, and leaves nothing behind.

use std::collections::BTreeSet;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::sync::LazyLock;

use integration::command;
use integration::images::{BASIC, Image};
use integration::{Faulty, Node, deadline, registry, tree};
use serde_json::json;

use super::{as_skopeo_reads, builder, docker_archive, id, inspect, noise, noisy, place, pushed, written};

/// The operation at which the daemon dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum When {
    /// `x` is pulled.
    Pull,
    /// `x` is another image, and is pulled.
    PullMoving,
    Load,
    Import,
    /// `x` is another image, and is given to this one.
    Tag,
    /// `x` is one of two names, and is taken away.
    Untag,
    /// `x` is the last name of the image, which is removed.
    Remove,
    /// All that is not used is removed.
    Prune,
    /// The volume `x`.
    CreateVolume,
    RemoveVolume,
    /// A container is started with an empty volume `x`.
    Fill,
    /// The container is removed with its anonymous volume.
    RemoveWithVolumes,
}

use When::{
    CreateVolume, Fill, Import, Load, Prune, Pull, PullMoving, Remove, RemoveVolume, RemoveWithVolumes, Tag, Untag,
};

/// `NAME` or `NAME:2`, as for the daemon.
const CASES: &[(&str, When)] = &[
    ("pull-resolved", Pull),
    ("layer-unpacked", Pull),
    ("layer-unpacked:2", Pull),
    ("layer-stored", Pull),
    ("layer-stored:3", Pull),
    ("image-before-record", Pull),
    ("image-before-record", PullMoving),
    ("image-recorded", Pull),
    ("image-recorded", PullMoving),
    ("load-spooled", Load),
    ("layer-unpacked", Load),
    ("layer-stored:2", Load),
    ("image-before-record", Load),
    ("image-recorded", Load),
    ("layer-stored", Import),
    ("image-before-record", Import),
    ("image-tagged", Tag),
    ("image-untagged", Untag),
    ("image-removed", Remove),
    ("image-removed", Prune),
    ("image-swept", Remove),
    ("volume-create-before-record", CreateVolume),
    ("volume-remove-after-intent", RemoveVolume),
    ("volume-remove-after-intent", RemoveWithVolumes),
    ("volume-remove-deleted", RemoveVolume),
    ("remove-volumes-gone", RemoveWithVolumes),
    ("volume-copied", Fill),
    ("volume-filled", Fill),
];

/// The failpoints that are tried here.
pub(crate) fn points() -> BTreeSet<&'static str> {
    CASES.iter().map(|(point, _)| point.split(':').next().unwrap_or_default()).collect()
}

/// The engine, registry and files of the cases.
struct World {
    node: Node,
    faulty: Faulty,
    /// The image for `x`.
    image: Image,
    archive: String,
    rootfs: String,
    /// A bystander's tree.
    before: tree::Tree,
}

/// Made once, as the tests are at it at the same time.
static X: LazyLock<Image> = LazyLock::new(|| {
    let image = noisy(70, &[200_000, 100_000, 50_000]);
    pushed(&image, "crash:x");
    image
});

impl World {
    fn new() -> Self {
        let node = builder().start();
        let bystander = pushed(&BASIC, "crash-bystander:1");
        node.ok(&["pull", &bystander]);
        node.ok(&["tag", &bystander, "bystander:1"]);
        node.ok(&["run", "-d", "--name", "bystander", "bystander:1", "sleep", "100000"]);
        let image = X.clone();
        let faulty = Faulty::before(&registry::SHARED);
        let (archive, rootfs) = (place(&node, "archive.tar"), written(&node, "rootfs.tar", &noise("r", 10_000, 9)));
        image.copy(&format!("docker-archive:{archive}:x:1"), &[]);
        let mut world = Self { node, faulty, image, archive, rootfs, before: tree::Tree::new() };
        world.before = world.view("bystander:1");
        world
    }

    /// The name to pull.
    fn remote(&self) -> String {
        self.faulty.name("crash:x")
    }

    fn view(&self, image: &str) -> tree::Tree {
        let view = self.node.ok(&["image", "mount", image]);
        let tree = tree::read(Path::new(&view));
        self.node.ok(&["image", "unmount", image]);
        tree
    }

    /// Another image that has the name.
    fn occupy(&self, name: &str) -> String {
        let archive = docker_archive(&[(&[name], json!({}), &[noise("o", 1000, 8)])]);
        let file = written(&self.node, "occupant.tar", &archive);
        self.node.ok(&["load", "-i", &file]);
        id(&self.node, name)
    }

    /// Makes the state before the operation.
    fn prepare(&self, when: When) {
        match when {
            Pull | Load | Import | CreateVolume => {}
            PullMoving => drop(self.occupy(&self.remote())),
            Tag => {
                self.occupy("x:1");
                self.node.ok(&["load", "--tag", "y:1", "-i", &self.archive]);
            }
            Untag => {
                self.node.ok(&["load", "-i", &self.archive]);
                self.node.ok(&["tag", "x:1", "y:1"]);
            }
            Remove | Prune => drop(self.node.ok(&["load", "-i", &self.archive])),
            RemoveVolume => {
                self.node.ok(&["volume", "create", "x"]);
                let big = self.node.graph().join("volumes/x/_data/big");
                std::fs::write(big, vec![7; 100_000]).expect("root may");
            }
            Fill => drop(self.node.ok(&["create", "--name", "x", "-v", "x:/bin", "bystander:1", "sleep", "100000"])),
            RemoveWithVolumes => drop(self.node.ok(&["create", "--name", "x", "-v", "/data", "bystander:1", "true"])),
        }
    }

    fn words(&self, when: When) -> Vec<String> {
        let remote = self.remote();
        let words: &[&str] = match when {
            Pull | PullMoving => &["pull", &remote],
            Load => &["load", "-i", &self.archive],
            Import => &["import", &self.rootfs, "x:1"],
            Tag => &["tag", "y:1", "x:1"],
            Untag | Remove => &["rmi", "x:1"],
            Prune => &["image", "prune", "-af"],
            CreateVolume => &["volume", "create", "x"],
            RemoveVolume => &["volume", "rm", "x"],
            Fill => &["start", "x"],
            RemoveWithVolumes => &["rm", "-v", "x"],
        };
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    /// Whether the operation has been done.
    fn done(&self, when: When) -> bool {
        let has = |name: &str, id: &str| {
            let found = self.node.isula(&["image", "inspect", "-f", "{{.Id}}", name]);
            found.code() == 0 && (id.is_empty() || found.text().trim_matches('"') == id)
        };
        let volume = || self.node.isula(&["volume", "inspect", "x"]).code() == 0;
        match when {
            Pull | PullMoving => has(&self.remote(), &self.image.id()),
            Load | Tag => has("x:1", &self.image.id()),
            Import => has("x:1", ""),
            Untag | Remove | Prune => !has("x:1", ""),
            CreateVolume => volume(),
            RemoveVolume => !volume(),
            Fill => self.node.status_of("x") == "running",
            RemoveWithVolumes => self.node.isula(&["inspect", "--type", "container", "x"]).code() != 0,
        }
    }

    /// Every image can be looked at, read and passed on, and agrees with its id.
    fn verify(&self, point: &str) {
        let ids = self.node.ok(&["images", "-q", "--no-trunc"]);
        let ids: BTreeSet<&str> = ids.lines().collect();
        for id in ids {
            let diff_ids = inspect(&self.node, id)["RootFS"]["Layers"].take();
            let archive = place(&self.node, "verified.tar");
            self.node.ok(&["save", "-o", &archive, id]);
            assert_eq!(as_skopeo_reads(&format!("docker-archive:{archive}")), (id.to_owned(), diff_ids), "{point}");
        }
        tree::assert_same(&self.view("bystander:1"), &self.before);
        assert!(self.node.process_of("bystander").alive(), "{point}");
    }

    /// The layers of the pulled image that are there already, by their digests in the registry.
    fn stored(&self) -> Vec<String> {
        let config = self.image.configuration();
        let diff_ids = config["rootfs"]["diff_ids"].as_array().expect("it has layers").iter();
        let hex = diff_ids.filter_map(|it| it.as_str()?.strip_prefix("sha256:"));
        let there = |hex: &str| self.node.graph().join("images/layers").join(hex).exists();
        let layers = self.image.layers().into_iter().map(|(digest, _)| digest);
        layers.zip(hex).filter(|(_, hex)| there(hex)).map(|(digest, _)| digest).collect()
    }

    fn clear(&self, point: &str) {
        let node = &self.node;
        if node.isula(&["inspect", "--type", "container", "x"]).code() == 0 {
            node.ok(&["rm", "-f", "-v", "x"]);
        }
        for volume in node.ok(&["volume", "ls", "-q"]).lines() {
            node.ok(&["volume", "rm", volume]);
        }
        node.ok(&["image", "prune", "-af"]);
        deadline::until("nothing is left half made", || node.ingest().is_empty());
        let left = node.storage();
        let layers = left.iter().filter(|path| path.parent().is_some_and(|it| it.ends_with("images/layers"))).count();
        assert_eq!(layers, 1, "{point}: only the bystander's layer is left: {left:#?}");
        // Its manifest and its configuration.
        assert!(left.len() <= 3, "{point}: {left:#?}");
    }
}

fn try_one(world: &mut World, (point, when): (&str, When)) {
    world.prepare(when);
    world.faulty.forget();
    let before = world.node.events();
    world.node.kill9();
    world.node.launch_with(&[("ISULAD_FAILPOINT", point)]);
    let caller = world.node.spawn(&world.words(when));
    let status = world.node.died();
    assert_eq!(status.signal(), Some(9), "{point}: {status}");
    let answer = command::finish(caller, deadline::PATIENCE).expect("the caller does not hang");

    world.node.launch();
    world.node.verified();
    assert!(world.node.ingest().is_empty(), "{point}: {:?}", world.node.ingest());
    // A recorded intent is finished without a further request.
    if matches!(when, RemoveVolume | RemoveWithVolumes) {
        deadline::until("the removal is finished", || world.done(when));
    }
    let done = world.done(when);
    assert!(done || answer.code() != 0, "{point}: acknowledged, and not so");
    world.verify(point);
    let after = world.node.events();
    assert_eq!(after[..before.len()], before, "{point}: the journal before the crash is not what it was");
    assert!(after.iter().zip(1..).all(|(event, seq)| event.seq == seq), "{point}: a gap");

    // Asked again, it is done, and nothing is fetched that is there.
    let stored = world.stored();
    match point {
        "layer-stored" => assert!(!stored.is_empty() || when == Import, "{point}"),
        "layer-stored:3" => assert_eq!(stored.len(), 3, "{point}"),
        "image-before-record" | "image-recorded" => assert!(stored.len() == 3 || when == Import, "{point}"),
        _ => {}
    }
    world.faulty.forget();
    if !done || matches!(when, Pull | PullMoving | Load | Tag | CreateVolume) {
        world.node.ok(&world.words(when));
    }
    assert!(world.done(when), "{point}: done again");
    for layer in &stored {
        assert_eq!(world.faulty.count(|seen| seen.gets_blob(layer)), 0, "{point}: {layer} is fetched again");
    }
    match when {
        Fill => {
            let mut data = tree::read(&world.node.graph().join("volumes/x/_data"));
            let view = world.node.ok(&["image", "mount", "bystander:1"]);
            let mut wanted = tree::read(&Path::new(&view).join("bin"));
            // The directory itself was there before it was filled.
            for tree in [&mut data, &mut wanted] {
                tree.get_mut(Path::new("")).expect("it is there").mtime = (0, 0);
            }
            tree::assert_same(&data, &wanted);
            world.node.ok(&["image", "unmount", "bystander:1"]);
        }
        RemoveVolume => assert!(!world.node.graph().join("volumes/x").exists(), "{point}: its data is gone"),
        RemoveWithVolumes => assert_eq!(world.node.ok(&["volume", "ls", "-q"]), "", "{point}"),
        Pull | PullMoving | Load | Import | Tag | Untag | Remove | Prune | CreateVolume => {}
    }
    world.verify(point);
    world.clear(point);
}

fn try_all(wanted: impl Fn(When) -> bool) {
    let mut world = World::new();
    for (number, case) in CASES.iter().filter(|(_, when)| wanted(*when)).enumerate() {
        eprintln!("case {number}: {case:?}");
        try_one(&mut world, *case);
    }
    world.node.assert_clean_end();
}

#[test]
fn dies_pulling() {
    try_all(|when| matches!(when, Pull | PullMoving));
}

#[test]
fn dies_loading() {
    try_all(|when| matches!(when, Load | Import));
}

#[test]
fn dies_with_names() {
    try_all(|when| matches!(when, Tag | Untag | Remove | Prune));
}

#[test]
fn dies_with_volumes() {
    try_all(|when| matches!(when, CreateVolume | RemoveVolume | Fill | RemoveWithVolumes));
}

/// The remains of a pull without a second request go with the next prune.
#[test]
fn remains_of_an_abandoned_pull_are_pruned() {
    let mut world = World::new();
    world.node.kill9();
    world.node.launch_with(&[("ISULAD_FAILPOINT", "image-before-record")]);
    let caller = world.node.spawn(&world.words(Pull));
    world.node.died();
    let _ = command::finish(caller, deadline::PATIENCE);
    world.node.launch();
    world.node.verified();
    assert_eq!(world.stored().len(), 3);
    world.clear("image-before-record");
    world.node.assert_clean_end();
}

#[test]
fn the_host_goes_down_again_and_again() {
    let mut world = World::new();
    // At no named place: wherever it is after so many bytes.
    for at in [1_000, 60_000, 150_000, 199_000] {
        let layer = world.image.layers()[0].0.clone();
        world.faulty.once(move |seen| seen.gets_blob(&layer), integration::Fault::Stall(at));
        let pull = world.node.spawn(&world.words(Pull));
        let layer = world.image.layers()[0].0.clone();
        world.faulty.until("it hangs", move |seen| seen.gets_blob(&layer) && seen.sent == at);
        world.node.kill9();
        let _ = command::finish(pull, deadline::PATIENCE);
        world.faulty.forget();
        world.node.launch();
        world.node.verified();
        assert!(world.node.ingest().is_empty());
        world.verify("in the middle");
    }
    world.node.ok(&world.words(Pull));
    world.node.assert_clean_end();
}
