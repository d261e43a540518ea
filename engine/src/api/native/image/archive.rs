//! Load, import and save: archives in pieces.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cri_api::isula::v1::load_progress::Progress as Told;
use cri_api::isula::v1::{
    Empty, ImportOpen, ImportRequest, ImportResponse, LoadDone, LoadOpen, LoadProgress, LoadRequest, LoadedImage,
    Piece, SaveRequest, import_request, load_request, save_request,
};
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use super::pull::{news, platform};
use crate::api::native::{ApiError, Native};
use crate::image::progress::{Progress, Seen};
use crate::image::reference::Reference;
use crate::image::{Feed, Format, ImageError, Import, Loaded, feed};
use crate::journal::record::Context;

const TICK: Duration = Duration::from_millis(100);
const IN_FLIGHT: usize = 16;

/// A client that sends nothing for this long is not going to.
const SILENCE: Duration = Duration::from_secs(120);

/// A request of a stream: its opening, or some bytes.
trait Message {
    type Open;
    fn part(self) -> Part<Self::Open>;
}

enum Part<O> {
    Open(O),
    Bytes(Bytes),
    Nothing,
}

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
        let engine = self.engine.clone();
        tokio::spawn(async move {
            let (feed, pieces) = feed();
            let progress = Progress::new();
            let (has_received, received) = watch::channel(false);
            let loading = async {
                let told = (&*progress, move || {
                    has_received.send_replace(true);
                });
                engine.load_images(pieces, name, told, &context).await
            };
            let telling = tell(&progress, received, &sender);
            let work = async {
                let (loaded, sent) = tokio::join!(loading, pass_on(requests, feed));
                // What the client has done wrong explains what came of it.
                sent.and(loaded.map_err(ApiError::from))
            };
            let outcome = tokio::select! {
                outcome = work => outcome,
                () = telling => return,
                () = sender.closed() => return,
            };
            for layer in news(&progress, &mut Seen::default()) {
                let _ = sender.send(Ok(LoadProgress { progress: Some(Told::Layer(layer)) })).await;
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
        // Before the client sends a gigabyte.
        import.execution()?;
        let (feed, pieces) = feed();
        let importing = self.engine.import_image(import, pieces, &context);
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
        let mut pieces = self.engine.save_images(&request.images, format).await?;
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

/// A digest is what an image has, not what it is given.
fn name_to_give(text: &str) -> Result<Reference, ApiError> {
    let reference: Reference = text.parse().map_err(ImageError::from)?;
    match reference.digest() {
        None => Ok(reference),
        Some(_) => Err(ImageError::NotATag { name: text.to_owned() }.into()),
    }
}

/// The first message of a stream says what it is about.
async fn opening<M: Message>(requests: &mut Streaming<M>) -> Result<M::Open, ApiError> {
    match message(requests).await?.map(Message::part) {
        Some(Part::Open(open)) => Ok(open),
        _ => Err(ApiError::invalid("the first message of the stream has to open it")),
    }
}

/// Up to the client's end, or until the other side has seen enough; then the rest of the stream is not read.
async fn pass_on<M: Message>(mut requests: Streaming<M>, feed: Feed) -> Result<(), ApiError> {
    while let Some(request) = message(&mut requests).await? {
        match request.part() {
            Part::Bytes(bytes) => {
                if feed.push(bytes).await.is_err() {
                    return Ok(());
                }
            }
            Part::Open(_) => return Err(ApiError::invalid("only the first message of the stream opens it")),
            Part::Nothing => {}
        }
    }
    let _ = feed.end().await;
    Ok(())
}

async fn message<M>(requests: &mut Streaming<M>) -> Result<Option<M>, ApiError> {
    let silent = || ApiError::Deadline { message: format!("the client sent nothing for {} s", SILENCE.as_secs()) };
    let message = tokio::time::timeout(SILENCE, requests.message()).await.map_err(|_| silent())?;
    message.map_err(|status| ApiError::failed(format!("the client's stream broke: {}", status.message())))
}

/// Until nobody listens.
async fn tell(
    progress: &Arc<Progress>,
    mut received: watch::Receiver<bool>,
    sender: &mpsc::Sender<Result<LoadProgress, Status>>,
) {
    if received.wait_for(|received| *received).await.is_ok() {
        let _ = sender.send(Ok(LoadProgress { progress: Some(Told::Received(Empty {})) })).await;
    } else {
        // It failed before: the outcome tells.
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
            if sender.send(Ok(LoadProgress { progress: Some(Told::Layer(layer)) })).await.is_err() {
                return;
            }
        }
    }
}

fn done(loaded: Vec<Loaded>) -> LoadProgress {
    let image = |loaded: Loaded| LoadedImage { id: loaded.id.to_string(), names: loaded.names };
    LoadProgress { progress: Some(Told::Done(LoadDone { images: loaded.into_iter().map(image).collect() })) }
}
