//! The node's daemon: started, killed, restarted, waited for.

use std::process::{Command, ExitStatus};
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::{Node, Runtime, text};
use crate::binaries;
use crate::daemon::{Daemon, Ended};
use crate::deadline::{self, PATIENCE};
use crate::process::Process;

impl Node {
    /// Starts a daemon and waits until it serves.
    ///
    /// # Panics
    /// When it does not.
    #[track_caller]
    pub fn launch(&mut self) {
        self.launch_with(&[]);
    }

    /// The same with these variables in its environment.
    #[track_caller]
    pub fn launch_with(&mut self, environment: &[(&str, &str)]) {
        if let Err(ended) = self.try_launch(environment) {
            panic!("the daemon ended ({}) before it served:\n{}", ended.status, ended.log);
        }
    }

    /// Starts a daemon; `Err` when it ended before it served.
    pub fn try_launch(&mut self, environment: &[(&str, &str)]) -> Result<(), Ended> {
        assert!(self.daemon.is_none(), "the node's daemon runs already");
        let mut config = self.config.clone();
        name_chosen_runtimes(&mut config);
        std::fs::write(self.config_file(), Value::Object(config).to_string()).expect("the node's directory is ours");
        self.launch_as_configured(environment, &[])
    }

    /// Starts a daemon on the `daemon.json` that is there, with further flags.
    pub fn launch_as_configured(&mut self, environment: &[(&str, &str)], flags: &[&str]) -> Result<(), Ended> {
        let command = self.daemon_command(environment, flags);
        self.daemon = Some(Daemon::start(command, self.dir(), &self.log_file())?);
        Ok(())
    }

    /// The command that starts a daemon on this node's configuration.
    pub fn daemon_command(&self, environment: &[(&str, &str)], flags: &[&str]) -> Command {
        let daemon = text(&binaries::path("isulad"));
        let config = text(&self.config_file());
        let words = self.inside(&[&daemon, "--config", &config]);
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).args(flags).envs(environment.iter().copied());
        command
    }

    /// The words that run a program in the daemon's namespaces. The program has the pid of the child.
    pub fn inside(&self, words: &[&str]) -> Vec<String> {
        let before = self.namespace.iter().flat_map(|namespace| {
            let place = |kind: &str, file: &str| format!("--{kind}=/proc/{}/ns/{file}", namespace.keeper.id());
            let network = namespace.network.then(|| place("net", "net"));
            ["nsenter".to_owned(), place("mount", "mnt")].into_iter().chain(network)
        });
        before.chain(words.iter().map(|word| (*word).to_owned())).collect()
    }

    /// The daemon's process.
    ///
    /// # Panics
    /// When there is none.
    #[track_caller]
    pub fn daemon(&self) -> Process {
        self.daemon.as_ref().map(|daemon| daemon.process).expect("the node has a daemon")
    }

    /// Ends the daemon as a power cut would.
    pub fn kill9(&mut self) {
        if let Some(daemon) = self.daemon.take() {
            daemon.kill();
        }
    }

    /// SIGTERM; how it ended.
    #[track_caller]
    pub fn terminate(&mut self) -> ExitStatus {
        self.daemon.take().expect("the node has a daemon").terminate()
    }

    /// Kills the daemon and starts another.
    #[track_caller]
    pub fn restart(&mut self) {
        self.kill9();
        self.launch();
    }

    /// Waits until the daemon ends by itself.
    ///
    /// # Panics
    /// When it does not.
    #[track_caller]
    pub fn died(&mut self) -> ExitStatus {
        self.died_within(PATIENCE).expect("the daemon ends by itself")
    }

    /// Waits until the daemon ends by itself; `None` when it lives on.
    pub fn died_within(&mut self, patience: Duration) -> Option<ExitStatus> {
        match self.daemon.take()?.wait(patience) {
            Ok(status) => Some(status),
            Err(daemon) => {
                self.daemon = Some(daemon);
                None
            }
        }
    }

    /// Waits until every container was compared with the world after a restart.
    #[track_caller]
    pub fn verified(&self) {
        deadline::until("every container is verified", || self.info().unverified == 0);
    }
}

/// Runtimes that the environment chooses for the tests, where the test itself names none.
fn name_chosen_runtimes(config: &mut Map<String, Value>) {
    for runtime in Runtime::ALL.map(Runtime::name) {
        let Some(path) = binaries::chosen(runtime) else { continue };
        if let Value::Object(runtimes) = config.entry("runtimes").or_insert_with(|| json!({})) {
            runtimes.entry(runtime).or_insert_with(|| json!({ "path": path }));
        }
    }
}
