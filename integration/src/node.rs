//! One engine: its directories, its daemon, and the means to talk to it.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use cri_api::isula::v1::containers_client::ContainersClient;
use cri_api::isula::v1::execs_client::ExecsClient;
use cri_api::isula::v1::files_client::FilesClient;
use cri_api::isula::v1::images_client::ImagesClient;
use cri_api::isula::v1::system_client::SystemClient;
use cri_api::isula::v1::usage_client::UsageClient;
use cri_api::isula::v1::volumes_client::VolumesClient;
use cri_api::isula::v1::{ContainerRequest, ContainerSummary, Empty, InfoResponse, ListRequest};
use nix::mount::{MntFlags, umount2};
use serde_json::{Map, Value, json};
use tempfile::TempDir;
use tonic::transport::{Channel, Endpoint};

use crate::command::{self, Output};
use crate::daemon::{Daemon, Ended};
use crate::deadline::{self, PATIENCE};
use crate::process::Process;
use crate::rootfs::BUSYBOX;
use crate::{binaries, cgroup, disk, signals};

/// The OCI runtime that a node's containers run on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Runtime {
    Runc,
    Crun,
}

impl Runtime {
    pub const ALL: [Self; 2] = [Self::Runc, Self::Crun];

    pub fn name(self) -> &'static str {
        match self {
            Self::Runc => "runc",
            Self::Crun => "crun",
        }
    }
}

/// An engine to be: what differs from the defaults.
#[derive(Debug)]
pub struct NodeBuilder {
    runtime: Runtime,
    config: Map<String, Value>,
    graph_size: Option<u64>,
    host: Option<String>,
    own_network: bool,
    within: PathBuf,
}

impl NodeBuilder {
    /// A key of `daemon.json`.
    #[must_use]
    pub fn config(mut self, key: &str, value: Value) -> Self {
        self.config.insert(key.to_owned(), value);
        self
    }

    /// Gives the graph directory a filesystem of its own, of this many bytes.
    #[must_use]
    pub fn graph_size(mut self, bytes: u64) -> Self {
        self.graph_size = Some(bytes);
        self
    }

    /// The daemon knows this name for the machine's loopback: a registry that is nobody's own machine.
    #[must_use]
    pub fn host(mut self, name: &str) -> Self {
        self.host = Some(name.to_owned());
        self
    }

    /// The daemon has a network of its own, with nothing but `lo`: routes and firewall of the machine are left alone.
    #[must_use]
    pub fn own_network(mut self) -> Self {
        self.own_network = true;
        self
    }

    /// Below this directory instead of `/tmp`. Its path shall be short: a socket's may have 107 bytes.
    #[must_use]
    pub fn within(mut self, dir: &Path) -> Self {
        dir.clone_into(&mut self.within);
        self
    }

    /// The node with its directories, without a daemon.
    pub fn build(self) -> Node {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        binaries::required(self.runtime.name());
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let dir = tempfile::Builder::new().prefix("isula-").tempdir_in(&self.within).expect("it can be written");
        let mut node = Node {
            runtime: self.runtime,
            cgroup_parent: format!("/isula-test-{}-{number}", disk::machine()),
            config: Map::new(),
            namespace: None,
            own_mounts: vec![],
            daemon: None,
            calls: tokio::runtime::Builder::new_multi_thread()
                .worker_threads(1)
                .enable_all()
                .build()
                .expect("a runtime for calls can be made"),
            dir,
        };
        signals::heed(&node.calls);
        for dir in [node.graph(), node.state()] {
            std::fs::create_dir(dir).expect("the node's directory is ours");
        }
        let mut changes = Vec::new();
        // crun takes a hybrid machine for one of version 2: there it gets a view without that hierarchy.
        if self.runtime == Runtime::Crun && cgroup::hybrid() {
            changes.push("umount /sys/fs/cgroup/unified".to_owned());
        }
        if let Some(name) = self.host {
            let hosts = node.dir().join("hosts");
            std::fs::write(&hosts, format!("127.0.0.1 localhost {name}\n")).expect("the node's directory is ours");
            changes.push(format!("mount --bind {} /etc/hosts", hosts.display()));
        }
        if self.own_network {
            changes.push("ip link set lo up".to_owned());
        }
        if !changes.is_empty() {
            node.namespace = Some(Namespace::make(self.own_network, &changes));
        }
        if let Some(bytes) = self.graph_size {
            let graph = node.graph();
            let size = format!("size={bytes}");
            let words = node.inside(&["mount", "-t", "tmpfs", "-o", &size, "tmpfs", &text(&graph)]);
            command::tool(&words);
            node.own_mounts.push(graph);
        }
        node.config = node.defaults();
        node.config.extend(self.config);
        node
    }

    /// The node with a daemon that serves.
    pub fn start(self) -> Node {
        let mut node = self.build();
        node.launch();
        node
    }
}

/// A mount namespace, and perhaps a network namespace, that last as long as the process that keeps it, which ends with its input.
#[derive(Debug)]
struct Namespace {
    keeper: Child,
    network: bool,
}

impl Namespace {
    fn make(network: bool, changes: &[String]) -> Self {
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

/// One engine on directories, a socket and a cgroup of its own.
#[derive(Debug)]
pub struct Node {
    runtime: Runtime,
    cgroup_parent: String,
    config: Map<String, Value>,
    namespace: Option<Namespace>,
    /// Mounts that the harness made.
    own_mounts: Vec<PathBuf>,
    daemon: Option<Daemon>,
    calls: tokio::runtime::Runtime,
    dir: TempDir,
}

impl Node {
    pub fn builder(runtime: Runtime) -> NodeBuilder {
        NodeBuilder {
            runtime,
            config: Map::new(),
            graph_size: None,
            host: None,
            own_network: false,
            within: "/tmp".into(),
        }
    }

    /// A node with the defaults, whose daemon serves.
    pub fn start(runtime: Runtime) -> Self {
        Self::builder(runtime).start()
    }

    pub fn runtime(&self) -> Runtime {
        self.runtime
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub fn graph(&self) -> PathBuf {
        self.dir().join("g")
    }

    pub fn state(&self) -> PathBuf {
        self.dir().join("s")
    }

    pub fn socket(&self) -> PathBuf {
        self.dir().join("sock")
    }

    pub fn config_file(&self) -> PathBuf {
        self.dir().join("daemon.json")
    }

    pub fn cgroup_parent(&self) -> &str {
        &self.cgroup_parent
    }

    /// Where network namespaces are pinned.
    pub fn netns_dir(&self) -> PathBuf {
        self.dir().join("netns")
    }

    /// A container's volatile directory.
    pub fn state_dir(&self, id: &str) -> PathBuf {
        self.state().join(self.runtime.name()).join(id)
    }

    /// A container's persistent directory.
    pub fn bundle(&self, id: &str) -> PathBuf {
        self.graph().join("engines").join(self.runtime.name()).join(id)
    }

    /// All that this node's daemons have written to their log.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    fn log_file(&self) -> PathBuf {
        self.dir().join("daemon.log")
    }

    fn defaults(&self) -> Map<String, Value> {
        let value = json!({
            "hosts": [format!("unix://{}", self.socket().display())],
            "graph": self.graph(),
            "state": self.state(),
            "pidfile": self.dir().join("pidfile"),
            "default-runtime": self.runtime.name(),
            "cgroup-parent": self.cgroup_parent,
            "log-level": "info",
            "cni-conf-dir": self.dir().join("cni"),
            "netns-dir": self.netns_dir(),
        });
        match value {
            Value::Object(map) => map,
            _ => Map::new(),
        }
    }

    /// Changes a key of `daemon.json` for the next daemon.
    pub fn set(&mut self, key: &str, value: Value) {
        self.config.insert(key.to_owned(), value);
    }

    // The daemon.

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

    pub(crate) fn mountinfo(&self) -> PathBuf {
        match &self.namespace {
            Some(namespace) => format!("/proc/{}/mountinfo", namespace.keeper.id()).into(),
            None => "/proc/self/mountinfo".into(),
        }
    }

    pub(crate) fn set_own_mounts(&mut self, points: Vec<PathBuf>) {
        self.own_mounts = points;
    }

    pub(crate) fn is_own_mount(&self, point: &Path) -> bool {
        self.own_mounts.iter().any(|own| own == point)
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

    // Talking to it.

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

    /// Runs `isula`, which must succeed, and gives what it printed.
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

    /// Removes every container, by force.
    #[track_caller]
    pub fn remove_all(&self) {
        deadline::until("every container is gone", || {
            let ids = self.ok(&["ps", "-aq", "--no-trunc"]);
            for id in ids.lines() {
                let output = self.isula(&["rm", "-f", id]);
                // One that removes itself may be quicker.
                assert!(output.code() == 0 || output.stderr.contains("No such container"), "{}", output.stderr);
            }
            // One that was asked for by a client that is gone may come only now.
            self.ok(&["ps", "-aq"]).is_empty()
        });
    }

    /// Removes every volume and every image, by force.
    #[track_caller]
    pub fn remove_images(&self) {
        for volume in self.ok(&["volume", "ls", "-q"]).lines() {
            let output = self.isula(&["volume", "rm", volume]);
            assert!(output.code() == 0 || output.stderr.contains("No such volume"), "{}", output.stderr);
        }
        // By id: one without a name has nothing else, and one with several loses all of them.
        let ids = self.ok(&["images", "-q", "--no-trunc"]);
        let ids: BTreeSet<&str> = ids.lines().collect();
        for id in ids {
            self.ok(&["rmi", "-f", id]);
        }
    }

    /// Removes every container, volume and image; then nothing is left of them, and their story is whole.
    #[track_caller]
    pub fn assert_clean_end(&self) {
        self.verified();
        self.remove_all();
        self.remove_images();
        self.assert_nothing_left();
        self.assert_journal_whole();
    }

    /// `inspect` of one container.
    #[track_caller]
    pub fn inspect(&self, container: &str) -> Value {
        let text = self.ok(&["inspect", container]);
        let mut value: Value = serde_json::from_str(&text).expect("inspect prints JSON");
        value[0].take()
    }

    /// The `State` of an inspected container.
    #[track_caller]
    pub fn state_of(&self, container: &str) -> Value {
        self.inspect(container)["State"].take()
    }

    /// State word of a container: `running`, `exited` …
    #[track_caller]
    pub fn status_of(&self, container: &str) -> String {
        self.state_of(container)["Status"].as_str().unwrap_or_default().to_owned()
    }

    /// A running container's first process.
    #[track_caller]
    pub fn process_of(&self, container: &str) -> Process {
        let pid = self.state_of(container)["Pid"].as_i64().unwrap_or(0);
        let process = i32::try_from(pid).ok().and_then(Process::of);
        process.unwrap_or_else(|| panic!("container {container} has no process ({pid})"))
    }

    /// A running container's shim.
    #[track_caller]
    pub fn shim_of(&self, container: &str) -> Process {
        let pid = self.state_of(container)["ShimPid"].as_i64().unwrap_or(0);
        let process = i32::try_from(pid).ok().and_then(Process::of);
        process.unwrap_or_else(|| panic!("container {container} has no shim ({pid})"))
    }

    pub fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.calls.block_on(future)
    }

    /// The calls about containers, over a connection of their own.
    pub fn containers(&self) -> ContainersClient<Channel> {
        ContainersClient::new(self.channel()).max_decoding_message_size(usize::MAX)
    }

    /// The calls about processes within containers, over a connection of their own.
    pub fn execs(&self) -> ExecsClient<Channel> {
        ExecsClient::new(self.channel()).max_decoding_message_size(usize::MAX)
    }

    /// The calls about images, over a connection of their own.
    pub fn images(&self) -> ImagesClient<Channel> {
        ImagesClient::new(self.channel()).max_decoding_message_size(usize::MAX)
    }

    /// The calls about volumes, over a connection of their own.
    pub fn volumes(&self) -> VolumesClient<Channel> {
        VolumesClient::new(self.channel()).max_decoding_message_size(usize::MAX)
    }

    /// The calls about containers' files, over a connection of their own.
    pub fn files(&self) -> FilesClient<Channel> {
        FilesClient::new(self.channel()).max_decoding_message_size(usize::MAX)
    }

    /// The calls about what containers use, over a connection of their own.
    pub fn usage(&self) -> UsageClient<Channel> {
        UsageClient::new(self.channel()).max_decoding_message_size(usize::MAX)
    }

    /// The calls about the daemon, over a connection of their own.
    pub fn system(&self) -> SystemClient<Channel> {
        SystemClient::new(self.channel()).max_decoding_message_size(usize::MAX)
    }

    fn channel(&self) -> Channel {
        let _context = self.calls.enter();
        let origin = tonic::codegen::http::Uri::from_static("http://localhost");
        let endpoint = Endpoint::try_from(format!("unix://{}", self.socket().display())).expect("the path is short");
        endpoint.origin(origin).connect_lazy()
    }

    #[track_caller]
    pub fn info(&self) -> InfoResponse {
        self.block_on(async { self.system().info(Empty {}).await }).expect("info is served").into_inner()
    }

    /// All containers, also those that do not run.
    #[track_caller]
    pub fn list(&self) -> Vec<ContainerSummary> {
        let request = ListRequest { all: true, ..ListRequest::default() };
        self.block_on(async { self.containers().list(request).await }).expect("list is served").into_inner().containers
    }

    /// Waits until the container does not run; its exit code, `None` when it is unknown.
    #[track_caller]
    pub fn wait(&self, container: &str) -> Option<i32> {
        let request = ContainerRequest { container: container.to_owned() };
        let waiting = async { tokio::time::timeout(PATIENCE, self.containers().wait(request)).await };
        let answer = self.block_on(waiting).unwrap_or_else(|_| panic!("container {container} does not end"));
        answer.expect("wait is served").into_inner().status.and_then(|status| status.code)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            eprintln!("the daemon's log ends:\n{}", lines[lines.len().saturating_sub(60)..].join("\n"));
        }
        self.kill9();
        self.shims().into_iter().for_each(Process::kill);
        cgroup::clear(&self.cgroup_parent);
        if self.namespace.take().is_none() {
            for point in self.mounts().iter().chain(&self.own_mounts) {
                let _ = umount2(point, MntFlags::MNT_DETACH);
            }
        }
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

fn text(path: &Path) -> String {
    path.to_str().expect("the tests' paths are UTF-8").to_owned()
}
