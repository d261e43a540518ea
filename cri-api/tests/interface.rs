//! The protocol files against the interface's own facts: every message, field, number, type, enum value and method.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};

use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorProto};

const V1: &str = include_str!("cri/runtime.v1.tsv");
const V1ALPHA2: &str = include_str!("cri/runtime.v1alpha2.tsv");

/// One row of a table of facts: kind, containing type, number, name, type or request, response.
type Row<'a> = [&'a str; 6];

fn table(text: &str) -> impl Iterator<Item = Row<'_>> {
    text.lines().skip(1).map(|line| {
        let mut cells = line.split('\t');
        std::array::from_fn(|_| cells.next().unwrap_or_default())
    })
}

/// The facts of the table, each as one line. Notes are left out.
fn stated(text: &str) -> BTreeSet<String> {
    table(text)
        .map(|[kind, within, number, name, first, second]| match kind {
            "field" => format!("field {within} {number} {name}: {first}"),
            "value" => format!("value {within} {number} {name}"),
            "rpc" => format!("rpc {within} {name}({first}) returns ({second})"),
            _ => format!("{kind} {within}{name}"),
        })
        .collect()
}

fn compiled(file: &str) -> FileDescriptorProto {
    let set = protox::compile([file], ["proto"]).unwrap();
    set.file.into_iter().find(|one| one.name() == file).unwrap()
}

/// The same lines from the compiled protocol file.
fn described(file: &FileDescriptorProto) -> BTreeSet<String> {
    let mut lines = BTreeSet::new();
    for message in &file.message_type {
        lines.insert(format!("message {}", message.name()));
        for field in &message.field {
            let kind = type_of(message, field);
            lines.insert(format!("field {} {} {}: {kind}", message.name(), field.number(), field.name()));
        }
        for one in &message.enum_type {
            enumeration(&format!("{}.{}", message.name(), one.name()), one, &mut lines);
        }
    }
    for one in &file.enum_type {
        enumeration(one.name(), one, &mut lines);
    }
    for service in &file.service {
        lines.insert(format!("service {}", service.name()));
        for method in &service.method {
            assert!(!method.client_streaming());
            let stream = if method.server_streaming() { "stream " } else { "" };
            let (input, output) = (short(method.input_type()), short(method.output_type()));
            lines.insert(format!("rpc {} {}({input}) returns ({stream}{output})", service.name(), method.name()));
        }
    }
    lines
}

fn enumeration(name: &str, one: &EnumDescriptorProto, lines: &mut BTreeSet<String>) {
    lines.insert(format!("enum {name}"));
    lines.extend(one.value.iter().map(|value| format!("value {name} {} {}", value.number(), value.name())));
}

fn short(name: &str) -> &str {
    name.strip_prefix(".runtime.v1.").unwrap_or(name)
}

fn type_of(message: &DescriptorProto, field: &FieldDescriptorProto) -> String {
    let name = match field.r#type() {
        Type::Message | Type::Enum => {
            let short = short(field.type_name());
            // A nested type is named relative to its message.
            short.strip_prefix(&format!("{}.", message.name())).unwrap_or(short).to_owned()
        }
        scalar => scalar.as_str_name().trim_start_matches("TYPE_").to_lowercase(),
    };
    let entry = message.nested_type.iter().find(|nested| nested.name() == name);
    match (entry, field.label()) {
        (Some(entry), _) => format!("map<{},{}>", type_of(entry, &entry.field[0]), type_of(entry, &entry.field[1])),
        (None, Label::Repeated) => format!("repeated {name}"),
        (None, _) => name,
    }
}

#[test]
fn version_1_is_the_interface() {
    let (stated, described) = (stated(V1), described(&compiled("runtime_v1.proto")));
    let missing: Vec<_> = stated.difference(&described).collect();
    let invented: Vec<_> = described.difference(&stated).collect();
    assert!(missing.is_empty() && invented.is_empty(), "missing: {missing:#?}, invented: {invented:#?}");
    assert!(stated.len() > 700, "the table of facts is whole");
}

/// The methods of the old name are in its own file, the messages in that of version 1.
#[test]
fn version_1alpha2_is_a_subset() {
    let mut known = described(&compiled("runtime_v1.proto"));
    known.retain(|line| !line.starts_with("rpc "));
    let services = described(&compiled("runtime_v1alpha2.proto"));
    assert!(services.iter().all(|line| line.starts_with("rpc ") || line.starts_with("service ")));
    known.extend(services.iter().cloned());
    let stated = stated(V1ALPHA2);
    let unlike: Vec<_> = stated.difference(&known).collect();
    // A string and bytes have the same encoding.
    assert_eq!(unlike, ["field KeyValue 2 value: string"]);
    assert!(known.contains("field KeyValue 2 value: bytes"));
    let invented: Vec<_> = services.difference(&stated).collect();
    assert!(invented.is_empty(), "{invented:?}");
}

#[test]
fn numbers_are_used_once() {
    let file = compiled("runtime_v1.proto");
    let mut seen = BTreeMap::new();
    for message in &file.message_type {
        for field in &message.field {
            let before = seen.insert((message.name(), field.number()), field.name());
            assert_eq!(before, None, "{} {}", message.name(), field.number());
        }
    }
}
