//! `isula` on the node's daemon, and the containers that tests make with it.

use std::ffi::OsStr;
use std::process::{Child, Command, Stdio};

use super::{Node, text};
use crate::binaries;
use crate::command::{self, Output};
use crate::deadline::PATIENCE;
use crate::rootfs::BUSYBOX;

impl Node {
    /// `isula` with these words, not yet run.
    pub fn command<S: AsRef<OsStr>>(&self, words: &[S]) -> Command {
        let mut command = Command::new(binaries::path("isula"));
        command.env("ISULAD_HOST", format!("unix://{}", self.socket().display())).args(words);
        command
    }

    /// Runs `isula` to its end.
    #[track_caller]
    pub fn isula<S: AsRef<OsStr>>(&self, words: &[S]) -> Output {
        command::run(&mut self.command(words), PATIENCE)
    }

    /// Runs `isula`, which must succeed, and returns its output.
    #[track_caller]
    pub fn ok<S: AsRef<OsStr>>(&self, words: &[S]) -> String {
        self.isula(words).ok()
    }

    /// Starts `isula` and does not wait.
    pub fn spawn<S: AsRef<OsStr>>(&self, words: &[S]) -> Child {
        let mut command = self.command(words);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().expect("isula runs")
    }

    /// `<verb> <flags> --external-rootfs <busybox> none <words>`
    pub fn words(&self, verb: &str, flags: &[&str], words: &[&str]) -> Vec<String> {
        let rootfs = text(&BUSYBOX);
        let all = [&[verb], flags, &["--external-rootfs", &rootfs, "none"], words].concat();
        all.into_iter().map(str::to_owned).collect()
    }

    /// `isula run` in the foreground.
    #[track_caller]
    pub fn run(&self, flags: &[&str], words: &[&str]) -> Output {
        self.isula(&self.words("run", flags, words))
    }

    /// `isula run -d`, which must succeed: the id.
    #[track_caller]
    pub fn run_detached(&self, flags: &[&str], words: &[&str]) -> String {
        self.ok(&self.words("run", &[&["-d"], flags].concat(), words))
    }

    /// `isula create`, which must succeed: the id.
    #[track_caller]
    pub fn create(&self, flags: &[&str], words: &[&str]) -> String {
        self.ok(&self.words("create", flags, words))
    }

    /// A container that runs until it is stopped, and ends at once then.
    #[track_caller]
    pub fn sleeper(&self, name: &str) -> String {
        self.run_detached(&["--name", name], &["sh", "-c", "trap 'exit 0' TERM; sleep 100000 & wait"])
    }
}
