//! Samples of the shapes that format 2 brought. Never edited; a new one may be added.

use std::collections::BTreeMap;

use migrations::What;
use migrations::v1::*;
use migrations::v2::*;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::Sample;

fn event<T>(kind: u16, schema: u16, name: &str, (held, image): (&str, &str), event: T) -> Sample
where
    T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug + 'static,
{
    let context = ContextV1 {
        actor: ActorV1::Peer { uid: 1000, pid: 77, exe: "/usr/bin/isula".to_owned() },
        operation: [0xa0, 0xa1, 0xa2, 0xa3, 0xa4, 0xa5, 0xa6, 0xa7],
        name: held.to_owned(),
        image: image.to_owned(),
    };
    Sample::new(format!("v2/event-{kind:03}-{name}.bin"), What::Event(kind), schema, (context, event))
}

fn row<T>(stream: u8, schema: u16, name: &str, row: T) -> Sample
where
    T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug + 'static,
{
    Sample::new(format!("v2/row-{name}.bin"), What::Row(stream), schema, row)
}

const NGINX: &str = "registry.example/nginx:1.27";
const AT: u64 = 1_700_000_001_000_000_001;

fn card(image_id: Option<[u8; 32]>) -> CardV2 {
    CardV2 {
        name: "web".to_owned(),
        image: NGINX.to_owned(),
        image_id,
        runtime: "crun".to_owned(),
        command: "/usr/sbin/nginx -g \u{00bb}daemon off\u{00ab}".to_owned(),
        definition: *b"0123456789abcdefghijklmnopqrstuv",
        created_at: 1_700_000_000_123_456_789,
        auto_remove: true,
        tty: false,
        open_stdin: true,
        stop_signal: 15,
        stop_timeout: 10,
    }
}

const IMAGE_ID: [u8; 32] = *b"vutsrqponmlkjihgfedcba9876543210";

fn run() -> RunV1 {
    RunV1 {
        start: 3,
        boot: *b"boot-id-16-bytes",
        process: ProcessV1 { pid: 4_194_303, start_time: 987_654_321 },
        shim: Some(ProcessV1 { pid: 4_194_302, start_time: 987_654_320 }),
        since: AT,
        stop: None,
        oom: true,
    }
}

fn end() -> EndV1 {
    let status = ExitStatusV1::Signal(6);
    EndV1 { start: 3, status, started_at: Some(AT), at: AT + 5, oom: true, error: None }
}

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

fn labels() -> BTreeMap<String, String> {
    [("tier", "db"), ("owner", "Zoë"), ("empty", "")].map(|(key, value)| (key.to_owned(), value.to_owned())).into()
}

pub fn samples() -> Vec<Sample> {
    let mut samples = events();
    samples.extend(container_rows());
    samples.extend(other_rows());
    samples
}

fn events() -> Vec<Sample> {
    let web = ("web", NGINX);
    let image = ("", NGINX);
    let volume = ("data", "");
    let created = |anonymous, labels| VolumeCreatedV1 { name: "data".to_owned(), labels, anonymous, created_at: AT };
    vec![
        event(1, 2, "create-requested", web, CreateRequestedV2 { card: card(Some(IMAGE_ID)) }),
        event(1, 2, "create-requested-without-image", web, CreateRequestedV2 { card: card(None) }),
        event(20, 2, "remove-requested", web, RemoveRequestedV2 { force: false, volumes: true }),
        event(200, 1, "image-pulled", image, added(&[NGINX, "registry.example/nginx@sha256:00"], Some(AT - 9))),
        event(201, 1, "image-loaded", image, added(&[NGINX], Some(AT - 9))),
        event(202, 1, "image-imported", image, added(&[], None)),
        event(203, 1, "image-tagged", image, ImageTaggedV1 { name: NGINX.to_owned(), since: 43 }),
        event(204, 1, "image-untagged", image, ImageUntaggedV1 { name: NGINX.to_owned() }),
        event(205, 1, "image-removed", image, ImageRemovedV1 {}),
        event(300, 1, "volume-created", volume, created(false, labels())),
        event(300, 1, "volume-created-anonymous", volume, created(true, BTreeMap::new())),
        event(301, 1, "volume-remove-requested", volume, VolumeRemoveRequestedV1 {}),
        event(302, 1, "volume-removed", volume, VolumeRemovedV1 {}),
    ]
}

fn container_rows() -> Vec<Sample> {
    let starting = StartingV1 { start: 3, boot: *b"boot-id-16-bytes", since: AT };
    let removing = |run, failed: Option<&str>, volumes| {
        PhaseV2::Removing(RemovingV2 { run, failed: failed.map(str::to_owned), volumes })
    };
    let sample = |name: &str, phase, last| {
        let image_id = if name == "created" { None } else { Some(IMAGE_ID) };
        row(1, 2, &format!("container-{name}"), ContainerRowV2 { card: card(image_id), phase, last })
    };
    vec![
        sample("creating", PhaseV2::Creating, LastV1::Never),
        sample("created", PhaseV2::Created, LastV1::Never),
        sample("starting", PhaseV2::Starting(starting), LastV1::Ended(end())),
        sample("running", PhaseV2::Running(run()), LastV1::Never),
        sample("pausing", PhaseV2::Pausing(run()), LastV1::Never),
        sample("paused", PhaseV2::Paused(run()), LastV1::Never),
        sample("resuming", PhaseV2::Resuming(run()), LastV1::Never),
        sample("exited", PhaseV2::Exited(end()), LastV1::AsPhase),
        sample("removing", removing(Some(run()), None, true), LastV1::Never),
        sample("removing-failed", removing(None, Some("busy"), false), LastV1::Ended(end())),
    ]
}

fn other_rows() -> Vec<Sample> {
    let name = |name: &str, since| ImageNameV1 { name: name.to_owned(), since };
    let volume = |anonymous, labels, phase| VolumeRowV1 { labels, anonymous, created_at: AT, phase };
    vec![
        row(
            3,
            1,
            "image-named",
            ImageRowV1 { facts: facts(Some(AT - 9)), names: vec![name(NGINX, 42), name("localhost/n:1", 7)] },
        ),
        row(3, 1, "image-dangling", ImageRowV1 { facts: facts(None), names: vec![] }),
        row(4, 1, "volume-ready", volume(false, labels(), VolumePhaseV1::Ready)),
        row(4, 1, "volume-removing", volume(true, BTreeMap::new(), VolumePhaseV1::Removing)),
    ]
}
