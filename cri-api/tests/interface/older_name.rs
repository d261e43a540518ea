//! Every difference between the two versions of the interface, with the reason why one implementation can serve both.

use std::collections::{BTreeMap, BTreeSet};

use prost_types::FileDescriptorProto;

use super::facts::{compiled, described, short};

/// Methods that the older name lacks: no old client calls them, and they are refused as unimplemented under that name.
const METHODS: [&str; 14] = [
    "ImageService StreamImages",
    "RuntimeService CheckpointContainer",
    "RuntimeService CheckpointPod",
    "RuntimeService GetContainerEvents",
    "RuntimeService ListMetricDescriptors",
    "RuntimeService ListPodSandboxMetrics",
    "RuntimeService RestorePod",
    "RuntimeService RuntimeConfig",
    "RuntimeService StreamContainerStats",
    "RuntimeService StreamContainers",
    "RuntimeService StreamPodSandboxMetrics",
    "RuntimeService StreamPodSandboxStats",
    "RuntimeService StreamPodSandboxes",
    "RuntimeService UpdatePodSandboxResources",
];

/// Fields of requests that the older name lacks. An old client leaves them out, which is a zero: with the meaning that
/// there was before the field.
const ASKED: [(&str, &str); 16] = [
    ("ContainerConfig CDI_devices", "no device by name"),
    ("ContainerConfig stop_signal", "SIGNAL_RUNTIME_DEFAULT: the image's, else SIGTERM"),
    ("ImageSpec image_ref", "the image is named by `image`"),
    ("ImageSpec runtime_handler", "the default handler's image"),
    ("ImageSpec user_specified_image", "for answers only"),
    ("LinuxContainerSecurityContext supplemental_groups_policy", "Merge: groups of the image count"),
    ("LinuxSandboxSecurityContext supplemental_groups_policy", "Merge: groups of the image count"),
    ("Mount gidMappings", "not mapped"),
    ("Mount image", "a mount of the host"),
    ("Mount image_sub_path", "a mount of the host"),
    ("Mount mount_options", "the defaults"),
    ("Mount recursive_read_only", "submounts keep their own mode"),
    ("Mount uidMappings", "not mapped"),
    ("WindowsContainerResources affinity_cpus", "not for Linux"),
    ("WindowsSandboxSecurityContext namespace_options", "not for Linux"),
    // Encoded alike. A string that comes in is valid as bytes; none goes out, see below.
    ("KeyValue value", "bytes in version 1, a string under the older name"),
];

/// Fields of answers that the older name lacks. An old client skips them.
const ANSWERED: [&str; 19] = [
    "Container image_id",
    "ContainerStats io",
    "ContainerStats swap",
    "ContainerStatus image_id",
    "ContainerStatus stop_signal",
    "ContainerStatus user",
    "CpuUsage psi",
    "ImageFsInfoResponse container_filesystems",
    "LinuxPodSandboxStats io",
    "MemoryUsage psi",
    "PodSandboxStatusResponse containers_statuses",
    "PodSandboxStatusResponse timestamp",
    "StatusResponse features",
    "StatusResponse runtime_handlers",
    "WindowsPodSandboxStats containers",
    "WindowsPodSandboxStats cpu",
    "WindowsPodSandboxStats memory",
    "WindowsPodSandboxStats network",
    "WindowsPodSandboxStats process",
];

fn both() -> [FileDescriptorProto; 2] {
    ["runtime_v1.proto", "runtime_v1alpha2.proto"].map(compiled)
}

/// Message, number, name and type of a line about a field; nothing of other lines.
fn field(line: &str) -> Option<[&str; 4]> {
    let (place, kind) = line.strip_prefix("field ")?.split_once(": ")?;
    let mut words = place.split(' ');
    Some([words.next()?, words.next()?, words.next()?, kind])
}

/// The messages that the given ones consist of, themselves included.
fn reached<'a>(file: &'a FileDescriptorProto, from: impl Iterator<Item = &'a str>) -> BTreeSet<&'a str> {
    let messages: BTreeMap<_, _> = file.message_type.iter().map(|message| (message.name(), message)).collect();
    let (mut found, mut open) = (BTreeSet::new(), from.map(short).collect::<Vec<_>>());
    while let Some(name) = open.pop() {
        if let Some(message) = messages.get(name).filter(|_| found.insert(name)) {
            open.extend(message.field.iter().map(|field| short(field.type_name())));
        }
    }
    found
}

/// Each fact of the older name is one of version 1, but for the type of one field.
#[test]
fn nothing_of_the_older_name_is_gone_or_changed() {
    let [current, older] = both().map(|file| described(&file));
    let unlike: Vec<_> = older.difference(&current).collect();
    assert_eq!(unlike, ["field KeyValue 2 value: string"]);
    assert!(current.contains("field KeyValue 2 value: bytes"));
}

#[test]
fn methods_are_added() {
    let [current, older] = both().map(|file| described(&file));
    let added = current.difference(&older).filter_map(|line| line.strip_prefix("rpc ")?.split('(').next());
    assert_eq!(added.collect::<BTreeSet<_>>(), BTreeSet::from(METHODS));
}

#[test]
fn fields_are_added_that_may_be_left_out_or_skipped() {
    let [current, older] = both();
    let methods = || older.service.iter().flat_map(|service| &service.method);
    let asked = reached(&current, methods().map(|method| method.input_type()));
    let answered = reached(&current, methods().map(|method| method.output_type()));
    let known: BTreeSet<&str> = older.message_type.iter().map(|message| message.name()).collect();
    let (current, older) = (described(&current), described(&older));
    let added =
        current.difference(&older).filter_map(|line| field(line)).filter(|[message, ..]| known.contains(message));
    let (in_requests, in_answers): (BTreeSet<_>, BTreeSet<_>) = added
        .inspect(|[message, ..]| assert!(asked.contains(message) || answered.contains(message), "{message} is unused"))
        .map(|[message, _, name, _]| (message, format!("{message} {name}")))
        .partition(|(message, _)| asked.contains(message));
    let names = |fields: BTreeSet<(&str, String)>| fields.into_iter().map(|(_, name)| name).collect::<BTreeSet<_>>();
    assert_eq!(names(in_requests), ASKED.map(|(name, _)| name.to_owned()).into());
    assert_eq!(names(in_answers), ANSWERED.map(str::to_owned).into());
}

/// An old client would refuse an answer with bytes that are no string.
#[test]
fn the_changed_field_is_in_no_answer() {
    let [current, _] = both();
    let outputs = current.service.iter().flat_map(|service| &service.method).map(|method| method.output_type());
    assert!(!reached(&current, outputs).contains("KeyValue"));
}

/// An old client would get a number that it has no name for.
#[test]
fn no_enum_has_grown() {
    let [current, older] = both().map(|file| described(&file));
    let of_known_enums = |line: &&String| {
        let name = line.strip_prefix("value ").and_then(|rest| rest.split(' ').next());
        name.is_some_and(|name| older.contains(&format!("enum {name}")))
    };
    assert_eq!(current.difference(&older).filter(of_known_enums).collect::<Vec<_>>(), Vec::<&String>::new());
}
