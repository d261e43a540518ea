//! The runtime without an engine: the same spec, an overlay over the same directory, and nothing else timed.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use nix::mount::{MntFlags, MsFlags};
use serde_json::Value;

use crate::daemon::Daemon;
use crate::place::Place;

/// A runtime, and the spec that the engine wrote for a container of its own.
pub(crate) struct Bare<'a> {
    place: &'a Place,
    runtime: &'a str,
    spec: Value,
    made: usize,
}

/// All that a runtime needs to start one container.
pub(crate) struct Bundle {
    id: String,
    dir: PathBuf,
}

impl<'a> Bare<'a> {
    /// `container` must stay: its hosts file and shared memory are used.
    pub(crate) fn like(
        place: &'a Place,
        daemon: &Daemon<'_>,
        runtime: &'a str,
        container: &str,
    ) -> anyhow::Result<Self> {
        let path = daemon.graph().join("engines").join(runtime).join(container).join("config.json");
        let text = fs::read(&path).with_context(|| format!("cannot read `{}`", path.display()))?;
        Ok(Self { place, runtime, spec: serde_json::from_slice(&text)?, made: 0 })
    }

    /// Mounts the overlay and writes the spec.
    pub(crate) fn prepare(&mut self) -> anyhow::Result<Bundle> {
        self.made += 1;
        let id = format!("bare-{}-{}", self.runtime, self.made);
        let dir = self.place.path(&id);
        let [upper, work, merged] = ["upper", "work", "merged"].map(|name| dir.join(name));
        for dir in [&upper, &work, &merged] {
            fs::create_dir_all(dir)?;
        }
        let options = format!(
            "lowerdir={},upperdir={},workdir={}",
            self.place.rootfs().display(),
            upper.display(),
            work.display()
        );
        nix::mount::mount(Some("overlay"), &merged, Some("overlay"), MsFlags::empty(), Some(options.as_str()))
            .context("cannot mount an overlay")?;
        let mut spec = self.spec.clone();
        spec["root"]["path"] = merged.to_string_lossy().into();
        spec["linux"]["cgroupsPath"] = format!("{}/{id}", self.place.cgroup).into();
        fs::write(dir.join("config.json"), serde_json::to_vec(&spec)?)?;
        Ok(Bundle { id, dir })
    }

    /// `create` and `start`, one after the other.
    pub(crate) fn create_start(&self, bundle: &Bundle) -> anyhow::Result<Duration> {
        let mut create = self.make("create", bundle);
        let mut start = self.call("start");
        create.arg(&bundle.id);
        start.arg(&bundle.id);
        timed(&mut [create, start])
    }

    /// `run --detach`: both in one execution.
    pub(crate) fn run(&self, bundle: &Bundle) -> anyhow::Result<Duration> {
        let mut command = self.make("run", bundle);
        command.arg("--detach").arg(&bundle.id);
        timed(&mut [command])
    }

    /// `exec` of /bin/true in a started bundle.
    pub(crate) fn exec(&self, bundle: &Bundle) -> anyhow::Result<Duration> {
        let mut command = self.call("exec");
        command.arg(&bundle.id).arg("/bin/true");
        timed(&mut [command])
    }

    /// `run` in the foreground of another program, which ends by itself.
    pub(crate) fn run_to_its_end(&self, bundle: &Bundle, words: &[&str]) -> anyhow::Result<Duration> {
        let path = bundle.dir.join("config.json");
        let mut spec: Value = serde_json::from_slice(&fs::read(&path)?)?;
        spec["process"]["args"] = words.into();
        fs::write(&path, serde_json::to_vec(&spec)?)?;
        let mut command = self.make("run", bundle);
        command.arg(&bundle.id);
        timed(&mut [command])
    }

    /// `delete --force`.
    pub(crate) fn delete(&self, bundle: &Bundle) -> anyhow::Result<Duration> {
        let mut command = self.call("delete");
        command.arg("--force").arg(&bundle.id);
        timed(&mut [command])
    }

    pub(crate) fn remove(&self, bundle: &Bundle) -> anyhow::Result<()> {
        self.delete(bundle)?;
        self.forget(bundle)
    }

    /// Removes the files of a bundle that the runtime has deleted.
    pub(crate) fn forget(&self, bundle: &Bundle) -> anyhow::Result<()> {
        nix::mount::umount2(&bundle.dir.join("merged"), MntFlags::MNT_DETACH).context("cannot unmount an overlay")?;
        Ok(fs::remove_dir_all(&bundle.dir)?)
    }

    fn make(&self, operation: &str, bundle: &Bundle) -> Command {
        let mut command = self.call(operation);
        command.arg("--bundle").arg(&bundle.dir).arg("--pid-file").arg(self.place.run().join(&bundle.id));
        command
    }

    fn call(&self, operation: &str) -> Command {
        let mut command = Command::new(self.runtime);
        command.arg("--root").arg(self.place.run().join("bare")).arg(operation);
        command
    }
}

fn timed(commands: &mut [Command]) -> anyhow::Result<Duration> {
    for command in commands.iter_mut() {
        command.stdin(Stdio::null()).stdout(Stdio::null());
    }
    let begun = Instant::now();
    for command in commands {
        let status = command.status()?;
        ensure!(status.success(), "{command:?} failed with {status}");
    }
    Ok(begun.elapsed())
}
