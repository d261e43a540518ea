//! The largest message, in both directions and under both names.

use cri_api::LARGEST_MESSAGE;
use cri_api::runtime::v1::{ContainerConfig, ContainerFilter, CreateContainerRequest, CreateContainerResponse};
use cri_api::runtime::v1::{KeyValue, ListContainersRequest, ListContainersResponse};
use prost::Message;
use tonic::{Code, Status};

use super::call::Served;
use super::fake::Fake;

/// More than the lengths and numbers of fields around the long value.
const ENVELOPE: usize = 64;

async fn ask(served: &Served, version: &str, length: usize) -> Result<usize, Status> {
    let envs = vec![KeyValue { key: String::new(), value: vec![b'x'; length] }];
    let config = Some(ContainerConfig { envs, ..Default::default() });
    let request = CreateContainerRequest { config, ..Default::default() };
    let answer: CreateContainerResponse = served.call(version, "RuntimeService/CreateContainer", request).await?;
    Ok(answer.container_id.parse().unwrap())
}

async fn answered(served: &Served, version: &str, length: usize) -> Result<usize, Status> {
    let filter = Some(ContainerFilter { id: length.to_string(), ..Default::default() });
    let request = ListContainersRequest { filter };
    let answer: ListContainersResponse = served.call(version, "RuntimeService/ListContainers", request).await?;
    Ok(answer.encoded_len())
}

#[tokio::test]
async fn messages_of_16_mib_pass_and_larger_ones_are_refused() {
    assert_eq!(LARGEST_MESSAGE, 16 * 1024 * 1024);
    let served = Served::start(Fake);
    for version in ["v1", "v1alpha2"] {
        let fits = LARGEST_MESSAGE - ENVELOPE;
        assert_eq!(ask(&served, version, fits).await.unwrap(), fits);
        assert_eq!(ask(&served, version, LARGEST_MESSAGE).await.unwrap_err().code(), Code::OutOfRange);
        assert!(answered(&served, version, fits).await.unwrap() > fits);
        assert_eq!(answered(&served, version, LARGEST_MESSAGE).await.unwrap_err().code(), Code::OutOfRange);
        assert_eq!(ask(&served, version, 1).await.unwrap(), 1, "the connection goes on");
    }
}
