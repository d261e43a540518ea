//! The place of a measurement: directories, a root filesystem and a cgroup of its own, in a mount namespace of its own,
//! so that nothing it leaves can reach the machine. Dropping it removes everything, and ends the processes still in it.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use nix::mount::{MntFlags, MsFlags};
use nix::sched::CloneFlags;

const CGROUPS: &str = "/sys/fs/cgroup";
/// Bytes of the image; only written ones take room.
const IMAGE: u64 = 4 << 30;
/// How long killed processes may take to leave their cgroups.
const GONE: Duration = Duration::from_secs(10);

/// The measured binaries and the directories they work in.
pub(crate) struct Place {
    root: tempfile::TempDir,
    /// The persistent, synced files are here.
    pub disk: Disk,
    pub bins: PathBuf,
    /// Parent of every container's cgroup, below the root of each hierarchy.
    pub cgroup: String,
}

/// The file system of the persistent files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Disk {
    /// ext4 with a journal, in a file: the usual file system of servers, independent of this machine's disk.
    Image,
    /// The work directory itself.
    Plain,
}

/// Puts this process into a mount namespace of its own. Before any thread is started: a namespace is a thread's.
///
/// Where cgroup v1 and v2 are both mounted, v2 is hidden: some releases of crun do not run on such a machine.
pub(crate) fn enter_own_mounts() -> anyhow::Result<()> {
    nix::sched::unshare(CloneFlags::CLONE_NEWNS).context("cannot make a mount namespace; root is needed")?;
    nix::mount::mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)
        .context("cannot make the mounts private")?;
    let second = "/sys/fs/cgroup/unified";
    match nix::mount::umount2(second, MntFlags::MNT_DETACH) {
        // The directory beneath belongs to the machine: a runtime that writes there all the same shall write nowhere.
        Ok(()) => nix::mount::mount(Some("nothing"), second, Some("tmpfs"), MsFlags::empty(), None::<&str>)
            .context("cannot cover the second cgroup mount"),
        Err(nix::errno::Errno::EINVAL | nix::errno::Errno::ENOENT) => Ok(()),
        Err(errno) => Err(errno).context("cannot hide the second cgroup mount"),
    }
}

impl Place {
    /// Below `parent`, which should be on a real disk: its time to sync is part of the measurement.
    pub(crate) fn new(parent: &Path, bins: &Path, busybox: &Path, disk: Disk) -> anyhow::Result<Self> {
        let bins = find(bins)?;
        let root = tempfile::Builder::new().prefix("isulad-bench-").tempdir_in(parent)?;
        let cgroup = format!("/isulad-bench-{}", std::process::id());
        let mut place = Self { root, disk, bins, cgroup };
        fs::create_dir(place.path(""))?;
        if disk == Disk::Image
            && let Err(error) = place.mount_image()
        {
            eprintln!("bench: measuring on `{}` itself: {error:#}", parent.display());
            place.disk = Disk::Plain;
        }
        place
            .make_rootfs(busybox)
            .with_context(|| format!("cannot make a root filesystem of `{}`", busybox.display()))?;
        // Not the machine's own settings.
        fs::write(place.settings(), "{}")?;
        fs::create_dir(place.run())?;
        // As /run is on a machine: in memory.
        nix::mount::mount(Some("run"), &place.run(), Some("tmpfs"), MsFlags::empty(), Some("mode=0755"))
            .context("cannot mount the volatile directory")?;
        Ok(place)
    }

    fn mount_image(&self) -> anyhow::Result<()> {
        let image = self.root.path().join("image");
        fs::File::create_new(&image)?.set_len(IMAGE)?;
        run(Command::new("mkfs.ext4").args(["-q", "-F"]).arg(&image))?;
        run(Command::new("mount").args(["-o", "loop"]).arg(&image).arg(self.path(""))).map(drop)
    }

    fn make_rootfs(&self, busybox: &Path) -> io::Result<()> {
        let rootfs = self.rootfs();
        for dir in ["bin", "dev", "etc", "proc", "sys", "tmp"] {
            fs::create_dir_all(rootfs.join(dir))?;
        }
        fs::copy(busybox, rootfs.join("bin/busybox"))?;
        for name in ["sh", "sleep", "true"] {
            symlink("busybox", rootfs.join("bin").join(name))?;
        }
        Ok(())
    }

    /// On the disk.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.path().join("disk").join(name)
    }

    pub(crate) fn rootfs(&self) -> PathBuf {
        self.path("rootfs")
    }

    /// An empty `daemon.json`.
    pub(crate) fn settings(&self) -> PathBuf {
        self.path("daemon.json")
    }

    /// In memory.
    pub(crate) fn run(&self) -> PathBuf {
        self.root.path().join("run")
    }

    /// Shims are not always in a cgroup below ours. They end first: they would go on working here when their containers
    /// end.
    fn end_shims(&self) {
        let daemons = subdirectories(&self.run());
        let containers = daemons.iter().flat_map(|daemon| subdirectories(daemon)).flat_map(|dir| subdirectories(&dir));
        for file in containers.map(|container| container.join("shim-pid")) {
            let text = fs::read_to_string(file).unwrap_or_default();
            let mut words = text.split_whitespace();
            let (Some(pid), Some(start)) = (words.next(), words.next()) else { continue };
            // The 22nd field of all, the 20th after the name: a reused pid is not ours to kill.
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            let same = stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(19)) == Some(start);
            if let (true, Ok(pid)) = (same, pid.parse()) {
                let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL);
            }
        }
    }

    fn unmount(&self) -> anyhow::Result<()> {
        let mounts = fs::read_to_string("/proc/self/mounts")?;
        let inside = self.root.path().to_string_lossy().into_owned();
        let targets = mounts.lines().filter_map(|line| line.split(' ').nth(1)).filter(|at| at.starts_with(&inside));
        for target in targets.collect::<Vec<_>>().into_iter().rev() {
            nix::mount::umount2(target, MntFlags::MNT_DETACH).with_context(|| format!("cannot unmount `{target}`"))?;
        }
        Ok(())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.end_shims();
        // A clean-up that fails does not prevent the others; the directory goes after them.
        for cleared in [end_cgroups(&self.cgroup), self.unmount()] {
            if let Err(error) = cleared {
                eprintln!("bench: {error:#}");
            }
        }
    }
}

/// A directory with the three binaries.
pub(crate) fn find(bins: &Path) -> anyhow::Result<PathBuf> {
    let bins = bins.canonicalize().with_context(|| format!("cannot find `{}`", bins.display()))?;
    for name in ["isulad", "isulad-shim", "isula"] {
        ensure!(bins.join(name).is_file(), "there is no `{name}` in `{}`", bins.display());
    }
    Ok(bins)
}

/// Kills all processes in the cgroups below `parent` and removes them, in every hierarchy. Shims have a cgroup there
/// too.
fn end_cgroups(parent: &str) -> anyhow::Result<()> {
    let parent = parent.trim_start_matches('/');
    let mut hierarchies = subdirectories(Path::new(CGROUPS));
    hierarchies.push(CGROUPS.into());
    hierarchies.retain(|root| root.join("cgroup.procs").is_file());
    let groups: Vec<PathBuf> = hierarchies.iter().map(|at| at.join(parent)).filter(|group| group.is_dir()).collect();
    let deadline = Instant::now() + GONE;
    loop {
        for pid in groups.iter().flat_map(|group| processes_below(group)) {
            let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL);
        }
        // Possible when all have ended, even if they are not reaped yet.
        match groups.iter().try_for_each(|group| remove_below(group)) {
            Ok(()) => return Ok(()),
            Err(error) if Instant::now() > deadline => return Err(error).context("cannot remove a cgroup"),
            Err(_) => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}

fn processes_below(group: &Path) -> Vec<i32> {
    let own = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
    let mut found: Vec<i32> = own.lines().filter_map(|line| line.parse().ok()).collect();
    found.extend(subdirectories(group).iter().flat_map(|child| processes_below(child)));
    found
}

fn remove_below(group: &Path) -> io::Result<()> {
    subdirectories(group).iter().try_for_each(|child| remove_below(child))?;
    match fs::remove_dir(group) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn subdirectories(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect()
}

/// Runs a command to its end; its output is in the error.
pub(crate) fn run(command: &mut Command) -> anyhow::Result<String> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("cannot run {command:?}"))?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?} failed: {}", errors.trim());
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
