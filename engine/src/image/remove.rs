//! Taking names away, and images that nothing needs.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::Images;
use super::error::ImageError;
use super::find::names_to_try;
use super::records::Entity;
use super::reference::Reference;
use crate::domain::id::{Digest, Timestamp};
use crate::domain::image::{Command, Image};
use crate::failpoint;
use crate::journal::record::Context;
use crate::ledger::Snapshot;
use crate::rootfs;

/// The outcome of a removal.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Removal {
    /// Familiar.
    pub untagged: Vec<String>,
    pub deleted: Vec<Digest>,
    /// Bytes.
    pub reclaimed: u64,
}

/// Which images a prune is about.
#[derive(Debug, Default)]
pub(crate) struct Pruned {
    /// Images with a name are removed, too.
    pub all: bool,
    /// Only images that were added before.
    pub until: Option<Timestamp>,
    /// `key` or `key=value`; any of them.
    pub labels: Vec<String>,
}

impl Images {
    /// Gives an image one more name.
    pub(crate) async fn tag(self: &Arc<Self>, image: &str, name: &str, context: &Context) -> Result<(), ImageError> {
        let reference: Reference = name.parse()?;
        if reference.digest().is_some() || reference.tag().is_none() {
            return Err(ImageError::NotATag { name: name.to_owned() });
        }
        let _changes = self.changes.lock().await;
        let id = self.find(image)?.state.id;
        let name = reference.to_string();
        if self.ledger.named(&name).is_some_and(|entity| entity.state.id == id) {
            return Ok(());
        }
        let since = self.ledger.next_since();
        self.ledger.turn(&id, context, &Command::Tag { name: name.clone(), since }).await?;
        failpoint::hit(failpoint::IMAGE_TAGGED);
        super::add::untag_previous_holders(self, id, &[name], context).await;
        Ok(())
    }

    /// Takes away the name, or the image when it is its last one or is named by its id. By force also from an image
    /// that containers use: then it stays without a name.
    pub(crate) async fn remove(
        self: &Arc<Self>,
        reference: &str,
        force: bool,
        context: &Context,
    ) -> Result<Removal, ImageError> {
        self.store.ready().await;
        let changes = self.changes.lock().await;
        let entity = self.find(reference)?;
        let images = self.ledger.snapshot();
        let names = images.names_of(&entity.state);
        let named = reference.parse::<Reference>().ok().filter(|asked| is_name_of(&images, asked, &entity));
        if let Some(asked) = &named {
            let goes = names_that_go_with(asked, &names);
            if goes.len() < names.len() && names.iter().any(|name| !goes.contains(name) && is_tag(name)) {
                return self.untag(&entity.state, goes, context).await;
            }
        } else if !force && repositories(&names).len() > 1 {
            let names = names.iter().map(|name| familiar(name)).collect::<Vec<_>>().join(", ");
            return Err(ImageError::ManyNames { id: entity.state.id.short(), names });
        }
        let (mut removal, layers) = self.remove_record(&entity.state, names, force, context).await?;
        // Layers may be large: other changes need not wait for them.
        drop(changes);
        removal.reclaimed += self.collect_layers(layers, Duration::ZERO).await?;
        failpoint::hit(failpoint::IMAGE_SWEPT);
        Ok(removal)
    }

    /// Removes every image that matches and that nothing uses, and layers that no image needs.
    pub(crate) async fn prune(self: &Arc<Self>, pruned: Pruned, context: &Context) -> Result<Removal, ImageError> {
        self.store.ready().await;
        let mut total = Removal::default();
        for entity in self.ledger.snapshot().values() {
            let _changes = self.changes.lock().await;
            let Some(entity) = self.ledger.get(&entity.state.id) else { continue };
            let image = &entity.state;
            let names = self.ledger.snapshot().names_of(image);
            let young = pruned.until.is_some_and(|until| image.facts.added_at >= until);
            if image.facts.pinned
                || young
                || (!names.is_empty() && !pruned.all)
                || !self.has_label(image, &pruned).await
            {
                continue;
            }
            match self.remove_record(image, names, false, context).await {
                Ok((removal, _)) => total.add(removal),
                Err(ImageError::InUse { .. } | ImageError::Mounted { .. } | ImageError::BeingRemoved { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        let all = self.store.all_layers().into_iter().map(|(diff_id, _)| diff_id).collect();
        total.reclaimed += self.collect_layers(all, Duration::ZERO).await?;
        Ok(total)
    }

    async fn has_label(self: &Arc<Self>, image: &Image, pruned: &Pruned) -> bool {
        if pruned.labels.is_empty() {
            return true;
        }
        let (images, id) = (self.clone(), image.id);
        let config = tokio::task::spawn_blocking(move || images.config(&id)).await;
        let Ok(Ok(config)) = config else { return false };
        pruned.labels.iter().any(|label| super::list::has_label(&config.execution.labels, label))
    }

    async fn untag(
        self: &Arc<Self>,
        image: &Image,
        names: Vec<String>,
        context: &Context,
    ) -> Result<Removal, ImageError> {
        let mut removal = Removal::default();
        for name in names {
            self.ledger.turn(&image.id, context, &Command::Untag { name: name.clone() }).await?;
            failpoint::hit(failpoint::IMAGE_UNTAGGED);
            removal.untagged.push(familiar(&name));
        }
        Ok(removal)
    }

    /// Removes the record and the documents. Returns the bytes of the documents and the layers that the image needed.
    async fn remove_record(
        self: &Arc<Self>,
        image: &Image,
        names: Vec<String>,
        force: bool,
        context: &Context,
    ) -> Result<(Removal, Vec<Digest>), ImageError> {
        let id = image.id;
        // From here on no creation takes the image up; one that did before is a container by the time it lets go.
        let leaving = self.leases.leave(id);
        let user = self.user_of(&id).map(|container| container.short());
        let user = user.or_else(|| leaving.is_none().then(|| "that is being created".to_owned()));
        if let Some(container) = user {
            return match force {
                true => Ok((self.untag(image, names, context).await?, vec![])),
                false => Err(ImageError::InUse { id: id.short(), container }),
            };
        }
        self.give_view_back(&id, force).await?;
        self.ledger.turn(&id, context, &Command::Remove).await?;
        failpoint::hit(failpoint::IMAGE_REMOVED);
        let layers = self.layer_uses.remove(&id).to_vec();
        self.configs.forget(&id);
        let (images, manifest) = (self.clone(), image.facts.manifest);
        // The image is gone. Files of it that cannot be removed now are removed by the next start.
        let documents = tokio::task::spawn_blocking(move || {
            let store = &images.store;
            let removed =
                [store.put_cover(&id, None).map(|()| 0), store.remove_blob(&id), store.remove_blob(&manifest)];
            let mut bytes = 0;
            for outcome in removed {
                match outcome {
                    Ok(more) => bytes += more,
                    Err(error) => images.node.warn(crate::cause::chain(&error)),
                }
            }
            bytes
        });
        let reclaimed = documents.await.map_err(|source| ImageError::Task { source })?;
        let untagged = names.iter().map(|name| familiar(name)).collect();
        Ok((Removal { untagged, deleted: vec![id], reclaimed }, layers))
    }

    /// A view keeps the image's files in use.
    async fn give_view_back(self: &Arc<Self>, id: &Digest, force: bool) -> Result<(), ImageError> {
        let (path, id) = (self.store.dirs().view(id), *id);
        let looking = tokio::task::spawn_blocking(move || {
            if rootfs::is_mounted(&path) && !force {
                return Err(ImageError::Mounted { id: id.short(), path: path.display().to_string() });
            }
            rootfs::release(&path).map_err(|source| ImageError::View { id: id.short(), source: source.into() })
        });
        looking.await.map_err(|source| ImageError::Task { source })?
    }
}

impl Removal {
    fn add(&mut self, other: Self) {
        self.untagged.extend(other.untagged);
        self.deleted.extend(other.deleted);
        self.reclaimed += other.reclaimed;
    }
}

fn is_name_of(images: &Snapshot<Image>, asked: &Reference, entity: &Entity) -> bool {
    let named = names_to_try(asked).iter().find_map(|name| images.named(name));
    named.is_some_and(|named| named.state.id == entity.state.id)
}

/// The name itself, and with the last tag of a repository the digests in it: they would never be looked for.
fn names_that_go_with(asked: &Reference, names: &[String]) -> Vec<String> {
    let mut goes = names_to_try(asked);
    let within =
        |name: &String| name.parse::<Reference>().is_ok_and(|name| name.repository_name() == asked.repository_name());
    let other_tag = names.iter().any(|name| within(name) && is_tag(name) && !goes.contains(name));
    if asked.digest().is_none() && !other_tag {
        goes.extend(names.iter().filter(|name| within(name) && !is_tag(name)).cloned());
    }
    goes
}

fn is_tag(name: &str) -> bool {
    !name.contains('@')
}

fn repositories(names: &[String]) -> BTreeSet<String> {
    let tags = names.iter().filter(|name| is_tag(name));
    tags.filter_map(|name| Some(name.parse::<Reference>().ok()?.repository_name())).collect()
}

/// The name in its short form.
pub(crate) fn familiar(name: &str) -> String {
    name.parse::<Reference>().map_or_else(|_| name.to_owned(), |reference| reference.familiar())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn with_the_last_tag_of_a_repository_its_digests_go() {
        let digest = Digest([7; 32]);
        let by_digest = format!("docker.io/library/a@{digest}");
        let names: Vec<String> =
            ["docker.io/library/a:1", "docker.io/library/a:2", "h.example/b:1", &by_digest].map(str::to_owned).to_vec();
        let goes = |asked: &str, names: &[String]| names_that_go_with(&asked.parse().unwrap(), names);
        assert_eq!(goes("a:1", &names), ["docker.io/library/a:1"]);
        assert_eq!(goes("a:1", &names[..1]), ["docker.io/library/a:1"]);
        assert_eq!(goes("a:2", &names[1..]), ["docker.io/library/a:2".to_owned(), by_digest.clone()]);
        assert_eq!(goes("h.example/b:1", &names), ["h.example/b:1"]);
        assert_eq!(goes(&format!("a@{digest}"), &names), [by_digest]);
        assert_eq!(repositories(&names).len(), 2);
    }
}
