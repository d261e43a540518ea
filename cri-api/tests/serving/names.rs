//! The older name: the same methods, different only where they ask.

use std::collections::BTreeSet;

use cri_api::isula;
use cri_api::runtime::{self, v1};
use prost::Message;
use prost_types::FileDescriptorSet;
use protox::prost_reflect::DescriptorPool;
use tonic::Code;

use super::call::Served;
use super::fake::Fake;

/// `Service/Method` of each method that the descriptors have.
fn methods(descriptors: &[u8]) -> BTreeSet<String> {
    let set = FileDescriptorSet::decode(descriptors).unwrap();
    let services = set.file.iter().flat_map(|file| &file.service);
    services
        .flat_map(|service| service.method.iter().map(|method| format!("{}/{}", service.name(), method.name())))
        .collect()
}

/// `Service/SomeMethod` as the fake services call it.
fn in_snake_case(method: &str) -> String {
    let (_, name) = method.split_once('/').unwrap();
    let words = name.char_indices().flat_map(|(at, letter)| {
        let gap = (at > 0 && letter.is_ascii_uppercase()).then_some('_');
        gap.into_iter().chain([letter.to_ascii_lowercase()])
    });
    words.collect()
}

#[tokio::test]
async fn each_method_of_either_name_is_itself() {
    let served = Served::start(Fake);
    for (version, descriptors) in [("v1", v1::DESCRIPTORS), ("v1alpha2", runtime::v1alpha2::DESCRIPTORS)] {
        for method in methods(descriptors) {
            let refusal = served.refusal(version, &method).await;
            assert_eq!(refusal, (Code::Aborted, in_snake_case(&method)), "{version} {method}");
        }
    }
}

#[tokio::test]
async fn a_method_that_the_older_name_lacks_is_unimplemented_there() {
    let served = Served::start(Fake);
    let lacking = &methods(v1::DESCRIPTORS) - &methods(runtime::v1alpha2::DESCRIPTORS);
    assert_eq!(lacking.len(), 14);
    for method in lacking.iter().map(String::as_str).chain(["RuntimeService/Bogus", "RuntimeService/", "Bogus/Version"])
    {
        assert_eq!(served.refusal("v1alpha2", method).await.0, Code::Unimplemented, "{method}");
    }
}

#[tokio::test]
async fn a_service_knows_the_name_it_was_called_by() {
    let served = Served::start(Fake);
    for name in ["v1", "v1alpha2"] {
        let request = v1::VersionRequest { version: "0.1.0".to_owned() };
        let answer: v1::VersionResponse = served.call(name, "RuntimeService/Version", request).await.unwrap();
        assert_eq!(answer.runtime_api_version, name);
    }
}

#[test]
fn services_are_named_in_full() {
    assert_eq!(v1::SERVICES, ["runtime.v1.RuntimeService", "runtime.v1.ImageService"]);
    assert_eq!(runtime::v1alpha2::SERVICES, ["runtime.v1alpha2.RuntimeService", "runtime.v1alpha2.ImageService"]);
}

/// A tool for both names, and the native API beside them, asks for all of it.
#[test]
fn descriptors_fit_together() {
    let mut pool = DescriptorPool::new();
    for descriptors in [isula::v1::DESCRIPTORS, v1::DESCRIPTORS, runtime::v1alpha2::DESCRIPTORS] {
        pool.decode_file_descriptor_set(descriptors).unwrap();
    }
    let services = pool.services().map(|service| service.full_name().to_owned()).collect::<BTreeSet<_>>();
    let named = [isula::v1::SERVICES, v1::SERVICES, runtime::v1alpha2::SERVICES].concat();
    assert_eq!(services, named.iter().map(|&name| name.to_owned()).collect());
    let older = pool.get_message_by_name("runtime.v1alpha2.ContainerStatus").unwrap();
    assert_eq!(older.get_field_by_name("user"), None, "it is the older one");
}

/// The one field whose type differs, as an old client sends it, beside a field of a version to come.
#[derive(Clone, PartialEq, Message)]
struct OldKeyValue {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(string, tag = "2")]
    value: String,
    #[prost(string, tag = "9999")]
    yet_unknown: String,
}

#[derive(Clone, PartialEq, Message)]
struct OldContainerConfig {
    #[prost(message, repeated, tag = "6")]
    envs: Vec<OldKeyValue>,
}

#[derive(Clone, PartialEq, Message)]
struct OldCreateContainerRequest {
    #[prost(message, optional, tag = "2")]
    config: Option<OldContainerConfig>,
}

#[tokio::test]
async fn an_old_clients_strings_come_in_as_bytes() {
    let served = Served::start(Fake);
    let env = OldKeyValue { key: "K".to_owned(), value: "wörld".to_owned(), yet_unknown: "new".to_owned() };
    let request = OldCreateContainerRequest { config: Some(OldContainerConfig { envs: vec![env] }) };
    let method = "RuntimeService/CreateContainer";
    let answer: v1::CreateContainerResponse = served.call("v1alpha2", method, request).await.unwrap();
    assert_eq!(answer.container_id, "6");
}
