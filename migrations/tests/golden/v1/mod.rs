//! Samples of format 1. Never edited after its release; new ones may be added.

mod container;
mod image;
mod volume;

use migrations::Shape;
use migrations::v1::*;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::Sample;

const NGINX: &str = "registry.example/nginx:1.27";
const AT: u64 = 1_700_000_001_000_000_001;

pub(crate) fn samples() -> Vec<Sample> {
    let mut samples = container::events();
    samples.extend(container::rows());
    samples.extend(image::samples());
    samples.extend(volume::samples());
    samples
}

fn peer() -> ActorV1 {
    ActorV1::Peer { uid: 1000, pid: 77, exe: "/usr/bin/isula".to_owned() }
}

fn context(actor: ActorV1, name: &str, image: &str) -> ContextV1 {
    ContextV1 {
        actor,
        operation: [0xa0, 0xa1, 0xa2, 0xa3, 0xa4, 0xa5, 0xa6, 0xa7],
        name: name.to_owned(),
        image: image.to_owned(),
    }
}

fn event<T>(kind: u16, name: &str, context: ContextV1, event: T) -> Sample
where
    T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug + 'static,
{
    Sample::new(format!("v1/event-{kind:03}-{name}.bin"), Shape::Event(kind), 1, (context, event))
}

fn row<T>(stream: u8, name: &str, row: T) -> Sample
where
    T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug + 'static,
{
    Sample::new(format!("v1/row-{name}.bin"), Shape::Row(stream), 1, row)
}
