//! The daemon from its start to its end: locks, store, sockets, recovery, and a stop that leaves containers running.

mod authority;
mod connections;
mod locks;
mod notify;
mod restore;
mod socket;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use cri_api::LARGEST_MESSAGE;
use cri_api::isula::v1::containers_server::ContainersServer;
use cri_api::isula::v1::execs_server::ExecsServer;
use cri_api::isula::v1::files_server::FilesServer;
use cri_api::isula::v1::images_server::ImagesServer;
use cri_api::isula::v1::networks_server::NetworksServer;
use cri_api::isula::v1::system_server::SystemServer;
use cri_api::isula::v1::usage_server::UsageServer;
use cri_api::isula::v1::volumes_server::VolumesServer;
use tokio::signal::unix::{SignalKind, signal};
use tokio_stream::StreamExt as _;
use tonic::service::Routes;
use tonic::transport::Server;

use crate::api::introspection::{self, Health};
use crate::api::native::Native;
use crate::config::Config;
use crate::engine::Engine;
use crate::memory;
use crate::recovery;
use crate::spec::Host;

use authority::WithAuthority;
pub use locks::Locks;
pub use notify::Notify;

/// How long a stop waits for streams that do not end by themselves, before it cuts them.
const DRAIN: Duration = Duration::from_secs(3);

/// Runs the daemon until a signal stops it. `Err` is the reason why it did not start, or the error that ended it.
pub async fn run(mut config: Config, notify: Notify) -> anyhow::Result<()> {
    let host = Host::probe().context("cannot examine the host")?;
    config.settle_roots()?;
    let locks = Locks::take(&config)?;
    // Released by the kernel when the last thread of this process is gone, not before: blocking work that outlasts this
    // function must not meet the next daemon.
    std::mem::forget(locks);
    // Before the store is opened: a socket in use is detected while nothing has changed yet.
    let sockets = socket::bind_all(&config)?;
    let engine = restore::open(config, host).await?;
    let _pidfile = locks::PidFile::write(&engine.node.config.pidfile)?;
    let served: Vec<PathBuf> = sockets.iter().map(|socket| socket.path.clone()).collect();
    let (stop, stopping) = tokio::sync::watch::channel(false);
    let mut servers = tokio::task::JoinSet::new();
    let places = connections::ConnectionPlaces::new();
    let health = Health::serving().await;
    let services = services(&engine, &health);
    for socket in sockets {
        let (mut stopping, places) = (stopping.clone(), places.clone());
        let router = server().add_routes(services.clone());
        servers.spawn(async move {
            let incoming = connections::incoming(socket.listener, places);
            let incoming = incoming.map(|accepted| accepted.map(WithAuthority::new));
            let end = async move { drop(stopping.wait_for(|stop| *stop).await) };
            router.serve_with_incoming_shutdown(incoming, end).await
        });
    }
    // From here on reads are served.
    tracing::info!(sockets = ?served, seq = engine.journal.last(), "serving");
    notify.ready();
    let recovering = tokio::spawn({
        let engine = engine.clone();
        async move { recovery::run(&engine).await }
    });
    let settling = tokio::spawn(memory::trim());
    let outcome = tokio::select! {
        outcome = until_stopped(&engine) => outcome,
        // A daemon that cannot serve a socket any more makes way for a new one.
        Some(ended) = servers.join_next() => Err(match ended {
            Ok(Ok(())) => anyhow::anyhow!("a socket is not served any more"),
            Ok(Err(error)) => anyhow::Error::new(error).context("a socket is not served any more"),
            Err(panic) => anyhow::Error::new(panic).context("a socket is not served any more"),
        }),
    };
    notify.stopping();
    engine.effects.stop();
    health.stop().await;
    stop.send_replace(true);
    if tokio::time::timeout(DRAIN, async { while servers.join_next().await.is_some() {} }).await.is_err() {
        servers.abort_all();
    }
    recovering.abort();
    settling.abort();
    // Effects under way get a short time to finish; the next start finishes the others, as after a crash.
    let _ = tokio::time::timeout(DRAIN, engine.effects.idle()).await;
    socket::remove_all(&served);
    engine.journal.close().await;
    let _ = engine.node.host.cgroups.remove_shims(&engine.node.config.cgroup_parent);
    tracing::info!(seq = engine.journal.last(), "stopped; containers run on");
    outcome
}

fn server() -> Server {
    Server::builder()
        // Much more than a stream's own window, for two reasons: unread input to a container must not hold up signals
        // to it, which come over the same connection; and small pieces of input must not count as an attack: this
        // HTTP/2 implementation has a budget for small unread pieces, which is half of the window.
        .initial_stream_window_size(256 << 10)
        .initial_connection_window_size(32 << 20)
        .max_concurrent_streams(connections::STREAMS)
}

/// The services of every socket.
fn services(engine: &Arc<Engine>, health: &Health) -> Routes {
    let native = Native::new(engine.clone());
    let native = Routes::default()
        .add_service(ContainersServer::new(native.clone()).max_decoding_message_size(LARGEST_MESSAGE))
        .add_service(ExecsServer::new(native.clone()).max_decoding_message_size(LARGEST_MESSAGE))
        .add_service(ImagesServer::new(native.clone()).max_decoding_message_size(LARGEST_MESSAGE))
        .add_service(FilesServer::new(native.clone()).max_decoding_message_size(LARGEST_MESSAGE))
        .add_service(UsageServer::new(native.clone()))
        .add_service(VolumesServer::new(native.clone()))
        .add_service(NetworksServer::new(native.clone()))
        .add_service(SystemServer::new(native));
    introspection::add_reflection(health.add_to(native))
}

/// Waits for a signal to stop, or for a failure of the journal: without a journal nothing may be acknowledged.
async fn until_stopped(engine: &Arc<Engine>) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot wait for SIGINT")?;
    // A terminal that goes away is no reason to stop.
    let mut hang_up = signal(SignalKind::hangup()).context("cannot wait for SIGHUP")?;
    loop {
        tokio::select! {
            _ = terminate.recv() => { tracing::info!("SIGTERM"); return Ok(()) }
            _ = interrupt.recv() => { tracing::info!("SIGINT"); return Ok(()) }
            _ = hang_up.recv() => {}
            fault = engine.journal.failed() => {
                tracing::error!(%fault, "the journal has failed; the daemon stops, containers run on");
                return Err(anyhow::anyhow!("the journal has failed: {fault}"));
            }
        }
    }
}
