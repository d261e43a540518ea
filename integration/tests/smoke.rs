//! The harness itself.
use integration::{Node, Runtime};

fn life(runtime: Runtime) {
    let mut node = Node::start(runtime);
    let output = node.run(&[], &["sh", "-c", "echo hello; exit 7"]);
    assert_eq!((output.code(), output.text()), (7, "hello".to_owned()), "{}", output.stderr);
    let id = node.sleeper("one");
    let process = node.process_of("one");
    node.restart();
    assert_eq!(node.process_of(&id), process);
    node.assert_clean_end();
}

#[test]
fn runc() {
    life(Runtime::Runc);
}

#[test]
fn crun() {
    life(Runtime::Crun);
}
