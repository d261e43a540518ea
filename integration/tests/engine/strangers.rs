//! Texts and clients that are not ours: neither reaches a terminal raw, nor is turned away for its spelling.

use integration::{Node, Runtime};

/// Clears the screen, rings, and ends with the one-byte form of the same.
const NASTY: &str = "a\u{1b}[2Jb\u{7}c\u{9b}2Jd\re\u{7f}f";

fn is_tame(text: &str) -> bool {
    !text.contains(|character: char| character.is_control() && !matches!(character, '\n' | '\t'))
}

#[test]
fn control_characters_reach_no_terminal() {
    let node = Node::start(Runtime::Runc);
    let label = format!("key={NASTY}\nforged a line");
    let id = node.create(&["--name", "x", "-l", &label, "-e", &format!("A={NASTY}")], &["echo", NASTY]);
    for words in [
        &["ps", "-a", "--no-trunc"][..],
        &["ps", "-a", "--format", "{{.Names}} {{.Labels}} {{.Command}}"],
        &["events"],
        &["inspect", "x"],
        &["inspect", "-f", "{{.Config.Labels}} {{.Config.Env}} {{json .Config.Env}}", "x"],
    ] {
        let text = String::from_utf8(node.isula(words).stdout).expect("it is text");
        assert!(is_tame(&text), "{words:?}: {text:?}");
        assert!(words[0] == "inspect" || !text.contains("\nforged"), "{words:?}: {text:?}");
    }
    // As JSON they are what they were.
    assert_eq!(node.inspect("x")["Config"]["Labels"]["key"], format!("{NASTY}\nforged a line").as_str());
    for words in [
        &["inspect", NASTY][..],
        &["rm", NASTY],
        &["create", "--name", NASTY, "busybox", "true"],
        &["pull", NASTY],
        &["cp", "x:/no/such/\u{1b}[2J", "/tmp"],
        &["network", "inspect", NASTY],
        &["volume", "create", NASTY],
        &["ps", "-f", &format!("status={NASTY}")],
    ] {
        let output = node.isula(words);
        assert_ne!(output.code(), 0, "{words:?}");
        assert!(is_tame(&output.stderr), "{words:?}: {:?}", output.stderr);
    }
    let log = node.log();
    assert!(is_tame(&log), "{log:?}");
    // A container's output is its own.
    node.ok(&["start", &id]);
    node.wait("x");
    let logs = String::from_utf8(node.isula(&["logs", "x"]).stdout).expect("it is text");
    assert_eq!(logs, format!("{NASTY}\n"));
    node.assert_clean_end();
}
