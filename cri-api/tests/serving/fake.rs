//! Services that refuse every call with the method's name; three methods answer a request that is not empty.

use cri_api::runtime::v1::image_service_server::ImageService;
use cri_api::runtime::v1::runtime_service_server::RuntimeService;
use cri_api::runtime::v1::*;
use cri_api::runtime::v1alpha2::CalledByOlderName;
use tokio_stream::Empty;
use tonic::{Request, Response, Status};

type Answer<T> = Result<Response<T>, Status>;

#[derive(Debug, Default)]
pub(crate) struct Fake;

fn refused(method: &str) -> Status {
    Status::aborted(method)
}

macro_rules! fake {
    (
        $service:ident
        unary { $($name:ident($request:ident) -> $answer:ident;)* }
        streams { $($stream_name:ident($stream_request:ident) -> $stream:ident of $item:ident;)* }
        others { $($other:tt)* }
    ) => {
        #[tonic::async_trait]
        impl $service for Fake {
            $(async fn $name(&self, _: Request<$request>) -> Answer<$answer> {
                Err(refused(stringify!($name)))
            })*
            $(type $stream = Empty<Result<$item, Status>>;
            async fn $stream_name(&self, _: Request<$stream_request>) -> Answer<Self::$stream> {
                Err(refused(stringify!($stream_name)))
            })*
            $($other)*
        }
    };
}

fake! { RuntimeService
    unary {
        run_pod_sandbox(RunPodSandboxRequest) -> RunPodSandboxResponse;
        stop_pod_sandbox(StopPodSandboxRequest) -> StopPodSandboxResponse;
        remove_pod_sandbox(RemovePodSandboxRequest) -> RemovePodSandboxResponse;
        pod_sandbox_status(PodSandboxStatusRequest) -> PodSandboxStatusResponse;
        list_pod_sandbox(ListPodSandboxRequest) -> ListPodSandboxResponse;
        start_container(StartContainerRequest) -> StartContainerResponse;
        stop_container(StopContainerRequest) -> StopContainerResponse;
        remove_container(RemoveContainerRequest) -> RemoveContainerResponse;
        container_status(ContainerStatusRequest) -> ContainerStatusResponse;
        update_container_resources(UpdateContainerResourcesRequest) -> UpdateContainerResourcesResponse;
        reopen_container_log(ReopenContainerLogRequest) -> ReopenContainerLogResponse;
        exec_sync(ExecSyncRequest) -> ExecSyncResponse;
        exec(ExecRequest) -> ExecResponse;
        attach(AttachRequest) -> AttachResponse;
        port_forward(PortForwardRequest) -> PortForwardResponse;
        container_stats(ContainerStatsRequest) -> ContainerStatsResponse;
        list_container_stats(ListContainerStatsRequest) -> ListContainerStatsResponse;
        pod_sandbox_stats(PodSandboxStatsRequest) -> PodSandboxStatsResponse;
        list_pod_sandbox_stats(ListPodSandboxStatsRequest) -> ListPodSandboxStatsResponse;
        update_runtime_config(UpdateRuntimeConfigRequest) -> UpdateRuntimeConfigResponse;
        status(StatusRequest) -> StatusResponse;
        checkpoint_container(CheckpointContainerRequest) -> CheckpointContainerResponse;
        checkpoint_pod(CheckpointPodRequest) -> CheckpointPodResponse;
        restore_pod(RestorePodRequest) -> RestorePodResponse;
        list_metric_descriptors(ListMetricDescriptorsRequest) -> ListMetricDescriptorsResponse;
        list_pod_sandbox_metrics(ListPodSandboxMetricsRequest) -> ListPodSandboxMetricsResponse;
        runtime_config(RuntimeConfigRequest) -> RuntimeConfigResponse;
        update_pod_sandbox_resources(UpdatePodSandboxResourcesRequest) -> UpdatePodSandboxResourcesResponse;
    }
    streams {
        stream_pod_sandboxes(StreamPodSandboxesRequest) -> StreamPodSandboxesStream of StreamPodSandboxesResponse;
        stream_containers(StreamContainersRequest) -> StreamContainersStream of StreamContainersResponse;
        stream_container_stats(StreamContainerStatsRequest)
            -> StreamContainerStatsStream of StreamContainerStatsResponse;
        stream_pod_sandbox_stats(StreamPodSandboxStatsRequest)
            -> StreamPodSandboxStatsStream of StreamPodSandboxStatsResponse;
        get_container_events(GetEventsRequest) -> GetContainerEventsStream of ContainerEventResponse;
        stream_pod_sandbox_metrics(StreamPodSandboxMetricsRequest)
            -> StreamPodSandboxMetricsStream of StreamPodSandboxMetricsResponse;
    }
    others {
        async fn version(&self, request: Request<VersionRequest>) -> Answer<VersionResponse> {
            if request.get_ref().version.is_empty() {
                return Err(refused("version"));
            }
            let is_older = request.extensions().get::<CalledByOlderName>().is_some();
            let runtime_api_version = if is_older { "v1alpha2" } else { "v1" }.to_owned();
            Ok(Response::new(VersionResponse { runtime_api_version, ..Default::default() }))
        }

        async fn create_container(&self, request: Request<CreateContainerRequest>) -> Answer<CreateContainerResponse> {
            let Some(config) = request.into_inner().config else { return Err(refused("create_container")) };
            let lengths = config.envs.iter().map(|env| env.value.len()).sum::<usize>();
            Ok(Response::new(CreateContainerResponse { container_id: lengths.to_string() }))
        }

        async fn list_containers(&self, request: Request<ListContainersRequest>) -> Answer<ListContainersResponse> {
            let Some(filter) = request.into_inner().filter else { return Err(refused("list_containers")) };
            let image_ref = "x".repeat(filter.id.parse().unwrap());
            let containers = vec![Container { image_ref, ..Default::default() }];
            Ok(Response::new(ListContainersResponse { containers }))
        }
    }
}

fake! { ImageService
    unary {
        list_images(ListImagesRequest) -> ListImagesResponse;
        image_status(ImageStatusRequest) -> ImageStatusResponse;
        pull_image(PullImageRequest) -> PullImageResponse;
        remove_image(RemoveImageRequest) -> RemoveImageResponse;
        image_fs_info(ImageFsInfoRequest) -> ImageFsInfoResponse;
    }
    streams {
        stream_images(StreamImagesRequest) -> StreamImagesStream of StreamImagesResponse;
    }
    others {}
}
