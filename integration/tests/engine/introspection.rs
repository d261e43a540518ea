//! The socket describes its services to gRPC tools, and reports whether they serve.

use std::collections::BTreeSet;

use cri_api::isula;
use integration::{Node, Runtime};
use prost::Message as _;
use prost_types::FileDescriptorProto;
use tokio_stream::StreamExt as _;
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

const FOREIGN: [&str; 3] =
    ["grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection"];

/// Questions to one version of the reflection protocol. The two differ in their names only.
macro_rules! reflection {
    ($version:ident) => {
        pub(super) mod $version {
            use super::*;
            use protocol::server_reflection_client::ServerReflectionClient;
            use protocol::server_reflection_request::MessageRequest;
            use protocol::server_reflection_response::MessageResponse;
            use tonic_reflection::pb::$version as protocol;

            fn ask(node: &Node, question: MessageRequest) -> MessageResponse {
                let request =
                    protocol::ServerReflectionRequest { message_request: Some(question), ..Default::default() };
                let mut client = ServerReflectionClient::new(node.channel());
                let answer = node.block_on(async {
                    let answers = client.server_reflection_info(tokio_stream::once(request)).await;
                    answers.unwrap().into_inner().next().await
                });
                answer.unwrap().unwrap().message_response.unwrap()
            }

            pub(crate) fn services(node: &Node) -> BTreeSet<String> {
                match ask(node, MessageRequest::ListServices(String::new())) {
                    MessageResponse::ListServicesResponse(list) => {
                        list.service.into_iter().map(|service| service.name).collect()
                    }
                    other => panic!("{other:?}"),
                }
            }

            pub(crate) fn file_of(node: &Node, symbol: &str) -> FileDescriptorProto {
                file(ask(node, MessageRequest::FileContainingSymbol(symbol.to_owned())))
            }

            pub(crate) fn file_named(node: &Node, name: &str) -> FileDescriptorProto {
                file(ask(node, MessageRequest::FileByFilename(name.to_owned())))
            }

            fn file(answer: MessageResponse) -> FileDescriptorProto {
                match answer {
                    MessageResponse::FileDescriptorResponse(files) => {
                        FileDescriptorProto::decode(files.file_descriptor_proto[0].as_slice()).unwrap()
                    }
                    other => panic!("{other:?}"),
                }
            }
        }
    };
}

mod reflection {
    use super::*;

    reflection!(v1);
    reflection!(v1alpha);
}

fn assert_described(service: &str, file: &FileDescriptorProto, named: impl Fn(&str) -> FileDescriptorProto) {
    let (package, name) = service.rsplit_once('.').unwrap();
    assert_eq!(file.package(), package);
    let described = file.service.iter().find(|one| one.name() == name).unwrap();
    assert!(!described.method.is_empty(), "{service}");
    for imported in &file.dependency {
        assert_eq!(named(imported).name(), imported);
    }
}

#[test]
fn every_service_is_described() {
    let node = Node::start(Runtime::Runc);
    let served: BTreeSet<String> = isula::v1::SERVICES.iter().chain(&FOREIGN).map(|&name| name.to_owned()).collect();
    assert_eq!(reflection::v1::services(&node), served);
    assert_eq!(reflection::v1alpha::services(&node), served);
    for service in &served {
        let named = |name: &str| reflection::v1::file_named(&node, name);
        assert_described(service, &reflection::v1::file_of(&node, service), named);
        let named = |name: &str| reflection::v1alpha::file_named(&node, name);
        assert_described(service, &reflection::v1alpha::file_of(&node, service), named);
    }
    node.assert_clean_end();
}

fn about(service: &str) -> HealthCheckRequest {
    HealthCheckRequest { service: service.to_owned() }
}

#[test]
fn every_service_is_healthy_until_the_daemon_stops() {
    let mut node = Node::start(Runtime::Runc);
    let mut client = HealthClient::new(node.channel());
    for service in isula::v1::SERVICES.iter().chain(&[""]) {
        let answer = node.block_on(client.check(about(service))).unwrap().into_inner();
        assert_eq!(answer.status(), ServingStatus::Serving, "`{service}`");
    }
    assert_eq!(node.block_on(client.check(about("isula.v1.Bogus"))).unwrap_err().code(), Code::NotFound);
    let mut watched = node.block_on(client.watch(about(""))).unwrap().into_inner();
    let mut next = |node: &Node| node.block_on(watched.next()).map(|answer| answer.unwrap().status());
    assert_eq!(next(&node), Some(ServingStatus::Serving));
    assert!(node.terminate().success());
    assert_eq!(next(&node), Some(ServingStatus::NotServing));
    assert_eq!(next(&node), None, "the stream was ended, not cut");
    node.launch();
    node.assert_clean_end();
}
