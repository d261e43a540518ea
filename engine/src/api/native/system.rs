//! Info, version, events.

use cri_api::isula::v1::system_server::System;
use cri_api::isula::v1::{Empty, Event, EventsRequest, InfoResponse, VersionResponse};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::{ApiError, Native};
use crate::domain::container::Phase;
use crate::engine::Engine;
use crate::spec::cgroup::Version;

#[tonic::async_trait]
impl System for Native {
    type EventsStream = ReceiverStream<Result<Event, Status>>;

    async fn info(&self, _: Request<Empty>) -> Result<Response<InfoResponse>, Status> {
        let engine = self.engine.clone();
        let telling = tokio::task::spawn_blocking(move || info(&engine)).await;
        Ok(Response::new(telling.map_err(|panic| ApiError::failed(panic.to_string()))?))
    }

    async fn version(&self, _: Request<Empty>) -> Result<Response<VersionResponse>, Status> {
        Ok(Response::new(VersionResponse {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            git_commit: option_env!("ISULAD_GIT_COMMIT").unwrap_or_default().to_owned(),
            built: option_env!("ISULAD_BUILT").unwrap_or_default().to_owned(),
            api_version: "isula.v1".to_owned(),
        }))
    }

    async fn events(&self, request: Request<EventsRequest>) -> Result<Response<Self::EventsStream>, Status> {
        Ok(Response::new(self.stream_events(request.into_inner())?))
    }
}

/// Blocks on the disk: some of it is in files.
fn info(engine: &Engine) -> InfoResponse {
    let (mut running, mut paused, mut stopped, mut unverified) = (0, 0, 0, 0);
    let containers = engine.containers.snapshot();
    for entity in containers.values() {
        match &entity.state.phase {
            Phase::Paused(_) => paused += 1,
            phase if phase.run().is_some() => running += 1,
            _ => stopped += 1,
        }
        unverified += u32::from(!entity.verified);
    }
    let host = nix::sys::utsname::uname().ok();
    let of_host = |pick: fn(&nix::sys::utsname::UtsName) -> &std::ffi::OsStr| {
        host.as_ref().map(|host| pick(host).to_string_lossy().into_owned()).unwrap_or_default()
    };
    let config = &engine.node.config;
    InfoResponse {
        containers: u32::try_from(containers.len()).unwrap_or(u32::MAX),
        running,
        paused,
        stopped,
        images: u32::try_from(engine.images.ledger().snapshot().len()).unwrap_or(u32::MAX),
        server_version: env!("CARGO_PKG_VERSION").to_owned(),
        storage_driver: "overlay2".to_owned(),
        logging_driver: if config.container_log.enabled { "json-file" } else { "none" }.to_owned(),
        cgroup_driver: if config.systemd_cgroup { "systemd" } else { "cgroupfs" }.to_owned(),
        cgroup_version: match engine.node.host.cgroups.version() {
            Version::V1 => "1",
            Version::Hybrid => "1 (hybrid)",
            Version::V2 => "2",
        }
        .to_owned(),
        kernel_version: of_host(nix::sys::utsname::UtsName::release),
        operating_system: operating_system(),
        architecture: of_host(nix::sys::utsname::UtsName::machine),
        cpus: std::thread::available_parallelism().map_or(1, |n| u32::try_from(n.get()).unwrap_or(1)),
        total_memory: total_memory(),
        name: of_host(nix::sys::utsname::UtsName::nodename),
        root_dir: engine.node.layout.graph.to_string_lossy().into_owned(),
        state_dir: engine.node.layout.state.to_string_lossy().into_owned(),
        default_runtime: config.default_runtime.clone(),
        runtimes: config.runtimes.keys().cloned().collect(),
        journal_seq: engine.journal.last(),
        warnings: engine.node.warnings().into_iter().chain(engine.networks.pending.warnings()).collect(),
        unverified: unverified + u32::from(!engine.images.is_ready()),
        image_bytes: engine.images.bytes(),
        volumes: u32::try_from(engine.volumes.ledger().snapshot().len()).unwrap_or(u32::MAX),
        registry_mirrors: config.images.mirrors.iter().map(ToString::to_string).collect(),
        insecure_registries: config.images.insecure.iter().map(ToString::to_string).collect(),
    }
}

fn operating_system() -> String {
    let text = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    let name = text.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    name.map(|name| name.trim_matches('"').to_owned()).unwrap_or_else(|| "Linux".to_owned())
}

/// Bytes.
fn total_memory() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().next()).and_then(|n| n.parse::<u64>().ok());
    kilobytes.unwrap_or(0) * 1024
}
