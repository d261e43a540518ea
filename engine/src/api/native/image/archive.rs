//! Load, import and save: archives in pieces.

use std::sync::Arc;
use std::time::Duration;

use cri_api::isula::v1::load_progress::Progress as WireProgress;
use cri_api::isula::v1::{
    Empty, ImportOpen, ImportRequest, ImportResponse, LoadDone, LoadOpen, LoadProgress, LoadRequest, LoadedImage,
    Piece, SaveRequest, import_request, load_request, save_request,
};
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use super::pull::{news, platform};
use crate::api::native::pieces::{Message, Part, opening, pass_on};
use crate::api::native::{ApiError, Native};
use crate::image::progress::{Progress, Seen};
use crate::image::reference::Reference;
use crate::image::{Format, ImageError, Import, Loaded, feed};
use crate::journal::record::Context;

const TICK: Duration = Duration::from_millis(100);
const IN_FLIGHT: usize = 16;

impl Message for LoadRequest {
    type Open = LoadOpen;

    fn part(self) -> Part<LoadOpen> {
        match self.request {
            Some(load_request::Request::Open(open)) => Part::Open(open),
            Some(load_request::Request::Bytes(bytes)) => Part::Bytes(bytes.into()),
            None => Part::Nothing,
        }
    }
}

impl Message for ImportRequest {
    type Open = ImportOpen;

    fn part(self) -> Part<ImportOpen> {
        match self.request {
            Some(import_request::Request::Open(open)) => Part::Open(open),
            Some(import_request::Request::Bytes(bytes)) => Part::Bytes(bytes.into()),
            None => Part::Nothing,
        }
    }
}

impl Native {
    pub(super) async fn stream_load(
        &self,
        mut requests: Streaming<LoadRequest>,
        context: Context,
    ) -> Result<ReceiverStream<Result<LoadProgress, Status>>, ApiError> {
        let open = opening(&mut requests).await?;
        let name = match open.tag.as_str() {
            "" => None,
            tag => Some(name_to_give(tag)?),
        };
        let (sender, receiver) = mpsc::channel(IN_FLIGHT);
        let images = self.engine.images.clone();
        tokio::spawn(async move {
            let (feed, pieces) = feed();
            let progress = Progress::new();
            let (has_received, received) = watch::channel(false);
            let loading = async {
                let observer = (&*progress, move || {
                    has_received.send_replace(true);
                });
                images.load(pieces, name, observer, &context).await
            };
            let sending = send_progress(&progress, received, &sender);
            let work = async {
                let (loaded, sent) = tokio::join!(loading, pass_on(requests, feed));
                // An error of the client explains the failure that it caused.
                sent.and(loaded.map_err(ApiError::from))
            };
            let outcome = tokio::select! {
                outcome = work => outcome,
                () = sending => return,
                () = sender.closed() => return,
            };
            for layer in news(&progress, &mut Seen::default()) {
                let _ = sender.send(Ok(LoadProgress { progress: Some(WireProgress::Layer(layer)) })).await;
            }
            let _ = sender.send(outcome.map(done).map_err(Status::from)).await;
        });
        Ok(ReceiverStream::new(receiver))
    }

    pub(super) async fn receive_import(
        &self,
        mut requests: Streaming<ImportRequest>,
        context: Context,
    ) -> Result<ImportResponse, ApiError> {
        let ImportOpen { name, changes, message, platform: wanted } = opening(&mut requests).await?;
        let name = match name.as_str() {
            "" => None,
            name => Some(name_to_give(name)?),
        };
        let import = Import { name, changes, message, platform: platform(&wanted)? };
        // Checked before the client sends a gigabyte.
        import.execution()?;
        let (feed, pieces) = feed();
        let importing = self.engine.images.import(import, pieces, &context);
        let (imported, sent) = tokio::join!(importing, pass_on(requests, feed));
        let id = sent.and(imported.map_err(ApiError::from))?;
        Ok(ImportResponse { id: id.to_string() })
    }

    pub(super) async fn stream_save(
        &self,
        request: SaveRequest,
    ) -> Result<ReceiverStream<Result<Piece, Status>>, ApiError> {
        if request.images.is_empty() {
            return Err(ApiError::invalid("an image to save is required"));
        }
        let format = match request.format() {
            save_request::Format::DockerArchive => Format::DockerArchive,
            save_request::Format::OciLayout => Format::OciLayout,
        };
        let mut pieces = self.engine.images.save(&request.images, format).await?;
        let (sender, receiver) = mpsc::channel(2);
        tokio::spawn(async move {
            while let Some(piece) = pieces.recv().await {
                let piece = piece.map(|bytes| Piece { bytes: bytes.into() });
                let piece = piece.map_err(|source| ApiError::from(ImageError::Send { source }).into());
                if sender.send(piece).await.is_err() {
                    return;
                }
            }
        });
        Ok(ReceiverStream::new(receiver))
    }
}

/// A reference to be given to an image, which cannot be a digest.
fn name_to_give(text: &str) -> Result<Reference, ApiError> {
    let reference: Reference = text.parse().map_err(ImageError::from)?;
    match reference.digest() {
        None => Ok(reference),
        Some(_) => Err(ImageError::NotATag { name: text.to_owned() }.into()),
    }
}

/// Sends the progress of a load until the client leaves.
async fn send_progress(
    progress: &Arc<Progress>,
    mut received: watch::Receiver<bool>,
    sender: &mpsc::Sender<Result<LoadProgress, Status>>,
) {
    if received.wait_for(|received| *received).await.is_ok() {
        let _ = sender.send(Ok(LoadProgress { progress: Some(WireProgress::Received(Empty {})) })).await;
    } else {
        // The load failed before: the outcome reports it.
        return std::future::pending().await;
    }
    let mut seen = Seen::default();
    let mut changed = progress.subscribe();
    loop {
        tokio::select! {
            _ = changed.changed() => {}
            () = tokio::time::sleep(TICK) => {}
        }
        for layer in news(progress, &mut seen) {
            if sender.send(Ok(LoadProgress { progress: Some(WireProgress::Layer(layer)) })).await.is_err() {
                return;
            }
        }
    }
}

fn done(loaded: Vec<Loaded>) -> LoadProgress {
    let image = |loaded: Loaded| LoadedImage { id: loaded.id.to_string(), names: loaded.names };
    LoadProgress { progress: Some(WireProgress::Done(LoadDone { images: loaded.into_iter().map(image).collect() })) }
}
