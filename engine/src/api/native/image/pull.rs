//! Pull: the engine does the work and may share it between clients; this sends its progress to one client, until the
//! client leaves.

use std::sync::Arc;
use std::time::Duration;

use cri_api::isula::v1::layer_progress::State;
use cri_api::isula::v1::pull_progress::Progress as WireProgress;
use cri_api::isula::v1::{self as wire, PullDone, PullProgress, PullRequest, PullResolved};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use crate::api::native::{ApiError, Native};
use crate::image::manifest::Platform;
use crate::image::progress::{LayerState, Progress, Seen, Stage};
use crate::image::reference::Reference;
use crate::image::registry::{Credentials, Secret};
use crate::image::{ImageError, Pulling, Wanted};
use crate::journal::record::Context;

/// How often counts of bytes are sent; changes of stage are sent at once.
const TICK: Duration = Duration::from_millis(100);
const IN_FLIGHT: usize = 16;

impl Native {
    pub(super) fn stream_pull(
        &self,
        request: PullRequest,
        context: Context,
    ) -> Result<ReceiverStream<Result<PullProgress, Status>>, ApiError> {
        let reference: Reference = request.image.parse().map_err(ImageError::from)?;
        let platform = platform(&request.platform)?;
        let wanted = Wanted { reference, platform, credentials: request.credentials.and_then(credentials) };
        let pulling = self.engine.images.pull(wanted, context);
        let (sender, receiver) = mpsc::channel(IN_FLIGHT);
        tokio::spawn(async move {
            tokio::select! {
                () = send_progress(&pulling, &sender) => {}
                () = sender.closed() => {}
            }
        });
        Ok(ReceiverStream::new(receiver))
    }
}

/// Sends the progress of a pull, up to its outcome.
async fn send_progress(pulling: &Arc<Pulling>, sender: &mpsc::Sender<Result<PullProgress, Status>>) {
    let mut seen = Seen::default();
    let mut is_resolved = false;
    let mut changed = pulling.progress.subscribe();
    let outcome = pulling.outcome();
    tokio::pin!(outcome);
    loop {
        let settled = tokio::select! {
            settled = &mut outcome => Some(settled),
            _ = changed.changed() => None,
            () = tokio::time::sleep(TICK) => None,
        };
        if let Some((digest, layers)) = pulling.progress.state() {
            if !is_resolved {
                is_resolved = true;
                let size = |layer: &LayerState| wire::LayerSize { digest: layer.digest.to_string(), size: layer.total };
                let layers = layers.iter().map(size).collect();
                let resolved = WireProgress::Resolved(PullResolved { digest: digest.to_string(), layers });
                let _ = sender.send(Ok(PullProgress { progress: Some(resolved) })).await;
            }
            for layer in seen.news(&layers) {
                let _ =
                    sender.send(Ok(PullProgress { progress: Some(WireProgress::Layer(layer_progress(&layer))) })).await;
            }
        }
        let Some(settled) = settled else { continue };
        let last = settled.map(|pulled| PullProgress {
            progress: Some(WireProgress::Done(PullDone {
                id: pulled.id.to_string(),
                reference: pulled.reference.familiar(),
                up_to_date: pulled.up_to_date,
            })),
        });
        let _ = sender.send(last.map_err(|error| ApiError::from(error).into())).await;
        return;
    }
}

/// The layers that have changed since `seen`.
pub(super) fn news(progress: &Progress, seen: &mut Seen) -> Vec<wire::LayerProgress> {
    let layers = progress.state().map(|(_, layers)| layers).unwrap_or_default();
    seen.news(&layers).iter().map(layer_progress).collect()
}

fn layer_progress(layer: &LayerState) -> wire::LayerProgress {
    let state = match layer.stage {
        Stage::Waiting => State::Waiting,
        Stage::Pulling => State::Pulling,
        Stage::Storing => State::Storing,
        Stage::Done => State::Done,
        Stage::Exists => State::Exists,
        Stage::Retrying => State::Retrying,
    };
    wire::LayerProgress {
        digest: layer.digest.to_string(),
        state: state.into(),
        current: layer.current,
        total: layer.total,
    }
}

pub(super) fn platform(text: &str) -> Result<Option<Platform>, ApiError> {
    match text {
        "" => Ok(None),
        text => text.parse().map(Some).map_err(|error| ApiError::invalid(format!("{error}"))),
    }
}

/// The credentials; empty ones count as none.
fn credentials(given: wire::Credentials) -> Option<Credentials> {
    let wire::Credentials { username, password, identity_token, registry_token } = given;
    if !registry_token.is_empty() {
        Some(Credentials::RegistryToken { token: Secret::new(registry_token) })
    } else if !identity_token.is_empty() {
        Some(Credentials::IdentityToken { user: username, token: Secret::new(identity_token) })
    } else if !username.is_empty() || !password.is_empty() {
        Some(Credentials::password(username, password))
    } else {
        None
    }
}
