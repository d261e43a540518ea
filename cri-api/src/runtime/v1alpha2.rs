//! The older name of the interface, for kubelets before 1.26.
//!
//! Its messages have the encoding of version 1 (`tests/interface.rs` holds that), so a call under the older name
//! becomes the same call of version 1, by its path. A method that the older name lacks keeps its path, which the
//! service of version 1 refuses as unimplemented.

use std::task::{Context, Poll};

use tonic::codegen::Service;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::codegen::http::{Request, Uri};
use tonic::server::NamedService;

use super::v1::image_service_server::ImageServiceServer;
use super::v1::runtime_service_server::RuntimeServiceServer;

/// The descriptors of its files, for reflection.
pub const DESCRIPTORS: &[u8] = tonic::include_file_descriptor_set!("runtime.v1alpha2");

/// The full names of its services.
pub const SERVICES: &[&str] = include!(concat!(env!("OUT_DIR"), "/runtime.v1alpha2.services.rs"));

/// Each method's path under the older name, and that of the same method in version 1.
const PATHS: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/runtime.v1alpha2.paths.rs"));

/// Among the extensions of a request that came under the older name: `Version` answers with the name it was called by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CalledByOlderName;

/// A service of version 1, to be registered under the older name beside itself.
#[derive(Debug, Clone)]
pub struct UnderOlderName<S>(S);

impl<S> UnderOlderName<S> {
    pub fn new(service: S) -> Self {
        Self(service)
    }
}

impl<T> NamedService for UnderOlderName<RuntimeServiceServer<T>> {
    const NAME: &'static str = "runtime.v1alpha2.RuntimeService";
}

impl<T> NamedService for UnderOlderName<ImageServiceServer<T>> {
    const NAME: &'static str = "runtime.v1alpha2.ImageService";
}

impl<S: Service<Request<B>>, B> Service<Request<B>> for UnderOlderName<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        if let Some(current) = current(request.uri().path()) {
            *request.uri_mut() = with_path(std::mem::take(request.uri_mut()), current);
            request.extensions_mut().insert(CalledByOlderName);
        }
        self.0.call(request)
    }
}

/// The path in version 1 of a method that the older name has.
fn current(path: &str) -> Option<&'static str> {
    PATHS.iter().find(|(older, _)| *older == path).map(|(_, current)| *current)
}

fn with_path(uri: Uri, path: &'static str) -> Uri {
    let mut parts = uri.into_parts();
    parts.path_and_query = Some(PathAndQuery::from_static(path));
    Uri::from_parts(parts).expect("a path takes the place of a path")
}
