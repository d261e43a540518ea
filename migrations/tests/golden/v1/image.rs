//! Events and rows of images.

use migrations::v1::*;

use super::{AT, NGINX, context, event, peer, row};
use crate::Sample;

fn facts(created: Option<u64>) -> ImageFactsV1 {
    ImageFactsV1 {
        manifest: *b"manifest-manifest-manifest-manif",
        size: 187_654_321,
        layers: 7,
        created,
        added_at: AT,
        used_at: AT + 60,
        pinned: created.is_none(),
        os: "linux".to_owned(),
        architecture: "arm64/v8".to_owned(),
    }
}

fn added(names: &[&str], created: Option<u64>) -> ImageAddedV1 {
    let names = names.iter().map(|name| (*name).to_owned()).collect();
    ImageAddedV1 { facts: facts(created), names, since: 42 }
}

pub(super) fn samples() -> Vec<Sample> {
    let image = || context(peer(), "", NGINX);
    let name = |name: &str, since| ImageNameV1 { name: name.to_owned(), since };
    let names = vec![name(NGINX, 42), name("localhost/n:1", 7)];
    vec![
        event(200, "image-pulled", image(), added(&[NGINX, "registry.example/nginx@sha256:00"], Some(AT - 9))),
        event(201, "image-loaded", image(), added(&[NGINX], Some(AT - 9))),
        event(202, "image-imported", image(), added(&[], None)),
        event(203, "image-tagged", image(), ImageTaggedV1 { name: NGINX.to_owned(), since: 43 }),
        event(204, "image-untagged", image(), ImageUntaggedV1 { name: NGINX.to_owned() }),
        event(205, "image-removed", image(), ImageRemovedV1 {}),
        row(3, "image-named", ImageRowV1 { facts: facts(Some(AT - 9)), names }),
        row(3, "image-dangling", ImageRowV1 { facts: facts(None), names: vec![] }),
    ]
}
