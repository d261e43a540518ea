//! Questions of gRPC tools to a server about itself: its services and their messages (reflection), and whether it
//! serves (health).

use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll};

use cri_api::isula;
use tonic::codegen::Service;
use tonic::codegen::http::Request;
use tonic::server::NamedService;
use tonic::service::Routes;
use tonic_health::ServingStatus;
use tonic_health::pb::health_server::HealthServer;
use tonic_health::server::{HealthReporter, HealthService};
use tonic_reflection::pb as reflection;
use tonic_reflection::server::Builder;

/// The descriptors of all services on the sockets.
const DESCRIPTORS: [&[u8]; 4] = [
    isula::v1::DESCRIPTORS,
    tonic_health::pb::FILE_DESCRIPTOR_SET,
    reflection::v1::FILE_DESCRIPTOR_SET,
    reflection::v1alpha::FILE_DESCRIPTOR_SET,
];

/// Adds both versions of the reflection protocol: older tools know only `v1alpha`.
pub(crate) fn add_reflection(routes: Routes) -> Routes {
    let current = OnDemand::new(|| builder().build_v1().expect("the descriptors were compiled with this program"));
    let older = OnDemand::new(|| builder().build_v1alpha().expect("the descriptors were compiled with this program"));
    routes.add_service(current).add_service(older)
}

fn builder() -> Builder<'static> {
    // Each version would describe only itself.
    let empty = Builder::configure().include_reflection_service(false);
    DESCRIPTORS.iter().fold(empty, |builder, descriptors| builder.register_encoded_file_descriptor_set(descriptors))
}

/// A service that is made when it is first called. The tables of reflection are a tenth of an idle daemon's memory, and
/// few daemons are ever asked.
struct OnDemand<S>(Arc<LazyLock<S>>);

impl<S> OnDemand<S> {
    fn new(make: fn() -> S) -> Self {
        Self(Arc::new(LazyLock::new(make)))
    }
}

impl<S> Clone for OnDemand<S> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<S: NamedService> NamedService for OnDemand<S> {
    const NAME: &'static str = S::NAME;
}

impl<S: Service<Request<B>> + Clone, B> Service<Request<B>> for OnDemand<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        // As generated services are.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        S::clone(&self.0).call(request)
    }
}

/// The health of the daemon as a whole, which has an empty name, and of each service.
#[derive(Debug)]
pub(crate) struct Health(HealthReporter);

impl Health {
    /// All serve. Reads are answered during recovery too.
    pub(crate) async fn serving() -> Self {
        let reporter = HealthReporter::new();
        for name in names() {
            reporter.set_service_status(name, ServingStatus::Serving).await;
        }
        Self(reporter)
    }

    pub(crate) fn add_to(&self, routes: Routes) -> Routes {
        routes.add_service(HealthServer::new(HealthService::from_health_reporter(self.0.clone())))
    }

    /// Watchers see that nothing serves any more, and then the end of their stream, which would hold up the end of
    /// the daemon.
    pub(crate) async fn stop(mut self) {
        for name in names() {
            self.0.set_service_status(name, ServingStatus::NotServing).await;
            self.0.clear_service_status(name).await;
        }
    }
}

fn names() -> impl Iterator<Item = &'static str> {
    [""].into_iter().chain(isula::v1::SERVICES.iter().copied())
}
