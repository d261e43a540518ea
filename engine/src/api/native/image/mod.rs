//! The images service: wire on one side, the engine's functions on the other.

mod archive;
mod inspect;
mod list;
mod pull;

use cri_api::isula::v1::images_server::Images;
use cri_api::isula::v1::{
    Empty, HistoryResponse, ImageRequest, ImportRequest, ImportResponse, InspectResponse, ListImagesRequest,
    ListImagesResponse, LoadProgress, LoadRequest, LoginRequest, LoginResponse, LogoutRequest, MountImageResponse,
    Piece, PruneImagesRequest, PruneImagesResponse, PullProgress, PullRequest, RemoveImageRequest, RemoveImageResponse,
    SaveRequest, TagRequest,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::{ApiError, Native, peer};
use crate::image::registry::Secret;
use crate::image::{ImageError, Pruned, Removal};
use crate::node::Trust;
use crate::panics::contained;

type Answer<T> = Result<Response<T>, Status>;
type Stream<T> = ReceiverStream<Result<T, Status>>;

impl Native {
    /// Refuses changes while the store is read-only.
    fn may_change_images(&self) -> Result<(), ApiError> {
        match self.engine.node.trust() {
            Trust::Whole | Trust::Partial => Ok(()),
            Trust::ReadOnly => Err(ImageError::ReadOnly.into()),
        }
    }
}

/// In a task of its own: a cancelled caller must not leave half a change.
async fn finished<T: Send + 'static>(
    work: impl Future<Output = Result<T, ImageError>> + Send + 'static,
) -> Result<T, ApiError> {
    let done = tokio::spawn(contained(work)).await;
    Ok(done.unwrap_or_else(|source| Err(ImageError::Task { source }))?)
}

#[tonic::async_trait]
impl Images for Native {
    type PullStream = Stream<PullProgress>;
    type LoadStream = Stream<LoadProgress>;
    type SaveStream = Stream<Piece>;

    async fn pull(&self, request: Request<PullRequest>) -> Answer<Self::PullStream> {
        self.may_change_images()?;
        let context = peer::context(&request);
        Ok(Response::new(self.stream_pull(request.into_inner(), context)?))
    }

    async fn load(&self, request: Request<Streaming<LoadRequest>>) -> Answer<Self::LoadStream> {
        self.may_change_images()?;
        let context = peer::context(&request);
        Ok(Response::new(self.stream_load(request.into_inner(), context).await?))
    }

    async fn import(&self, request: Request<Streaming<ImportRequest>>) -> Answer<ImportResponse> {
        self.may_change_images()?;
        let context = peer::context(&request);
        Ok(Response::new(self.receive_import(request.into_inner(), context).await?))
    }

    async fn save(&self, request: Request<SaveRequest>) -> Answer<Self::SaveStream> {
        Ok(Response::new(self.stream_save(request.into_inner()).await?))
    }

    async fn tag(&self, request: Request<TagRequest>) -> Answer<Empty> {
        self.may_change_images()?;
        let (images, context) = (self.engine.images.clone(), peer::context(&request));
        let TagRequest { image, name } = request.into_inner();
        finished(async move { images.tag(&image, &name, &context).await }).await?;
        Ok(Response::new(Empty {}))
    }

    async fn remove(&self, request: Request<RemoveImageRequest>) -> Answer<RemoveImageResponse> {
        self.may_change_images()?;
        let (images, context) = (self.engine.images.clone(), peer::context(&request));
        let RemoveImageRequest { image, force } = request.into_inner();
        let removing = async move { images.remove(&image, force, &context).await };
        let Removal { untagged, deleted, .. } = finished(removing).await?;
        let deleted = deleted.iter().map(ToString::to_string).collect();
        Ok(Response::new(RemoveImageResponse { untagged, deleted }))
    }

    async fn list(&self, request: Request<ListImagesRequest>) -> Answer<ListImagesResponse> {
        Ok(Response::new(self.list_images(request.into_inner()).await?))
    }

    async fn inspect(&self, request: Request<ImageRequest>) -> Answer<InspectResponse> {
        let json = self.inspect_image(&request.into_inner().image).await?;
        Ok(Response::new(InspectResponse { json }))
    }

    async fn history(&self, request: Request<ImageRequest>) -> Answer<HistoryResponse> {
        Ok(Response::new(self.image_history(&request.into_inner().image).await?))
    }

    async fn prune(&self, request: Request<PruneImagesRequest>) -> Answer<PruneImagesResponse> {
        self.may_change_images()?;
        let (images, context) = (self.engine.images.clone(), peer::context(&request));
        let pruned: Pruned = list::pruned(request.into_inner())?;
        let Removal { untagged, deleted, reclaimed } =
            finished(async move { images.prune(pruned, &context).await }).await?;
        let deleted = deleted.iter().map(ToString::to_string).collect();
        Ok(Response::new(PruneImagesResponse { untagged, deleted, reclaimed }))
    }

    async fn mount(&self, request: Request<ImageRequest>) -> Answer<MountImageResponse> {
        self.may_change_images()?;
        let (images, image) = (self.engine.images.clone(), request.into_inner().image);
        let path = finished(async move { images.mount(&image).await }).await?;
        Ok(Response::new(MountImageResponse { path: path.to_string_lossy().into_owned() }))
    }

    async fn unmount(&self, request: Request<ImageRequest>) -> Answer<Empty> {
        let (images, image) = (self.engine.images.clone(), request.into_inner().image);
        finished(async move { images.unmount(&image).await }).await?;
        Ok(Response::new(Empty {}))
    }

    async fn login(&self, request: Request<LoginRequest>) -> Answer<LoginResponse> {
        let LoginRequest { server, username, password } = request.into_inner();
        let (images, password) = (self.engine.images.clone(), Secret::new(password));
        let login = async move { images.login(&server, &username, &password).await };
        Ok(Response::new(LoginResponse { server: finished(login).await? }))
    }

    async fn logout(&self, request: Request<LogoutRequest>) -> Answer<Empty> {
        let (images, server) = (self.engine.images.clone(), request.into_inner().server);
        finished(async move { images.logout(&server).await }).await?;
        Ok(Response::new(Empty {}))
    }
}
