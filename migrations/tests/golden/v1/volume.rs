//! Events and rows of volumes.

use std::collections::BTreeMap;

use migrations::v1::*;

use super::{AT, context, event, peer, row};
use crate::Sample;

fn labels() -> BTreeMap<String, String> {
    [("tier", "db"), ("owner", "Zoë"), ("empty", "")].map(|(key, value)| (key.to_owned(), value.to_owned())).into()
}

pub(super) fn samples() -> Vec<Sample> {
    let volume = || context(peer(), "data", "");
    let created = |anonymous, labels| VolumeCreatedV1 { name: "data".to_owned(), labels, anonymous, created_at: AT };
    let saved = |anonymous, labels, phase| VolumeRowV1 { labels, anonymous, created_at: AT, phase };
    vec![
        event(300, "volume-created", volume(), created(false, labels())),
        event(300, "volume-created-anonymous", volume(), created(true, BTreeMap::new())),
        event(301, "volume-remove-requested", volume(), VolumeRemoveRequestedV1 {}),
        event(302, "volume-removed", volume(), VolumeRemovedV1 {}),
        row(4, "volume-ready", saved(false, labels(), VolumePhaseV1::Ready)),
        row(4, "volume-removing", saved(true, BTreeMap::new(), VolumePhaseV1::Removing)),
    ]
}
