//! A program that works for the tests, such as a registry: it ends with its owner, also when the owner is killed, and
//! its directory goes with it.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;

use crate::binaries;
use crate::deadline::PATIENCE;

/// Reads until its owner is gone, which closes its input also by being killed; then ends the program and removes the
/// directory. A Ctrl-C for the owner is not for it.
const KEEP: &str = r#"trap '' INT TERM HUP
dir=$1; shift
"$@" </dev/null &
cat >/dev/null
kill -9 $! 2>/dev/null
wait
rm -rf "$dir""#;

/// The running program.
#[derive(Debug)]
pub(crate) struct Companion {
    dir: PathBuf,
    keeper: Child,
}

impl Companion {
    /// A new directory for one, removed with it.
    pub(crate) fn directory() -> PathBuf {
        tempfile::Builder::new().prefix("isula-").tempdir_in("/tmp").expect("/tmp can be written").keep()
    }

    /// Starts a program that owns `dir`, and waits for the first line on its standard error that `wanted` takes.
    ///
    /// # Panics
    /// When there is no such line.
    #[track_caller]
    pub(crate) fn start<S: AsRef<OsStr>, T: Send + 'static>(
        dir: &Path,
        words: &[S],
        mut wanted: impl FnMut(&str) -> Option<T> + Send + 'static,
    ) -> (Self, T) {
        let mut command = Command::new(binaries::required("sh"));
        command.args(["-c", KEEP, "sh"]).arg(dir).args(words);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut keeper = command.spawn().expect("sh runs");
        let log = BufReader::new(keeper.stderr.take().expect("it is piped"));
        let companion = Self { dir: dir.to_owned(), keeper };
        let (sender, found) = mpsc::channel();
        // To the end: one that cannot write its log any more would stop.
        thread::spawn(move || {
            let mut printed = String::new();
            let mut sender = Some(sender);
            for line in log.lines().map_while(Result::ok) {
                let Some(waiting) = &sender else { continue };
                printed = printed + &line + "\n";
                if let Some(value) = wanted(&line) {
                    let _ = waiting.send(Ok(value));
                    sender = None;
                }
            }
            let _ = sender.map(|waiting| waiting.send(Err(printed)));
        });
        match found.recv_timeout(PATIENCE) {
            Ok(Ok(value)) => (companion, value),
            Ok(Err(printed)) => panic!("a companion has ended: {printed}"),
            Err(_) => panic!("a companion does not get ready"),
        }
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }
}

impl Drop for Companion {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
    }
}
