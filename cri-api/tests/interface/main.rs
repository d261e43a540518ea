//! The protocol files against the interface's own facts: every message, field, number, type, enum value and method.
#![allow(clippy::unwrap_used, reason = "every function here is part of a test")]

mod facts;
mod older_name;

use std::collections::BTreeSet;

use facts::{compiled, described, stated};

const V1: &str = include_str!("../cri/runtime.v1.tsv");
const V1ALPHA2: &str = include_str!("../cri/runtime.v1alpha2.tsv");

fn assert_same(stated: &BTreeSet<String>, described: &BTreeSet<String>) {
    let missing: Vec<_> = stated.difference(described).collect();
    let invented: Vec<_> = described.difference(stated).collect();
    assert!(missing.is_empty() && invented.is_empty(), "missing: {missing:#?}, invented: {invented:#?}");
}

#[test]
fn version_1_is_the_interface() {
    let stated = stated(V1);
    assert_same(&stated, &described(&compiled("runtime_v1.proto")));
    assert_eq!(stated.len(), V1.lines().count() - 1, "each row of the table is a fact");
    assert!(stated.len() > 800, "the table of facts is whole");
}

#[test]
fn version_1alpha2_is_the_interface() {
    let stated = stated(V1ALPHA2);
    assert_same(&stated, &described(&compiled("runtime_v1alpha2.proto")));
    assert_eq!(stated.len(), V1ALPHA2.lines().count() - 1, "each row of the table is a fact");
    assert!(stated.len() > 500, "the table of facts is whole");
}
