//! Volumes that were made for one container, and are removed with it.

use std::fs;
use std::sync::Arc;

use super::Volumes;
use super::fill::is_empty;
use crate::cause::chain;
use crate::definition::{Definition, MountKind};
use crate::domain::id::{ContainerId, VolumeName};
use crate::journal::record::Context;

impl Volumes {
    /// Removes the anonymous volumes of a failed creation. One with files in it belongs to another container, since
    /// this one never ran.
    pub(crate) async fn take_back(
        self: &Arc<Self>,
        container: ContainerId,
        definition: &Definition,
        context: &Context,
    ) {
        let names = anonymous(definition);
        let of = self.clone();
        let looked = tokio::task::spawn_blocking(move || {
            let empty = |name: &VolumeName| is_empty(&of.node.layout.volume_data(name)).unwrap_or(false);
            let (recorded, others): (Vec<_>, Vec<_>) =
                names.into_iter().filter(empty).partition(|name| of.ledger.get(name).is_some());
            // A crash between the directory and its record leaves these. An empty directory with this random name has
            // no other owner.
            for name in &others {
                let _ = fs::remove_dir(of.node.layout.volume_data(name))
                    .and_then(|()| fs::remove_dir(of.node.layout.volume(name)));
            }
            recorded
        });
        let names = looked.await.unwrap_or_default();
        self.remove_or_warn(container, names, context).await;
    }

    /// Removes the anonymous volumes of a container that is being removed. A volume that another container uses stays,
    /// and a failure does not stop the container's removal: the volume can then be removed by its name.
    pub(crate) async fn remove_with_container(
        self: &Arc<Self>,
        container: ContainerId,
        definition: &Definition,
        context: &Context,
    ) {
        self.remove_or_warn(container, anonymous(definition), context).await;
    }

    async fn remove_or_warn(self: &Arc<Self>, container: ContainerId, names: Vec<VolumeName>, context: &Context) {
        if names.is_empty() {
            return;
        }
        if let Err(error) = self.remove_anonymous(container, names, context).await {
            self.node.warn(format!("container {}: a volume of its own stays: {}", container.short(), chain(&error)));
        }
    }
}

fn anonymous(definition: &Definition) -> Vec<VolumeName> {
    let volumes = definition.mounts.iter().filter(|mount| mount.kind == MountKind::Volume && mount.anonymous);
    volumes.filter_map(|mount| mount.name.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::Node;
    use crate::records::Containers;

    #[tokio::test]
    async fn a_failed_creation_removes_only_its_own_empty_volumes() {
        let dir = tempfile::tempdir().unwrap();
        let (graph, state) = (dir.path().join("graph"), dir.path().join("state"));
        fs::create_dir(&graph).unwrap();
        let config = crate::config::Config { graph, state, ..crate::config::Config::built_in() };
        let journal = store::Journal::in_memory(store::Options::default()).unwrap();
        let host = crate::spec::Host::probe().unwrap();
        let node = Node::new(config, host, crate::domain::id::BootId::default());
        let containers = Containers::new(node.clone(), journal.clone());
        let volumes = Volumes::new(node.clone(), journal, containers);
        let context = Context::new(crate::journal::record::Actor::Engine);
        let mut definition = crate::spec::tests::definition();
        for (name, anonymous) in [("own", true), ("written", true), ("named", false)] {
            let name: VolumeName = name.parse().unwrap();
            let data = volumes.ensure(&name, anonymous, Default::default(), &context).await.unwrap();
            if name.as_str() == "written" {
                fs::write(data.join("x"), "").unwrap();
            }
            let bind = crate::spec::tests::bind(data.to_str().unwrap(), "/v");
            definition.mounts.push(crate::definition::Mount {
                kind: MountKind::Volume,
                name: name.to_string(),
                anonymous,
                ..bind
            });
        }
        // A crash between the directory and its record.
        let unrecorded: VolumeName = "unrecorded".parse().unwrap();
        fs::create_dir_all(node.layout.volume_data(&unrecorded)).unwrap();
        let of_unrecorded = crate::definition::Mount { name: unrecorded.to_string(), ..definition.mounts[0].clone() };
        definition.mounts.push(of_unrecorded);
        for _ in 0..2 {
            volumes.take_back(ContainerId::from_bytes([1; 32]), &definition, &context).await;
            let left: Vec<_> =
                volumes.ledger.snapshot().iter().map(|(name, _)| name).map(ToString::to_string).collect();
            assert_eq!(left, ["named", "written"]);
        }
        for gone in ["own", "unrecorded"] {
            assert!(!node.layout.volume(&gone.parse().unwrap()).exists(), "{gone}");
        }
    }
}
