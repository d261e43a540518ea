//! Creations with an engine of their own, without a runtime.

use super::*;
use crate::config::{Config, RuntimeEntry};
use crate::domain::id::BootId;
use crate::journal::record::Actor;
use crate::spec::Host;

fn engine(root: &std::path::Path) -> Arc<Engine> {
    let mut config = Config { graph: root.join("graph"), state: root.join("state"), ..Config::built_in() };
    config.runtimes.insert("none".to_owned(), RuntimeEntry { path: "/bin/sh".into(), args: vec![] });
    let journal = store::Journal::in_memory(store::Options::default()).unwrap();
    Engine::new(config, Host::probe().unwrap(), BootId::default(), journal)
}

fn spec(root: &std::path::Path) -> ContainerSpec {
    let (rootfs, runtime) = (root.to_string_lossy().into_owned(), "none".to_owned());
    ContainerSpec { rootfs, runtime, command: vec!["true".to_owned()], ..ContainerSpec::default() }
}

/// Records a container, with further commands, and removes the file of its definition.
async fn recorded(engine: &Arc<Engine>, root: &std::path::Path, further: &[Command]) -> ContainerId {
    let (caller, context) = (Arc::new(()), Context::new(Actor::Engine));
    let cancel = CancelToken::of(&caller);
    let prepared = prepare(engine, spec(root), &cancel, &context).await.unwrap();
    let (id, file) = (prepared.id, prepared.bundle.definition());
    record(engine, prepared, further, &cancel, &context).await.unwrap();
    std::fs::remove_file(file).unwrap();
    id
}

#[tokio::test]
async fn a_definition_that_is_needed_at_once_is_not_read_back() {
    let root = tempfile::tempdir().unwrap();
    let engine = engine(root.path());
    let further = Command::Rename { name: "later".parse().unwrap() };
    let id = recorded(&engine, root.path(), &[further]).await;
    let entity = engine.containers.get(&id).unwrap();
    assert!(entity.labels().is_some());
    assert_eq!(engine.containers.definition(&entity).unwrap().process.command, ["true"]);
    // A container that is only created takes no place in the cache.
    let id = recorded(&engine, root.path(), &[]).await;
    assert!(engine.containers.definition(&engine.containers.get(&id).unwrap()).is_err());
}

#[tokio::test]
async fn a_creation_whose_caller_has_gone_leaves_nothing() {
    let root = tempfile::tempdir().unwrap();
    let engine = engine(root.path());
    let (caller, context) = (Arc::new(()), Context::new(Actor::Engine));
    let cancel = CancelToken::of(&caller);
    let prepared = prepare(&engine, spec(root.path()), &cancel, &context).await.unwrap();
    let (id, dir) = (prepared.id, prepared.bundle.path().to_owned());
    assert!(dir.exists() && engine.containers.knows(&id));
    drop(caller);
    let gone = record(&engine, prepared, &[], &cancel, &context).await.unwrap_err();
    assert!(matches!(gone, ContainerError::CallerGone), "{gone}");
    assert!(!dir.exists() && !engine.containers.knows(&id));
}
