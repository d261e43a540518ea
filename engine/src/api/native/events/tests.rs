use std::collections::BTreeMap;

use cri_api::isula::v1::Filter;

use super::*;
use crate::config::Config;
use crate::domain::id::{BootId, Digest};
use crate::domain::image::tests::{ID, add};
use crate::domain::volume;
use crate::domain::{container, image};
use crate::journal::record::{Actor, Context};
use crate::spec::Host;

/// What the journal tells after a container, an image and a volume have come and gone.
async fn told() -> Vec<Told> {
    let journal = store::Journal::in_memory(store::Options::default()).unwrap();
    let engine = Engine::new(Config::built_in(), Host::probe().unwrap(), BootId::default(), journal);
    let context = Context::new(Actor::Engine);
    let card = crate::domain::container::tests::card();
    let id = crate::domain::container::tests::ID;
    let remove = container::Command::Remove { force: false, volumes: true };
    let (created, removed) = (container::Command::ReportCreated, container::Command::ReportRemoved);
    // In one: nothing is left for effects to do.
    let commands = [container::Command::Create { id, card }, created, remove, removed];
    engine.turn_all(id, &context, &commands).await.unwrap();
    let name = "docker.io/library/busybox:latest";
    for command in [
        add(&[name, "other"], 1),
        image::Command::Tag { name: "third".to_owned(), since: 2 },
        image::Command::Untag { name: name.to_owned() },
        image::Command::Remove,
    ] {
        engine.turn_image(ID, &context, &command).await.unwrap();
    }
    let labels = BTreeMap::from([("tier".to_owned(), "db".to_owned())]);
    let create = volume::Command::Create { labels, anonymous: false, at: Timestamp(1) };
    for command in [create, volume::Command::Remove, volume::Command::ReportRemoved] {
        engine.turn_volume(&"data".parse().unwrap(), &context, &command).await.unwrap();
    }
    engine.journal.read(1, 100).unwrap().iter().filter_map(|record| tell(&engine, record)).collect()
}

fn wanted(filters: &[(&str, &str)]) -> Result<Wanted, ApiError> {
    let filters = filters.iter().map(|(key, value)| Filter { key: (*key).to_owned(), value: (*value).to_owned() });
    Wanted::parse(&EventsRequest { filters: filters.collect(), ..EventsRequest::default() })
}

#[tokio::test]
async fn images_and_volumes_are_told_as_containers_are() {
    let told = told().await;
    let words: Vec<_> = told.iter().map(|told| format!("{} {} {}", told.kind, told.verb, told.name)).collect();
    assert_eq!(
        words,
        [
            "container creating CreateRequested",
            "container create Created",
            "container removing RemoveRequested",
            "container remove Removed",
            "image pull ImagePulled",
            "image tag ImageTagged",
            "image untag ImageUntagged",
            "image remove ImageRemoved",
            "volume create VolumeCreated",
            "volume removing VolumeRemoveRequested",
            "volume remove VolumeRemoved",
        ]
    );
    assert_eq!(told[2].attributes["volumes"], "true");
    let pulled = &told[4];
    assert_eq!(pulled.id, ID.to_string());
    assert_eq!(pulled.attributes["name"], "docker.io/library/busybox:latest");
    assert_eq!(pulled.attributes["image"], pulled.attributes["name"]);
    assert_eq!(pulled.attributes["names"], "docker.io/library/busybox:latest,other");
    assert_eq!(pulled.attributes["digest"], Digest([8; 32]).to_string());
    assert_eq!(pulled.attributes["size"], (1_u64 << 30).to_string());
    // Which image it was, is to be read also at its end.
    assert_eq!(told[7].attributes["name"], "other");
    assert_eq!((told[8].id.as_str(), told[8].attributes["tier"].as_str()), ("data", "db"));
    assert_eq!(told[10].attributes["name"], "data");
}

#[tokio::test]
async fn filters_pick_by_type_image_and_volume() {
    let told = told().await;
    let short = ID.short();
    for (filters, count) in [
        (vec![], 11),
        (vec![("type", "image")], 4),
        (vec![("type", "image"), ("type", "volume")], 7),
        (vec![("type", "volume"), ("event", "remove")], 1),
        (vec![("event", "remove")], 3),
        (vec![("volume", "data")], 3),
        (vec![("volume", "dat")], 0),
        (vec![("image", "docker.io/library/busybox:latest")], 2),
        (vec![("image", short.as_str())], 4),
        (vec![("container", "web")], 4),
        (vec![("container", "data")], 0),
        (vec![("label", "tier=db")], 1),
    ] {
        let wanted = wanted(&filters).unwrap();
        assert_eq!(told.iter().filter(|told| wanted.matches(told)).count(), count, "{filters:?}");
    }
    for bad in [("type", "network"), ("colour", "red")] {
        assert!(wanted(&[bad]).is_err(), "{bad:?}");
    }
}
