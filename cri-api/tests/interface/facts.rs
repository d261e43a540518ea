//! Facts of an interface, a line each: as its table states them, and as its compiled protocol file describes them.

use std::collections::BTreeSet;

use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorProto};

/// One row of a table of facts: kind, containing type, number, name, type or request, response or note.
type Row<'a> = [&'a str; 6];

fn table(text: &str) -> impl Iterator<Item = Row<'_>> {
    text.lines().skip(1).map(|line| {
        let mut cells = line.split('\t');
        std::array::from_fn(|_| cells.next().unwrap_or_default())
    })
}

/// The facts of the table.
pub(crate) fn stated(text: &str) -> BTreeSet<String> {
    table(text)
        .map(|[kind, within, number, name, first, second]| match kind {
            "field" => format!("field {within} {number} {name}: {first} {second}").trim_end().to_owned(),
            "value" => format!("value {within} {number} {name}"),
            "rpc" => format!("rpc {within} {name}({first}) returns ({second})"),
            _ => format!("{kind} {within}{name}"),
        })
        .collect()
}

pub(crate) fn compiled(file: &str) -> FileDescriptorProto {
    let set = protox::compile([file], ["proto"]).unwrap();
    assert_eq!(set.file.len(), 1, "{file} stands alone");
    set.file.into_iter().next().unwrap()
}

/// The facts of the compiled protocol file.
pub(crate) fn described(file: &FileDescriptorProto) -> BTreeSet<String> {
    let mut lines = BTreeSet::new();
    for message in &file.message_type {
        assert!(message.oneof_decl.is_empty(), "the tables of facts have no column for these");
        lines.insert(format!("message {}", message.name()));
        for field in &message.field {
            let kind = type_of(message, field);
            let note =
                if field.options.as_ref().is_some_and(|options| options.deprecated()) { " deprecated" } else { "" };
            lines.insert(format!("field {} {} {}: {kind}{note}", message.name(), field.number(), field.name()));
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

/// A type's name within its package.
pub(crate) fn short(name: &str) -> &str {
    let name = name.strip_prefix(".runtime.").unwrap_or(name);
    name.strip_prefix("v1.").or_else(|| name.strip_prefix("v1alpha2.")).unwrap_or(name)
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
