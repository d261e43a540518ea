//! `events`: the history, which outlives containers and daemons.

use integration::{Node, Runtime, command, deadline};
use serde_json::Value;

fn parsed(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).expect("a line is an object")).collect()
}

#[test]
fn after_removal_and_restart() {
    let mut node = Node::start(Runtime::Runc);
    let id = node.run_detached(&["--name", "gone", "--label", "k=v"], &["sh", "-c", "exit 7"]);
    assert_eq!(node.wait("gone"), Some(7));
    node.ok(&["rm", "gone"]);
    node.kill9();
    node.launch();
    node.create(&["--name", "later"], &["true"]);
    let all = parsed(&node.ok(&["events", "--format", "json"]));
    let of = |it: &Value, key: &str| it[key].as_str().unwrap_or_default().to_owned();
    let verbs: Vec<String> = all.iter().filter(|it| of(it, "id") == id).map(|it| of(it, "verb")).collect();
    assert_eq!(verbs, ["create", "starting", "start", "die", "removing", "remove"]);
    let die = all.iter().find(|it| of(it, "verb") == "die").expect("it died");
    assert_eq!((&die["attributes"]["exitCode"], &die["attributes"]["name"]), (&"7".into(), &"gone".into()));
    assert!(of(&all[0], "actor").contains("uid=0") && of(&all[0], "actor").contains("isula"), "{}", all[0]);
    // Numbers without gaps, across the restart.
    let numbers: Vec<u64> = all.iter().filter_map(|it| it["seq"].as_u64()).collect();
    assert_eq!(numbers, (1..=numbers.len() as u64).collect::<Vec<_>>());

    let text = node.ok(&["events", "--since", "seq:4", "--until", "seq:4"]);
    assert!(text.contains(&format!(" container die {id} (")) && text.contains("exitCode=7"), "{text}");
    let time = die["timeNano"].as_i64().expect("a number");
    let from = format!("{}.{:09}", time / 1_000_000_000, time % 1_000_000_000);
    let since = parsed(&node.ok(&["events", "--since", &from, "--format", "json"]));
    assert_eq!(since.first().map(|it| of(it, "verb")), Some("die".to_owned()));
    let until = parsed(&node.ok(&["events", "--until", &from, "--format", "json"]));
    assert_eq!(until.last().map(|it| of(it, "verb")), Some("die".to_owned()));
    for (filter, count) in [("container=gone", 6), ("event=die", 1), ("event=create", 2), ("container=nobody", 0)] {
        let found = parsed(&node.ok(&["events", "--filter", filter, "--format", "json"]));
        assert_eq!(found.len(), count, "{filter}");
    }
    node.assert_clean_end();
}

#[test]
fn followed_until_a_number() {
    let node = Node::start(Runtime::Runc);
    let seq = node.seq();
    let until = format!("seq:{}", seq + 3);
    let following = node.spawn(&["events", "-f", "--since", &format!("seq:{}", seq + 1), "--until", &until]);
    node.run_detached(&["--name", "x"], &["true"]);
    let output = command::finish(following, deadline::PATIENCE).expect("it ends with the number");
    let text = output.ok();
    let verbs: Vec<&str> = text.lines().filter_map(|line| line.split(' ').nth(2)).collect();
    assert_eq!(verbs, ["create", "starting", "start"]);
    assert_eq!(node.wait("x"), Some(0));
    node.assert_clean_end();
}
