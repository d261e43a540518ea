//! Containers' names: names, ids, prefixes, and refused ones.

use integration::{Node, Runtime};

fn create(node: &Node, name: &str) -> String {
    node.create(&["--name", name], &["true"])
}

#[test]
fn a_name_an_id_or_a_prefix() {
    let node = Node::start(Runtime::Runc);
    let id = create(&node, "web");
    for reference in ["web", &id, &id[..12], &id[..1]] {
        assert_eq!(node.inspect(reference)["Id"], id.as_str(), "{reference}");
    }
    for unknown in ["we", "webb", "zzz", &format!("{id}0"), &id.to_uppercase()] {
        let refusal = node.isula(&["inspect", unknown]).refused(1);
        assert!(refusal.contains(&format!("No such container:{unknown}")) || refusal.contains("No such"), "{refusal}");
    }
    node.assert_clean_end();
}

#[test]
fn an_ambiguous_prefix_is_refused_everywhere() {
    let node = Node::start(Runtime::Runc);
    let mut ids: Vec<String> = Vec::new();
    // The seventeenth id at the latest shares its first digit with another.
    let prefix = loop {
        let id = create(&node, &format!("n{}", ids.len()));
        if let Some(twin) = ids.iter().find(|other| other[..1] == id[..1]) {
            break twin[..1].to_owned();
        }
        ids.push(id);
    };
    let before = node.seq();
    for verb in ["inspect", "start", "stop", "kill", "restart", "pause", "unpause", "wait", "logs", "rm"] {
        let refusal = node.isula(&[verb, &prefix]).refused(1);
        assert!(refusal.contains(&format!("Multiple IDs found with provided prefix: {prefix}")), "{verb}: {refusal}");
    }
    assert_eq!(node.seq(), before, "a refusal is not an event");
    // A name wins over a prefix.
    node.ok(&["rename", "n0", &prefix]);
    assert_eq!(node.inspect(&prefix)["Id"], ids[0].as_str());
    node.assert_clean_end();
}

#[test]
fn a_name_is_taken_once() {
    let mut node = Node::start(Runtime::Runc);
    let id = create(&node, "one");
    let refusal = node.isula(&node.words("create", &["--name", "one"], &["true"])).refused(125);
    let wanted = format!(
        "Error response from daemon: Conflict. The name \"one\" is already in use by container {id}. You have to remove \
         (or rename) that container to be able to reuse that name."
    );
    assert_eq!(refusal, wanted);
    create(&node, "two");
    assert!(node.isula(&["rename", "two", "one"]).refused(1).contains("is already in use by container"));
    node.ok(&["rename", "one", "uno"]);
    assert!(node.isula(&["inspect", "one"]).refused(1).contains("No such"));
    create(&node, "one");
    assert_eq!(node.inspect("uno")["Id"], id.as_str());
    node.restart();
    assert_eq!(node.inspect("uno")["Id"], id.as_str());
    assert!(node.isula(&["rename", "two", "uno"]).refused(1).contains("is already in use"));
    for bad in ["-x", ".x", "a b", "ä", "", "a/b"] {
        let refusal = node.isula(&["rename", "two", bad]);
        assert_ne!(refusal.code(), 0, "`{bad}` is no name");
    }
    node.assert_clean_end();
}
