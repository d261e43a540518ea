//! Identical pulls are one.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::watch;
use tokio::task::AbortHandle;

use super::{Pulled, Wanted, pull};
use crate::domain::id::Digest;
use crate::image::Images;
use crate::image::error::ImageError;
use crate::image::manifest::Platform;
use crate::image::progress::Progress;
use crate::image::reference::Reference;
use crate::journal::record::Context;

/// The pulls under way.
#[derive(Debug, Default)]
pub(in crate::image) struct Pulls(Mutex<HashMap<Key, Weak<Pulling>>>);

/// A caller with other credentials does not join: they may not permit the same pull.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    reference: Reference,
    platform: Option<Platform>,
    credentials: Option<u64>,
}

type Outcome = Result<Pulled, Arc<ImageError>>;

/// A pull under way, or its outcome. It is cancelled when the last handle of it is dropped.
#[derive(Debug)]
pub(crate) struct Pulling {
    pub progress: Arc<Progress>,
    outcome: watch::Receiver<Option<Outcome>>,
    task: AbortHandle,
}

impl Pulling {
    /// Waits for the outcome.
    pub(crate) async fn outcome(&self) -> Result<Pulled, ImageError> {
        let mut outcome = self.outcome.clone();
        let settled = outcome.wait_for(Option::is_some).await.ok().and_then(|outcome| outcome.clone());
        settled.unwrap_or_else(|| Err(Arc::new(ImageError::GivenUp))).map_err(ImageError::Shared)
    }
}

impl Drop for Pulling {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Images {
    /// Begins to pull, or joins a pull of the same image that is under way.
    pub(crate) fn pull(self: &Arc<Self>, wanted: Wanted, context: Context) -> Arc<Pulling> {
        let key = Key {
            reference: wanted.reference.clone(),
            platform: wanted.platform.clone(),
            credentials: wanted.credentials.as_ref().map(fingerprint),
        };
        let mut pulls = self.pulls.0.lock().unwrap_or_else(PoisonError::into_inner);
        pulls.retain(|_, pulling| pulling.strong_count() > 0);
        if let Some(pulling) = pulls.get(&key).and_then(Weak::upgrade).filter(|pulling| !pulling.is_settled()) {
            return pulling;
        }
        let progress = Progress::new();
        let (sender, outcome) = watch::channel(None);
        let task = tokio::spawn({
            let (images, progress) = (self.clone(), progress.clone());
            async move {
                // Outlives the holds of the pull itself, so that a collection finds the layers unheld.
                let pulled_layers = PulledLayers { images: images.clone(), layers: Mutex::default() };
                let settled = pull(&images, &wanted, (&progress, &pulled_layers), &context).await;
                if let Err(error) = &settled {
                    let reference = wanted.reference.familiar();
                    tracing::warn!(%reference, error = %crate::cause::chain(error), "an image was not pulled");
                }
                if settled.as_ref().map_or_else(ImageError::may_pass, |_| true) {
                    pulled_layers.keep();
                }
                sender.send_replace(Some(settled.map_err(Arc::new)));
            }
        });
        let pulling = Arc::new(Pulling { progress, outcome, task: task.abort_handle() });
        pulls.insert(key, Arc::downgrade(&pulling));
        pulling
    }
}

impl Pulling {
    fn is_settled(&self) -> bool {
        self.outcome.borrow().is_some()
    }
}

/// A hash of credentials: they are compared by it, so that no secret stays in memory.
fn fingerprint(credentials: &crate::image::registry::Credentials) -> u64 {
    use crate::image::registry::Credentials;
    let mut hasher = DefaultHasher::new();
    match credentials {
        Credentials::Password { user, password } => (0, user, password.expose()).hash(&mut hasher),
        Credentials::IdentityToken { user, token } => (1, user, token.expose()).hash(&mut hasher),
        Credentials::RegistryToken { token } => (2, token.expose()).hash(&mut hasher),
    }
    hasher.finish()
}

/// The layers of a pull. Those that nothing else needs are collected when it is cancelled.
pub(super) struct PulledLayers {
    images: Arc<Images>,
    layers: Mutex<Vec<Digest>>,
}

impl PulledLayers {
    pub(super) fn note(&self, diff_ids: &[Digest]) {
        self.layers.lock().unwrap_or_else(PoisonError::into_inner).extend(diff_ids);
    }

    /// Keeps the layers: the pull has succeeded, or another attempt may use them.
    fn keep(self) {
        self.layers.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

impl Drop for PulledLayers {
    fn drop(&mut self) {
        let layers = std::mem::take(self.layers.get_mut().unwrap_or_else(PoisonError::into_inner));
        if !layers.is_empty() {
            self.images.collect_soon(layers);
        }
    }
}
