//! The Container Runtime Interface, spoken by the kubelet and crictl: one implementation under two names.

pub mod v1alpha2;

use std::sync::Arc;

use tonic::service::Routes;

use crate::LARGEST_MESSAGE;
use v1::image_service_server::{ImageService, ImageServiceServer};
use v1::runtime_service_server::{RuntimeService, RuntimeServiceServer};
use v1alpha2::UnderOlderName;

/// Version 1: messages and services.
#[allow(clippy::all, clippy::unwrap_used, reason = "generated")]
pub mod v1 {
    tonic::include_proto!("runtime.v1");

    /// The descriptors of its files, for reflection.
    pub const DESCRIPTORS: &[u8] = tonic::include_file_descriptor_set!("runtime.v1");

    /// The full names of its services.
    pub const SERVICES: &[&str] = include!(concat!(env!("OUT_DIR"), "/runtime.v1.services.rs"));
}

/// Adds both services, each as `runtime.v1` and as `runtime.v1alpha2`, with the interface's limits.
pub fn add_services(routes: Routes, runtime: Arc<impl RuntimeService>, images: Arc<impl ImageService>) -> Routes {
    let runtime = RuntimeServiceServer::from_arc(runtime)
        .max_decoding_message_size(LARGEST_MESSAGE)
        .max_encoding_message_size(LARGEST_MESSAGE);
    let images = ImageServiceServer::from_arc(images)
        .max_decoding_message_size(LARGEST_MESSAGE)
        .max_encoding_message_size(LARGEST_MESSAGE);
    routes
        .add_service(UnderOlderName::new(runtime.clone()))
        .add_service(UnderOlderName::new(images.clone()))
        .add_service(runtime)
        .add_service(images)
}
