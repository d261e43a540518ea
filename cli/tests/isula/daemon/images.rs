//! The daemon's part about images.

use cri_api::isula::v1::images_server::Images;
use cri_api::isula::v1::*;
use tokio_stream::{StreamExt, iter, pending};
use tonic::{Request, Response, Status, Streaming};

use super::{Items, Part};

pub(crate) const DIGEST: &str = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

/// The daemon's behaviour on an archive that comes in.
#[derive(Clone, Default)]
pub(crate) enum Upload {
    #[default]
    Take,
    /// Refused after this many bytes.
    RefuseAfter(usize),
    /// Nothing is read before a go-ahead.
    Wait,
}

/// An archive as received.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Received {
    pub bytes: usize,
    pub pieces: usize,
    pub largest: usize,
    /// A sum of the bytes: enough to recognise the same archive.
    pub sum: u64,
}

pub(crate) fn layer(digest: &str, state: layer_progress::State, current: u64, total: u64) -> LayerProgress {
    LayerProgress { digest: digest.into(), state: state.into(), current, total }
}

pub(crate) fn piece(bytes: &[u8]) -> Piece {
    Piece { bytes: bytes.into() }
}

impl Received {
    pub(crate) fn add(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len();
        self.pieces += 1;
        self.largest = self.largest.max(bytes.len());
        for &byte in bytes {
            self.sum = self.sum.wrapping_mul(31).wrapping_add(byte.into());
        }
    }
}

impl Part {
    async fn receive<T>(
        &self,
        verb: &str,
        mut stream: Streaming<T>,
        bytes: impl Fn(T) -> Option<Vec<u8>>,
    ) -> Result<(), Status> {
        if matches!(self.script.upload, Upload::Wait) {
            self.go_ahead.notified().await;
        }
        let mut received = Received::default();
        let outcome = loop {
            match stream.message().await {
                Ok(Some(message)) => match bytes(message) {
                    Some(bytes) => received.add(&bytes),
                    None => break Err(Status::invalid_argument("the stream was opened twice")),
                },
                Ok(None) => break Ok(()),
                Err(status) => {
                    self.record(&format!("{verb}Broken"), &received.bytes);
                    break Err(status);
                }
            }
            match self.script.upload {
                Upload::RefuseAfter(limit) if received.bytes >= limit => {
                    break Err(Status::invalid_argument("this is no archive"));
                }
                Upload::RefuseAfter(_) | Upload::Take | Upload::Wait => {}
            }
        };
        outcome?;
        self.record(&format!("{verb}ed"), &received);
        Ok(())
    }
}

#[tonic::async_trait]
impl Images for Part {
    type PullStream = Items<PullProgress>;
    type LoadStream = Items<LoadProgress>;
    type SaveStream = Items<Piece>;

    async fn pull(&self, request: Request<PullRequest>) -> Result<Response<Items<PullProgress>>, Status> {
        self.record("Pull", request.get_ref());
        self.about(&request.get_ref().image)?;
        self.pulled.lock().unwrap().push(request.into_inner().image);
        let messages = iter(self.script.pulled.clone()).map(Ok);
        Ok(Response::new(if self.script.stalled { Box::pin(messages.chain(pending())) } else { Box::pin(messages) }))
    }

    async fn load(&self, request: Request<Streaming<LoadRequest>>) -> Result<Response<Items<LoadProgress>>, Status> {
        let mut stream = request.into_inner();
        let Some(LoadRequest { request: Some(load_request::Request::Open(open)) }) = stream.message().await? else {
            return Err(Status::invalid_argument("the first message must be open"));
        };
        self.record("Load", &open);
        let bytes = |message: LoadRequest| match message.request {
            Some(load_request::Request::Bytes(bytes)) => Some(bytes),
            _ => None,
        };
        self.receive("Load", stream, bytes).await?;
        Ok(Response::new(Box::pin(iter(self.script.loaded.clone()).map(Ok))))
    }

    async fn import(&self, request: Request<Streaming<ImportRequest>>) -> Result<Response<ImportResponse>, Status> {
        let mut stream = request.into_inner();
        let Some(ImportRequest { request: Some(import_request::Request::Open(open)) }) = stream.message().await? else {
            return Err(Status::invalid_argument("the first message must be open"));
        };
        self.record("Import", &open);
        let bytes = |message: ImportRequest| match message.request {
            Some(import_request::Request::Bytes(bytes)) => Some(bytes),
            _ => None,
        };
        self.receive("Import", stream, bytes).await?;
        Ok(Response::new(ImportResponse { id: DIGEST.into() }))
    }

    async fn save(&self, request: Request<SaveRequest>) -> Result<Response<Items<Piece>>, Status> {
        self.record("Save", request.get_ref());
        self.about(&request.get_ref().images[0])?;
        let pieces = iter(self.script.saved.clone()).map(Ok);
        Ok(Response::new(if self.script.stalled { Box::pin(pieces.chain(pending())) } else { Box::pin(pieces) }))
    }

    async fn tag(&self, request: Request<TagRequest>) -> Result<Response<Empty>, Status> {
        self.record("Tag", request.get_ref());
        Ok(Response::new(Empty {}))
    }

    async fn remove(&self, request: Request<RemoveImageRequest>) -> Result<Response<RemoveImageResponse>, Status> {
        self.record("RemoveImage", request.get_ref());
        let image = request.into_inner().image;
        self.about(&image)?;
        Ok(Response::new(RemoveImageResponse { untagged: vec![image + ":latest"], deleted: vec![DIGEST.into()] }))
    }

    async fn list(&self, request: Request<ListImagesRequest>) -> Result<Response<ListImagesResponse>, Status> {
        self.record("ListImages", request.get_ref());
        Ok(Response::new(ListImagesResponse { images: self.script.images.clone() }))
    }

    async fn inspect(&self, request: Request<ImageRequest>) -> Result<Response<InspectResponse>, Status> {
        let image = request.into_inner().image;
        self.record("InspectImage", &image);
        match self.script.image_details.get(&image) {
            Some(json) => Ok(Response::new(InspectResponse { json: json.clone() })),
            None => Err(Status::not_found(format!("No such image:{image}"))),
        }
    }

    async fn history(&self, request: Request<ImageRequest>) -> Result<Response<HistoryResponse>, Status> {
        self.record("History", request.get_ref());
        Ok(Response::new(HistoryResponse { entries: self.script.history.clone() }))
    }

    async fn prune(&self, request: Request<PruneImagesRequest>) -> Result<Response<PruneImagesResponse>, Status> {
        self.record("PruneImages", request.get_ref());
        let untagged = if request.get_ref().all { vec!["a:1".to_owned()] } else { vec![] };
        let deleted = untagged.iter().map(|_| DIGEST.to_owned()).collect();
        Ok(Response::new(PruneImagesResponse { untagged, deleted, reclaimed: 1536 }))
    }

    async fn mount(&self, request: Request<ImageRequest>) -> Result<Response<MountImageResponse>, Status> {
        self.record("Mount", request.get_ref());
        Ok(Response::new(MountImageResponse { path: "/views/a".into() }))
    }

    async fn unmount(&self, request: Request<ImageRequest>) -> Result<Response<Empty>, Status> {
        self.record("Unmount", request.get_ref());
        Ok(Response::new(Empty {}))
    }

    async fn login(&self, request: Request<LoginRequest>) -> Result<Response<LoginResponse>, Status> {
        self.record("Login", request.get_ref());
        let LoginRequest { server, username, .. } = request.into_inner();
        self.about(&username)?;
        Ok(Response::new(LoginResponse { server }))
    }

    async fn logout(&self, request: Request<LogoutRequest>) -> Result<Response<Empty>, Status> {
        self.record("Logout", request.get_ref());
        Ok(Response::new(Empty {}))
    }
}
