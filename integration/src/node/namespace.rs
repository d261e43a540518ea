//! The mount and network namespaces of a node's daemon.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use crate::binaries;

/// A mount namespace, and perhaps a network namespace, that last as long as the process that keeps it, which ends with
/// its input.
#[derive(Debug)]
pub(super) struct Namespace {
    pub keeper: Child,
    pub network: bool,
}

impl Namespace {
    pub(super) fn make(network: bool, changes: &[String]) -> Self {
        let script = format!("{} && echo made && exec cat >/dev/null", changes.join(" && "));
        let mut keeper = Command::new(binaries::required("unshare"))
            .args(network.then_some("--net"))
            .args(["--mount", "--propagation", "private", "sh", "-c", &script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("unshare runs");
        let mut line = String::new();
        let stdout = keeper.stdout.take().expect("its output is piped");
        let _ = BufReader::new(stdout).read_line(&mut line);
        assert_eq!(line, "made\n", "a namespace cannot be made: {changes:?}");
        Self { keeper, network }
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
    }
}
