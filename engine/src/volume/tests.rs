use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;

use super::*;
use crate::config::Config;
use crate::definition::{Definition, Mount, MountKind};
use crate::domain::container::testing::card;
use crate::domain::container::{self, Card};
use crate::domain::id::{BootId, ContainerId};
use crate::domain::volume::Command;
use crate::journal::record::{Actor, Context};
use crate::spec::Host;

struct World {
    node: Arc<Node>,
    containers: Arc<Containers>,
    volumes: Arc<Volumes>,
    context: Context,
    _root: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let (graph, state) = (root.path().join("graph"), root.path().join("state"));
        fs::create_dir(&graph).unwrap();
        let config = Config { graph, state, ..Config::built_in() };
        let journal = store::Journal::in_memory(store::Options::default()).unwrap();
        let node = Node::new(config, Host::probe().unwrap(), BootId::default());
        let containers = Containers::new(node.clone(), journal.clone());
        let volumes = Volumes::new(node.clone(), journal, containers.clone());
        Self { node, containers, volumes, context: Context::new(Actor::Engine), _root: root }
    }

    async fn ensure(&self, text: &str, anonymous: bool) -> PathBuf {
        self.volumes.ensure(&name(text), anonymous, BTreeMap::new(), &self.context).await.unwrap()
    }

    async fn remove(&self, text: &str) -> Result<(), VolumeError> {
        self.volumes.remove(&name(text), &self.context).await
    }

    fn phase(&self, text: &str) -> Option<Phase> {
        self.volumes.ledger.get(&name(text)).map(|entity| entity.state.phase)
    }

    /// A container that mounts these volumes; with none of them, one with an unreadable definition.
    async fn container(&self, byte: u8, volumes: &[&str]) -> ContainerId {
        let id = ContainerId::from_bytes([byte; 32]);
        let mut card = Card { name: format!("c{byte}").parse().unwrap(), ..card() };
        if !volumes.is_empty() {
            let mounts = volumes.iter().map(|name| mount(name)).collect();
            let path = self.node.layout.bundle("runc", &id).definition();
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            let definition = Definition { mounts, ..crate::spec::tests::definition() };
            card.definition = crate::definition::write(&path, &definition).unwrap().0;
        }
        self.containers.turn(&id, &self.context, &container::Command::Create { id, card }).await.unwrap();
        id
    }

    async fn forget_container(&self, id: ContainerId) {
        let remove = container::Command::Remove { force: false, volumes: false };
        self.containers.turn_all(&id, &self.context, &[remove, container::Command::ReportRemoved]).await.unwrap();
        let _ = fs::remove_dir_all(self.node.layout.bundle("runc", &id).definition().parent().unwrap());
    }
}

fn name(text: &str) -> VolumeName {
    text.parse().unwrap()
}

fn mount(name: &str) -> Mount {
    Mount {
        kind: MountKind::Volume,
        source: String::new(),
        target: format!("/{name}"),
        read_only: false,
        propagation: String::new(),
        options: vec![],
        create_source: false,
        non_recursive: false,
        name: name.to_owned(),
        anonymous: false,
        copy: true,
    }
}

#[tokio::test]
async fn a_volume_with_an_unreadable_record_is_taken_over_with_its_data() {
    let world = World::new();
    let data = world.ensure("data", false).await;
    fs::write(data.join("file"), "kept").unwrap();
    world.volumes.ledger.forget(&name("data"));
    assert_eq!(world.ensure("data", false).await, data);
    assert_eq!(fs::read_to_string(data.join("file")).unwrap(), "kept");
    assert_eq!(world.volumes.ledger.get(&name("data")).unwrap().state.version, 2);
    world.remove("data").await.unwrap();
    assert!(!data.exists());
}

#[test]
fn names_are_short_enough_for_a_stream() {
    for good in ["a", "0", "data_1.x-y", &"n".repeat(128)] {
        assert_eq!(good.parse::<VolumeName>().unwrap().as_str(), good);
    }
    for bad in ["", ".hidden", "-x", "_data", "a/b", "a b", "ü", &"n".repeat(129)] {
        assert!(bad.parse::<VolumeName>().is_err(), "{bad}");
    }
    assert_ne!(anonymous_name().unwrap(), anonymous_name().unwrap());
}

#[tokio::test]
async fn a_volume_is_made_once_and_stays_unchanged() {
    let world = World::new();
    let path = world.ensure("data", false).await;
    assert_eq!(path, world.node.layout.graph.join("volumes/data/_data"));
    fs::write(path.join("file"), "kept").unwrap();
    let labels = BTreeMap::from([("late".to_owned(), String::new())]);
    assert_eq!(world.volumes.ensure(&name("data"), true, labels, &world.context).await.unwrap(), path);
    let volume = world.volumes.ledger.get(&name("data")).unwrap().state.clone();
    assert_eq!((volume.anonymous, volume.labels.len(), volume.version), (false, 0, 1));
    assert_eq!(fs::read_to_string(path.join("file")).unwrap(), "kept");
    // An operator has deleted too much: it can be used again.
    fs::remove_dir_all(world.node.layout.volumes()).unwrap();
    assert!(world.ensure("data", false).await.is_dir());
}

#[tokio::test]
async fn a_directory_that_no_record_knows_is_taken_over() {
    let world = World::new();
    let data = world.node.layout.volume_data(&name("old"));
    fs::create_dir_all(&data).unwrap();
    fs::write(data.join("file"), "precious").unwrap();
    assert_eq!(world.phase("old"), None);
    assert!(matches!(world.remove("old").await, Err(VolumeError::NoSuchVolume { .. })));
    assert_eq!(world.ensure("old", false).await, data);
    assert_eq!(fs::read_to_string(data.join("file")).unwrap(), "precious");
    // A file is no volume.
    fs::write(world.node.layout.volumes().join("file"), "").unwrap();
    let made = world.volumes.ensure(&name("file"), false, BTreeMap::new(), &world.context).await;
    assert!(matches!(made, Err(VolumeError::Io { .. })), "{made:?}");
}

#[tokio::test]
async fn a_volume_in_use_stays() {
    let world = World::new();
    world.ensure("data", false).await;
    world.ensure("other", false).await;
    let id = world.container(1, &["data", "more"]).await;
    let error = world.remove("data").await.unwrap_err();
    assert_eq!(error.to_string(), format!("volume data is in use: container {}", id.short()));
    assert_eq!(world.phase("data"), Some(Phase::Ready));
    world.remove("other").await.unwrap();
    world.forget_container(id).await;
    world.remove("data").await.unwrap();
    assert_eq!(fs::read_dir(world.node.layout.volumes()).unwrap().count(), 0);
    assert!(matches!(world.remove("data").await, Err(VolumeError::NoSuchVolume { .. })));
}

#[tokio::test]
async fn an_unreadable_container_may_use_any_volume() {
    let world = World::new();
    world.ensure("data", true).await;
    let id = world.container(1, &[]).await;
    let error = world.remove("data").await.unwrap_err().to_string();
    assert!(error.contains("perhaps container") && error.contains(&id.short()), "{error}");
    assert_eq!(world.volumes.prune(true, |_| true, &world.context).await, Reclaimed::default());
}

#[tokio::test]
async fn a_leased_volume_stays() {
    let world = World::new();
    world.ensure("data", false).await;
    let lease = world.volumes.lease([name("data")]).await.unwrap();
    world.ensure("data", false).await;
    let error = world.remove("data").await.unwrap_err();
    assert!(matches!(&error, VolumeError::InUse { users, .. } if *users == [User::Creation]), "{error}");
    drop(lease);
    world.remove("data").await.unwrap();
}

#[tokio::test]
async fn a_container_takes_its_anonymous_volumes_with_it() {
    let world = World::new();
    for (text, anonymous) in [("mine", true), ("shared", true), ("named", false)] {
        world.ensure(text, anonymous).await;
    }
    let id = world.container(1, &["mine", "shared", "named"]).await;
    world.container(2, &["shared"]).await;
    let names = || ["mine", "shared", "named", "never"].map(name);
    world.volumes.remove_anonymous(id, names(), &world.context).await.unwrap();
    assert_eq!(world.phase("mine"), None);
    assert_eq!((world.phase("shared"), world.phase("named")), (Some(Phase::Ready), Some(Phase::Ready)));
    world.volumes.remove_anonymous(id, names(), &world.context).await.unwrap();
}

#[tokio::test]
async fn an_interrupted_removal_is_finished() {
    let world = World::new();
    for text in ["begun", "moved", "deleted", "kept"] {
        fs::write(world.ensure(text, false).await.join("file"), "x").unwrap();
    }
    let layout = &world.node.layout;
    for text in ["begun", "moved", "deleted"] {
        world.volumes.ledger.turn(&name(text), &world.context, &Command::Remove).await.unwrap();
    }
    fs::rename(layout.volume(&name("moved")), layout.volume_removing(&name("moved"))).unwrap();
    fs::remove_dir_all(layout.volume(&name("deleted"))).unwrap();
    // Meanwhile a creation cannot use it.
    let made = world.volumes.ensure(&name("begun"), false, BTreeMap::new(), &world.context).await;
    assert!(matches!(made, Err(VolumeError::BeingRemoved { .. })), "{made:?}");
    world.volumes.finish_removals().await;
    assert!(world.node.warnings().is_empty(), "{:?}", world.node.warnings());
    let left: Vec<_> = world.volumes.ledger.snapshot().iter().map(|(name, _)| name).map(ToString::to_string).collect();
    assert_eq!(left, ["kept"]);
    let left: Vec<_> = fs::read_dir(layout.volumes()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["kept"]);
}

#[tokio::test]
async fn a_removal_follows_no_link() {
    let world = World::new();
    let outside = world.node.layout.graph.join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("file"), "kept").unwrap();
    let data = world.ensure("data", false).await;
    std::os::unix::fs::symlink(&outside, data.join("link")).unwrap();
    world.remove("data").await.unwrap();
    // The volume itself may be a link, too: an operator has moved it to a larger disk.
    fs::create_dir_all(outside.join("_data")).unwrap();
    std::os::unix::fs::symlink(&outside, world.node.layout.volume(&name("far"))).unwrap();
    world.ensure("far", false).await;
    world.remove("far").await.unwrap();
    assert_eq!(fs::read_to_string(outside.join("file")).unwrap(), "kept");
    assert_eq!(fs::read_dir(world.node.layout.volumes()).unwrap().count(), 0);
}

#[tokio::test]
async fn a_prune_removes_unused_volumes() {
    let world = World::new();
    for (text, anonymous) in [("a1", true), ("a2", true), ("n1", false), ("n2", false)] {
        fs::write(world.ensure(text, anonymous).await.join("file"), vec![1; 10_000]).unwrap();
    }
    let id = world.container(1, &["a2", "n2"]).await;
    let pruned = world.volumes.prune(false, |_| true, &world.context).await;
    assert_eq!(pruned.names, [name("a1")]);
    assert!(pruned.bytes >= 10_000, "{}", pruned.bytes);
    let pruned = world.volumes.prune(true, |volume| volume.name.as_str() != "n1", &world.context).await;
    assert_eq!(pruned, Reclaimed::default());
    world.forget_container(id).await;
    let pruned = world.volumes.prune(true, |_| true, &world.context).await;
    assert_eq!(pruned.names, ["a2", "n1", "n2"].map(name));
}

#[tokio::test]
async fn leftovers_of_a_killed_creation_are_swept_and_data_is_kept() {
    use std::os::unix::fs::PermissionsExt;
    if !nix::unistd::geteuid().is_root() {
        return; // Root's directories can be made by root alone.
    }
    let world = World::new();
    let known = world.ensure("known", false).await;
    let all = world.node.layout.volumes();
    let mode = |path: &str, mode| fs::set_permissions(all.join(path), fs::Permissions::from_mode(mode)).unwrap();
    for (dir, made) in
        [("early", vec![]), ("late", vec!["_data"]), ("full", vec!["_data"]), ("prepared", vec!["_data"])]
    {
        fs::create_dir(all.join(dir)).unwrap();
        mode(dir, files::MODE);
        for data in made {
            fs::create_dir(all.join(dir).join(data)).unwrap();
            mode(&format!("{dir}/{data}"), files::DATA_MODE);
        }
    }
    fs::write(all.join("full/_data/precious"), "x").unwrap();
    mode("prepared/_data", 0o777);
    fs::create_dir(all.join(".removing-gone")).unwrap();
    fs::write(all.join("no-volume"), "x").unwrap();

    world.volumes.sweep().await;
    let mut left: Vec<_> =
        fs::read_dir(&all).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    left.sort();
    assert_eq!(left, [".removing-gone", "full", "known", "no-volume", "prepared"]);
    assert!(known.is_dir() && all.join("full/_data/precious").exists());
    let warnings = world.node.warnings().join("\n");
    assert!(warnings.contains("volume early, whose creation never ended: removed"), "{warnings}");
    assert!(warnings.contains("volume late, whose creation never ended: removed"), "{warnings}");
    assert!(warnings.contains("kept: `.removing-gone`, `full`, `no-volume`, `prepared`"), "{warnings}");
    assert_eq!(world.ensure("full", false).await, all.join("full/_data"), "it is taken over");
}

#[tokio::test]
async fn a_volume_that_a_container_may_mount_is_not_swept() {
    use std::os::unix::fs::PermissionsExt;
    if !nix::unistd::geteuid().is_root() {
        return; // Root's directories can be made by root alone.
    }
    let world = World::new();
    world.ensure("known", false).await;
    // Directories as a creation makes them, without records, as after the loss of a store.
    let all = world.node.layout.volumes();
    for name in ["mounted", "free"] {
        for (dir, mode) in [(name.to_owned(), files::MODE), (format!("{name}/_data"), files::DATA_MODE)] {
            fs::create_dir(all.join(&dir)).unwrap();
            fs::set_permissions(all.join(dir), fs::Permissions::from_mode(mode)).unwrap();
        }
    }
    let left = || ["mounted/_data", "free/_data"].map(|dir| all.join(dir).exists());
    world.container(1, &["mounted"]).await;
    let unreadable = world.container(2, &[]).await;
    world.volumes.sweep().await;
    assert_eq!(left(), [true, true], "one definition cannot be read");
    world.forget_container(unreadable).await;
    for root in [world.node.layout.engines(), world.node.layout.state.clone()] {
        let unknown = root.join("crun").join("e".repeat(64));
        fs::create_dir_all(&unknown).unwrap();
        world.volumes.sweep().await;
        assert_eq!(left(), [true, true], "`{}` is of an unknown container", unknown.display());
        fs::remove_dir(unknown).unwrap();
    }
    world.volumes.sweep().await;
    assert_eq!(left(), [true, false]);
}

#[tokio::test]
async fn a_volume_may_be_used_by_a_container_whose_directory_cannot_be_listed() {
    let world = World::new();
    world.ensure("v", false).await;
    let runtime = world.node.layout.engines().join("crun");
    fs::create_dir_all(runtime.parent().unwrap()).unwrap();
    std::os::unix::fs::symlink("crun", &runtime).unwrap();
    let error = world.remove("v").await.unwrap_err();
    assert!(matches!(&error, VolumeError::InUse { users, .. } if matches!(users[..], [User::Unlisted(_)])), "{error}");
    assert!(error.to_string().contains("perhaps an unknown container: cannot list"), "{error}");
    fs::remove_file(runtime).unwrap();
    world.remove("v").await.unwrap();
}

/// At a second start after the loss of the store, which is whole again and knows less than there is.
#[tokio::test]
async fn a_whole_store_keeps_volumes_that_an_unknown_container_may_use() {
    let world = World::new();
    world.node.settle_trust(crate::node::Trust::Whole);
    world.ensure("v", true).await;
    let id = ContainerId::from_bytes([9; 32]);
    let (bundle, state) = (world.node.layout.bundle("runc", &id), world.node.layout.state_dir("runc", &id));
    let bundle = bundle.definition().parent().unwrap().to_owned();
    let is_kept = async || {
        let refused = matches!(world.remove("v").await, Err(VolumeError::InUse { .. }));
        refused && world.volumes.prune(true, |_| true, &world.context).await == Reclaimed::default()
    };
    fs::create_dir_all(state.path()).unwrap();
    assert!(is_kept().await, "it may run");
    fs::remove_dir(state.path()).unwrap();
    fs::create_dir_all(&bundle).unwrap();
    fs::write(bundle.join("definition.json"), "damaged").unwrap();
    assert!(is_kept().await, "its definition cannot be read");
    let write = |mounts| {
        let (id, runtime) = (id.to_string(), "runc".to_owned());
        let definition = Definition { id, runtime, mounts, ..crate::spec::tests::definition() };
        fs::remove_file(bundle.join("definition.json")).unwrap();
        crate::definition::write(&bundle.join("definition.json"), &definition).unwrap();
    };
    write(vec![mount("v")]);
    assert!(is_kept().await, "its definition names it");
    write(vec![mount("other")]);
    world.remove("v").await.unwrap();
    world.ensure("v", true).await;
    // A killed creation leaves a bundle without a definition.
    fs::remove_file(bundle.join("definition.json")).unwrap();
    world.remove("v").await.unwrap();
}

#[tokio::test]
async fn a_removal_in_a_damaged_store_is_not_finished_by_itself() {
    let world = World::new();
    for text in ["old", "used"] {
        fs::write(world.ensure(text, false).await.join("file"), "x").unwrap();
        world.volumes.ledger.turn(&name(text), &world.context, &Command::Remove).await.unwrap();
    }
    let id = world.container(1, &["used"]).await;
    // Without any doubt noted, a user keeps its volume.
    world.volumes.finish_removals().await;
    assert_eq!((world.phase("old"), world.phase("used")), (None, Some(Phase::Removing)));
    assert!(world.node.layout.volume_data(&name("used")).join("file").exists());
    world.forget_container(id).await;
    world.volumes.note_removals_in_doubt().await;
    // At every later start, until it is asked for.
    for _ in 0..2 {
        world.volumes.finish_removals().await;
        assert!(world.node.layout.volume_data(&name("used")).join("file").exists());
    }
    assert!(world.node.warnings().iter().any(|warning| warning.contains("`isula volume rm used` removes it")));
    world.remove("used").await.unwrap();
    world.volumes.finish_removals().await;
    assert!(!world.node.layout.volumes_in_doubt().exists());
}
