//! The daemon under measurement, and the connection to it.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use cri_api::isula::v1::containers_client::ContainersClient;
use cri_api::isula::v1::execs_client::ExecsClient;
use cri_api::isula::v1::system_client::SystemClient;
use cri_api::isula::v1::usage_client::UsageClient;
use cri_api::isula::v1::{ContainerSummary, CreateRequest, Empty, ListRequest, RemoveRequest};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tonic::transport::{Channel, Endpoint};

use crate::place::Place;

const PATIENCE: Duration = Duration::from_secs(60);
/// The daemon's log line at the end of recovery.
const VERIFIED: &str = "all containers are verified";
/// At once, where the order does not matter.
const PARALLEL: usize = 16;

/// A daemon on one `Place`, under roots named after `name`.
pub(crate) struct Daemon<'a> {
    place: &'a Place,
    bins: &'a Path,
    name: String,
    child: Child,
    channel: Channel,
    /// The time of that log line.
    verified: oneshot::Receiver<Instant>,
    /// Executed at.
    pub started: Instant,
    /// Answered its first `ps` at.
    pub answered: Instant,
}

impl<'a> Daemon<'a> {
    /// Starts it and waits for the answer to a first list.
    pub(crate) async fn start(place: &'a Place, name: &str) -> anyhow::Result<Self> {
        Self::start_from(place, &place.bins, name).await
    }

    /// With binaries from another directory.
    pub(crate) async fn start_from(place: &'a Place, bins: &'a Path, name: &str) -> anyhow::Result<Self> {
        let started = Instant::now();
        let mut child = Command::new(bins.join("isulad"))
            .arg("--graph")
            .arg(place.path(name))
            .arg("--state")
            .arg(place.run().join(name))
            .arg("--host")
            .arg(format!("unix://{}", socket(place, name).display()))
            .arg("--pidfile")
            .arg(place.run().join(format!("{name}.pid")))
            .args(["--cgroup-parent", &place.cgroup])
            .arg("--config")
            .arg(place.settings())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot start the daemon")?;
        let (sender, verified) = oneshot::channel();
        let log = BufReader::new(child.stderr.take().context("no standard error")?);
        std::thread::spawn(move || {
            let mut sender = Some(sender);
            for line in log.lines().map_while(Result::ok) {
                if line.contains(VERIFIED) {
                    let _ = sender.take().map(|sender| sender.send(Instant::now()));
                } else if line.contains(" WARN ") || line.contains(" ERROR ") || line.starts_with("isulad:") {
                    eprintln!("bench: daemon: {line}");
                }
            }
        });
        let mut daemon = Self {
            place,
            bins,
            name: name.to_owned(),
            child,
            channel: endpoint(place, name)?.connect_lazy(),
            verified,
            started,
            answered: started,
        };
        daemon.channel = daemon.connect().await?;
        daemon.list().await?;
        daemon.answered = Instant::now();
        Ok(daemon)
    }

    async fn connect(&mut self) -> anyhow::Result<Channel> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match endpoint(self.place, &self.name)?.connect().await {
                Ok(channel) => return Ok(channel),
                Err(error) if Instant::now() > deadline => return Err(error).context("the daemon does not serve"),
                Err(_) => {}
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("the daemon has left with {status}");
            }
            tokio::time::sleep(Duration::from_micros(500)).await;
        }
    }

    /// SIGKILL: the daemon cannot notify its clients.
    pub(crate) fn kill(mut self) -> anyhow::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Waits until all loaded containers have been compared with the world, and returns the moment of it.
    pub(crate) async fn verified(&mut self) -> anyhow::Result<Instant> {
        let waited = tokio::time::timeout(PATIENCE, &mut self.verified).await;
        let at = waited.context("containers are not verified in time")?.context("the daemon has left")?;
        let unverified = self.system().info(Empty {}).await?.into_inner().unverified;
        ensure!(unverified == 0, "{unverified} containers are not verified, though the log says so");
        Ok(at)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn graph(&self) -> PathBuf {
        self.place.path(&self.name)
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.place.run().join(&self.name)
    }

    /// The runtime's root, and the id that the container's start has there.
    pub(crate) fn instance(&self, runtime: &str, id: &str) -> anyhow::Result<(PathBuf, String)> {
        let root = self.state().join(runtime).join("root");
        let names = std::fs::read_dir(&root)?.flatten().filter_map(|entry| entry.file_name().into_string().ok());
        let known = names.into_iter().find(|name| name.starts_with(&format!("{id}-")));
        known.map(|known| (root.clone(), known)).with_context(|| format!("`{}` has nothing of {id}", root.display()))
    }

    pub(crate) fn containers(&self) -> ContainersClient<Channel> {
        ContainersClient::new(self.channel.clone()).max_decoding_message_size(usize::MAX)
    }

    pub(crate) fn execs(&self) -> ExecsClient<Channel> {
        ExecsClient::new(self.channel.clone())
    }

    pub(crate) fn system(&self) -> SystemClient<Channel> {
        SystemClient::new(self.channel.clone())
    }

    /// The same on a connection of its own.
    pub(crate) async fn another_system(&self) -> anyhow::Result<SystemClient<Channel>> {
        Ok(SystemClient::new(endpoint(self.place, &self.name)?.connect().await?))
    }

    pub(crate) fn usage(&self) -> UsageClient<Channel> {
        UsageClient::new(self.channel.clone()).max_decoding_message_size(usize::MAX)
    }

    pub(crate) async fn list(&self) -> anyhow::Result<Vec<ContainerSummary>> {
        let all = ListRequest { all: true, ..ListRequest::default() };
        Ok(self.containers().list(all).await?.into_inner().containers)
    }

    /// `isula` with these words.
    pub(crate) fn isula(&self, words: &[&str]) -> Command {
        let mut command = Command::new(self.bins.join("isula"));
        command.arg("-H").arg(format!("unix://{}", socket(self.place, &self.name).display())).args(words);
        command
    }

    /// `isula run -d` of a container that stays.
    pub(crate) fn isula_run(&self, runtime: &str) -> Command {
        let rootfs = self.place.rootfs();
        let rootfs = rootfs.to_string_lossy();
        let runtime = format!("--runtime={runtime}");
        self.isula(&["run", "-d", &runtime, "--net=none", "--external-rootfs", &rootfs, "none", "sleep", "100000"])
    }

    /// `isula run --rm` of another program, attached to its output.
    pub(crate) fn isula_run_to_its_end(&self, runtime: &str, words: &[&str]) -> Command {
        let rootfs = self.place.rootfs();
        let rootfs = rootfs.to_string_lossy();
        let runtime = format!("--runtime={runtime}");
        let mut command = self.isula(&["run", "--rm", &runtime, "--net=none", "--external-rootfs", &rootfs, "none"]);
        command.args(words);
        command
    }

    /// The same container as a request.
    pub(crate) fn request(&self, runtime: &str) -> CreateRequest {
        CreateRequest {
            rootfs: self.place.rootfs().to_string_lossy().into_owned(),
            runtime: runtime.to_owned(),
            command: vec!["sleep".to_owned(), "100000".to_owned()],
            network: "none".to_owned(),
            ..CreateRequest::default()
        }
    }

    /// Starts `count` containers, several at once.
    pub(crate) async fn start_many(&self, runtime: &str, count: usize) -> anyhow::Result<()> {
        self.many(count, |mut client, _| {
            let request = self.request(runtime);
            async move {
                let answer = client.run(request).await?.into_inner();
                ensure!(answer.failure.is_none(), "a start failed: {:?}", answer.failure);
                Ok(())
            }
        })
        .await
    }

    /// Creates `count` containers, several at once.
    pub(crate) async fn create_many(&self, runtime: &str, count: usize) -> anyhow::Result<()> {
        self.many(count, |mut client, _| {
            let request = self.request(runtime);
            async move { client.create(request).await.map(drop).map_err(Into::into) }
        })
        .await
    }

    pub(crate) async fn remove(&self, id: &str) -> anyhow::Result<()> {
        let request = RemoveRequest { container: id.to_owned(), force: true, volumes: false };
        self.containers().remove(request).await?;
        Ok(())
    }

    /// Removes every container, running or not.
    pub(crate) async fn remove_all(&self) -> anyhow::Result<()> {
        let ids: Vec<String> = self.list().await?.into_iter().map(|container| container.id).collect();
        self.many(ids.len(), |mut client, index| {
            let container = ids[index].clone();
            async move {
                client.remove(RemoveRequest { container, force: true, volumes: false }).await?;
                Ok(())
            }
        })
        .await
    }

    async fn many<F>(&self, count: usize, call: impl Fn(ContainersClient<Channel>, usize) -> F) -> anyhow::Result<()>
    where
        F: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        let mut tasks = JoinSet::new();
        for index in 0..count {
            if tasks.len() == PARALLEL
                && let Some(done) = tasks.join_next().await
            {
                done??;
            }
            tasks.spawn(call(self.containers(), index));
        }
        while let Some(done) = tasks.join_next().await {
            done??;
        }
        Ok(())
    }
}

impl Drop for Daemon<'_> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn socket(place: &Place, name: &str) -> PathBuf {
    place.run().join(format!("{name}.sock"))
}

fn endpoint(place: &Place, name: &str) -> anyhow::Result<Endpoint> {
    let origin = tonic::codegen::http::Uri::from_static("http://localhost");
    Ok(Endpoint::try_from(format!("unix://{}", socket(place, name).display()))?.origin(origin))
}
