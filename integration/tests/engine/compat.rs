//! The runtimes under test are those that the environment chooses (`make compat`), not the installed ones.

use std::fs;

use integration::{Node, Runtime, binaries};

on_each_runtime!(the_runtime_is_the_chosen_one);

fn the_runtime_is_the_chosen_one(runtime: Runtime) {
    let node = Node::start(runtime);
    let configured = fs::read_to_string(node.config_file()).expect("the daemon was configured");
    let wanted = binaries::required(runtime.name());
    assert_eq!(configured.contains(&format!("{}\"", wanted.display())), binaries::chosen(runtime.name()).is_some());
    assert_eq!(node.run(&["--rm"], &["true"]).code(), 0);
    node.assert_clean_end();
}
