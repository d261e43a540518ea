//! Tests of containers on disk that the store does not know.

mod catch_up;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;

use super::*;
use crate::config::Config;
use crate::definition::{self, Definition, Mount, MountKind};
use crate::domain::id::BootId;
use crate::spec::Host;

fn engine(root: &Path) -> Arc<Engine> {
    let (graph, state) = (root.join("graph"), root.join("state"));
    fs::create_dir(&graph).unwrap();
    let config = Config { graph, state, ..Config::built_in() };
    let journal = store::Journal::in_memory(store::Options::default()).unwrap();
    Engine::new(config, Host::probe().unwrap(), BootId::default(), journal)
}

#[tokio::test]
async fn networks_of_an_unknown_container_with_a_directory_are_kept() {
    let root = tempfile::tempdir().unwrap();
    let engine = engine(root.path());
    let id = "a".repeat(64);
    let attachment = format!("{id}-1-aabbccdd");
    let pin = engine.networks.netns(&id, 1, "aabbccdd");
    let kept = || (networks::is_attached(&engine, &attachment), networks::is_recorded(&engine, &pin, &"a".repeat(16)));
    assert_eq!(kept(), (false, false), "there are no directories");
    let (engines, state) = (engine.node.layout.engines(), engine.node.layout.state.clone());
    for root in [&engines, &state] {
        fs::create_dir_all(root.join("runc").join("b".repeat(64))).unwrap();
        fs::write(root.join("a-file"), "").unwrap();
        assert_eq!(kept(), (false, false), "another's");
        let own = root.join("crun").join(&id);
        fs::create_dir_all(&own).unwrap();
        assert_eq!(kept(), (true, true), "`{}`", own.display());
        fs::remove_dir(own).unwrap();
    }
    assert_eq!(kept(), (false, false), "they are gone");
    symlink("loop", state.join("loop")).unwrap();
    assert_eq!(kept(), (true, true), "it cannot be listed");
}

#[tokio::test]
async fn a_recorded_pin_is_recognised_by_another_spelling_of_its_directory() {
    let root = tempfile::tempdir().unwrap();
    let engine = engine(root.path());
    let id = ContainerId::from_bytes([1; 32]);
    let path = engine.node.layout.bundle("runc", &id).definition();
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let definition = Definition { id: id.to_string(), runtime: "runc".to_owned(), ..crate::spec::tests::definition() };
    definition::write(&path, &definition).unwrap();
    rebuild::rebuild(&engine).await;
    let owner: String = id.to_string().chars().take(16).collect();
    let pin = engine.networks.netns(&id.to_string(), 1, "aabbccdd");
    let is_recorded = |path: &Path| networks::is_recorded(&engine, path, &owner);
    let (name, place) = (pin.file_name().unwrap(), engine.node.layout.bundle("runc", &id).network());
    for dir in [pin.parent().unwrap(), Path::new("/run/netns"), Path::new("/an/older/netns-dir")] {
        assert!(!is_recorded(&pin));
        let record =
            crate::network::record::Record::new("c".to_owned(), format!("{id}-1-aabbccdd"), dir.join(name), vec![]);
        record.write(&place.record).unwrap();
        assert!(is_recorded(&pin), "`{}`", dir.display());
        assert!(!is_recorded(&engine.networks.netns(&id.to_string(), 2, "aabbccdd")));
        fs::remove_file(&place.record).unwrap();
    }
}

/// A directory that cannot be listed, also by root.
fn unlistable(path: &Path) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    symlink(path.file_name().unwrap(), path).unwrap();
}

#[tokio::test]
async fn nothing_is_swept_while_directories_of_containers_cannot_be_listed() {
    let root = tempfile::tempdir().unwrap();
    let engine = engine(root.path());
    engine.node.settle_trust(Trust::Whole);
    let id = "c".repeat(64);
    let unborn = engine.node.layout.engines().join("runc").join(&id);
    let place = engine.node.layout.mounts().join(&id);
    let state = engine.node.layout.state.join("runc").join(&id);
    let make = || [&unborn, &place, &state].iter().for_each(|dir| fs::create_dir_all(dir).unwrap());
    for hidden in [engine.node.layout.engines().join("crun"), engine.node.layout.state.join("crun")] {
        make();
        unlistable(&hidden);
        sweep::sweep(&engine).await;
        assert!(
            unborn.exists() && place.exists() && state.exists(),
            "`{}` may hold what they belong to",
            hidden.display()
        );
        let expected = format!("what belongs to no container is left alone: cannot list `{}`", hidden.display());
        assert!(
            engine.node.warnings().iter().any(|warning| warning.starts_with(&expected)),
            "{:?}",
            engine.node.warnings()
        );
        fs::remove_file(hidden).unwrap();
    }
    sweep::sweep(&engine).await;
    assert!(!unborn.exists() && !place.exists() && !state.exists(), "{:?}", engine.node.warnings());
}

#[test]
fn an_unlistable_directory_may_hold_containers() {
    let root = tempfile::tempdir().unwrap();
    assert!(!has_containers(&root.path().join("missing")));
    fs::write(root.path().join("boot-id"), "").unwrap();
    assert!(!has_containers(root.path()));
    unlistable(&root.path().join("runc"));
    assert!(has_containers(root.path()));
}

#[tokio::test]
async fn a_rebuild_warns_of_unlistable_directories() {
    let root = tempfile::tempdir().unwrap();
    let engine = engine(root.path());
    unlistable(&engine.node.layout.engines().join("runc"));
    rebuild::rebuild(&engine).await;
    let warnings = engine.node.warnings().join("\n");
    assert!(warnings.contains("containers may be missing in the store and are not rebuilt: cannot list"), "{warnings}");
}

#[tokio::test]
async fn a_rebuilt_container_has_its_volumes() {
    let root = tempfile::tempdir().unwrap();
    let engine = engine(root.path());
    let id = ContainerId::from_bytes([1; 32]);
    let mount = |name: &str, anonymous| Mount {
        kind: MountKind::Volume,
        source: String::new(),
        target: format!("/{name}"),
        read_only: false,
        propagation: String::new(),
        options: vec![],
        create_source: false,
        non_recursive: false,
        name: name.to_owned(),
        anonymous,
        copy: true,
    };
    let mounts = vec![mount("named", false), mount("own", true), mount("gone", false)];
    let definition =
        Definition { id: id.to_string(), runtime: "runc".to_owned(), mounts, ..crate::spec::tests::definition() };
    let path = engine.node.layout.bundle("runc", &id).definition();
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    definition::write(&path, &definition).unwrap();
    for name in ["named", "own"] {
        fs::create_dir_all(engine.node.layout.volumes().join(name).join("_data")).unwrap();
    }
    rebuild::rebuild(&engine).await;
    assert!(engine.containers.get(&id).is_some(), "{:?}", engine.node.warnings());
    let known = engine.volumes.ledger().snapshot();
    let known: Vec<_> = known.iter().map(|(name, entity)| (name.as_str(), entity.state.anonymous)).collect();
    assert_eq!(known, [("named", false), ("own", true)]);
    assert!(!engine.node.layout.volumes().join("gone").exists());
    let warnings = engine.node.warnings().join("\n");
    assert!(warnings.contains("volume own was missing in the store, rebuilt from"), "{warnings}");
}
