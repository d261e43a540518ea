//! One container's environment: directories, a busybox root, a spec, and the daemon's side of the protocol.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use isulad_shim::process::{Log, OomCounter, PROCESS_VERSION, PidNamespace, Runtime};
use isulad_shim::sys::pidfd::PidFd;
use isulad_shim::sys::spawn::{self, Mode};
use isulad_shim::{
    ExitRecord, ExitStatus, Failed, Frame, Outcome, Process, ProcessRef, Ready, Request, StateDir, pid_file, state_dir,
};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde_json::{Value, json};

/// A limit that is only reached by a hang.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Clone, Copy)]
pub(crate) enum Engine {
    Runc,
    Crun,
}

/// Makes a test of `$body` for each runtime.
#[macro_export]
macro_rules! on_both_runtimes {
    ($($body:ident),* $(,)?) => {
        mod runc { $(#[test] fn $body() { super::$body($crate::stand::Engine::Runc) })* }
        mod crun { $(#[test] fn $body() { super::$body($crate::stand::Engine::Crun) })* }
    };
}

pub(crate) struct Stand {
    pub process: Process,
    pub spec: Value,
    pub state: StateDir,
    exit_fifo: OwnedFd,
    directory: tempfile::TempDir,
    shim_env: Vec<(&'static str, String)>,
}

impl Stand {
    /// A container that will run `script` in busybox' shell.
    pub(crate) fn new(engine: Engine, script: &str) -> Self {
        Self::with_args(engine, &["/bin/sh", "-c", script])
    }

    pub(crate) fn with_args(engine: Engine, args: &[&str]) -> Self {
        let directory = tempfile::Builder::new().prefix("isulad-shim-test-").tempdir().unwrap();
        let root = fs::canonicalize(directory.path()).unwrap();
        let id = root.file_name().unwrap().to_str().unwrap().to_owned();
        let bundle = root.join("bundle");
        make_busybox(&bundle.join("rootfs"));
        let state = StateDir::new(root.join("state"));
        fs::create_dir(state.path()).unwrap();
        let exit_fifo = state.open_exit_fifo().unwrap();
        let path = match engine {
            Engine::Runc => PathBuf::from("/usr/sbin/runc"),
            Engine::Crun => make_crun(&root),
        };
        let process = Process {
            version: PROCESS_VERSION,
            runtime: Runtime { path, args: vec![] },
            start: 5,
            terminal: false,
            console_size: None,
            open_stdin: false,
            stdin_once: false,
            first_client: false,
            log: Log::JsonFile { path: bundle.join("console.log"), max_size: 0, max_files: 1 },
            exit_record: bundle.join("exit"),
            cgroup_procs: vec![],
            oom: Some(OomCounter::V1 {
                path: format!("/sys/fs/cgroup/memory/isulad-shim-test/{id}/memory.oom_control").into(),
            }),
            runtime_deadline_ms: 60_000,
            systemd_cgroup: false,
            pid_namespace: PidNamespace::Own,
            id: id.clone(),
            runtime_root: root.join("runtimes"),
            bundle,
        };
        let spec = spec(args, &id);
        Self { process, spec, state, exit_fifo, directory, shim_env: vec![] }
    }

    pub(crate) fn root(&self) -> PathBuf {
        fs::canonicalize(self.directory.path()).unwrap()
    }

    /// Uses another state directory, which exists.
    pub(crate) fn move_state(&mut self, path: &Path) {
        self.state = StateDir::new(path);
        self.exit_fifo = self.state.open_exit_fifo().unwrap();
    }

    /// Asks for a terminal.
    pub(crate) fn terminal(&mut self) {
        self.process.terminal = true;
        self.spec["process"]["terminal"] = json!(true);
    }

    pub(crate) fn share_pid_namespace(&mut self) {
        self.process.pid_namespace = PidNamespace::Shared;
        let namespaces = self.spec["linux"]["namespaces"].as_array_mut().unwrap();
        namespaces.retain(|namespace| namespace["type"] != "pid");
    }

    pub(crate) fn fail_at(&mut self, failpoint: &str) {
        self.shim_env = vec![(isulad_shim::failpoint::VARIABLE, failpoint.to_owned())];
    }

    pub(crate) fn clear_failpoint(&mut self) {
        self.shim_env.clear();
    }

    /// Writes the spec and `process.json`.
    pub(crate) fn write(&self) {
        fs::write(self.process.bundle.join("config.json"), self.spec.to_string()).unwrap();
        self.process.write(&self.state.process()).unwrap();
    }

    /// Starts the shim as the daemon does and returns its answer.
    pub(crate) fn launch(&self, mode: Mode, first: Option<&UnixStream>) -> io::Result<Outcome> {
        let (read, write) = io::pipe().unwrap();
        let first = first.map(AsFd::as_fd);
        let shim = self.shim();
        let pid = spawn::start(&shim, mode, &self.state, write.as_fd(), first).unwrap();
        drop(write);
        nix::sys::wait::waitpid(nix::unistd::Pid::from_raw(pid), None).unwrap();
        assert!(wait_readable(&read), "no answer from the shim");
        Outcome::read_from(read)
    }

    /// The shim itself, or a script that sets its environment.
    pub(crate) fn shim(&self) -> PathBuf {
        let shim = env!("CARGO_BIN_EXE_isulad-shim");
        if self.shim_env.is_empty() {
            return shim.into();
        }
        let set: Vec<_> = self.shim_env.iter().map(|(name, value)| format!("export {name}={value}\n")).collect();
        script(&self.root().join("shim"), &format!("{}exec {shim} \"$@\"", set.concat()))
    }

    pub(crate) fn start(&self) -> Ready {
        self.write();
        match self.launch(Mode::Run, None) {
            Ok(Outcome::Ready(ready)) => ready,
            other => panic!("not started: {other:?}\n{}", self.shim_log()),
        }
    }

    /// Starts with a first client.
    pub(crate) fn start_with_client(&mut self) -> (Ready, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_read_timeout(Some(PATIENCE)).unwrap();
        self.process.first_client = true;
        self.write();
        match self.launch(Mode::Run, Some(&theirs)) {
            Ok(Outcome::Ready(ready)) => (ready, ours),
            other => panic!("not started: {other:?}\n{}", self.shim_log()),
        }
    }

    pub(crate) fn start_fails(&self) -> Failed {
        self.write();
        match self.launch(Mode::Run, None) {
            Ok(Outcome::Failed(failed)) => failed,
            other => panic!("not a failure: {other:?}"),
        }
    }

    pub(crate) fn adopt(&self) -> Ready {
        match self.launch(Mode::Adopt, None) {
            Ok(Outcome::Ready(ready)) => ready,
            other => panic!("not adopted: {other:?}\n{}", self.shim_log()),
        }
    }

    /// Waits for the four bytes and for the hang-up after them, when the shim has exited.
    pub(crate) fn exit(&self) -> ExitStatus {
        let status = self.read_exit();
        self.wait_hang_up();
        status
    }

    /// Waits for the four bytes.
    pub(crate) fn read_exit(&self) -> ExitStatus {
        let mut bytes = [0; 4];
        assert!(wait_readable(&self.exit_fifo), "no exit\n{}", self.shim_log());
        rustix::io::read(&self.exit_fifo, &mut bytes)
            .map(|count| assert_eq!(count, 4, "the shim is lost\n{}", self.shim_log()))
            .unwrap();
        ExitStatus::from_wire(bytes)
    }

    /// Waits until no shim has `exit_fifo` open.
    pub(crate) fn wait_hang_up(&self) {
        assert!(self.hangs_up_within(PATIENCE), "the shim does not leave\n{}", self.shim_log());
    }

    pub(crate) fn hangs_up_within(&self, limit: Duration) -> bool {
        let mut fds = [PollFd::new(self.exit_fifo.as_fd(), PollFlags::empty())];
        poll(&mut fds, PollTimeout::try_from(limit).unwrap()).unwrap() == 1
    }

    pub(crate) fn record(&self) -> ExitRecord {
        ExitRecord::read(&self.process.exit_record).unwrap().expect("there is an exit record")
    }

    pub(crate) fn attach(&self) -> UnixStream {
        let stream = self.state.connect_attach().unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// The log's records of one stream, put together.
    pub(crate) fn log(&self, stream: &str) -> String {
        let Log::JsonFile { path, .. } = &self.process.log else { panic!("this container has no log") };
        log_text(path, stream)
    }

    pub(crate) fn shim_log(&self) -> String {
        fs::read_to_string(self.state.file(state_dir::SHIM_LOG)).unwrap_or_default()
    }

    pub(crate) fn cgroups(&self) -> Vec<PathBuf> {
        let controllers = fs::read_dir("/sys/fs/cgroup").unwrap();
        controllers
            .map(|entry| entry.unwrap().path().join("isulad-shim-test").join(&self.process.id))
            .filter(|path| path.exists())
            .collect()
    }

    /// Processes in the container, by its first cgroup.
    pub(crate) fn processes(&self) -> usize {
        let cgroups = self.cgroups();
        fs::read_to_string(cgroups[0].join("cgroup.procs")).unwrap().lines().count()
    }

    /// Asserts that nothing is left of the container: no cgroup, no mount, no process, and in the state directory only
    /// the files that are meant to stay.
    pub(crate) fn assert_clean(&self) {
        assert_eq!(self.cgroups(), Vec::<PathBuf>::new());
        let root = self.root();
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!mounts.contains(root.to_str().unwrap()), "{mounts}");
        let allowed =
            [state_dir::PROCESS, state_dir::PID, state_dir::SHIM_PID, state_dir::SHIM_LOG, state_dir::EXIT_FIFO];
        for entry in fs::read_dir(self.state.path()).unwrap() {
            let name = entry.unwrap().file_name();
            assert!(allowed.iter().any(|allowed| OsStr::new(allowed) == name), "left: {name:?}\n{}", self.shim_log());
        }
        for path in [self.state.pid(), self.state.shim_pid()] {
            if let Some(process) = pid_file::read(&path).unwrap() {
                wait_for("a process to be gone", || !process.alive());
            }
        }
    }

    /// Deletes the container as the daemon's recovery does when it undoes a start.
    pub(crate) fn delete_by_hand(&self) {
        let _ = Command::new(&self.process.runtime.path)
            .arg("--root")
            .arg(&self.process.runtime_root)
            .args(["delete", "--force", &self.process.id])
            .output();
    }

    pub(crate) fn in_root(&self, name: &str) -> PathBuf {
        self.process.bundle.join("rootfs").join(name)
    }

    /// A FIFO in the container's root, for the container to wait on.
    pub(crate) fn make_fifo(&mut self, name: &str) {
        nix::unistd::mkfifo(&self.in_root(name), nix::sys::stat::Mode::S_IRWXU).unwrap();
    }

    /// Lets the reader of the FIFO continue.
    pub(crate) fn release(&self, name: &str) {
        fs::write(self.in_root(name), "\n").unwrap();
    }

    pub(crate) fn log_size(&self) -> u64 {
        fs::metadata(self.process.bundle.join("console.log")).map_or(0, |metadata| metadata.len())
    }

    pub(crate) fn kill_shim(&self, ready: &Ready) {
        let pidfd = PidFd::open(ready.shim()).unwrap();
        pidfd.send_signal(libc::SIGKILL).unwrap();
        assert!(wait_readable(&pidfd));
    }
}

impl Drop for Stand {
    fn drop(&mut self) {
        for path in [self.state.shim_pid(), self.state.pid()] {
            if let Ok(Some(process)) = pid_file::read(&path)
                && let Ok(pidfd) = PidFd::open(process)
            {
                let _ = pidfd.send_signal(libc::SIGKILL);
            }
        }
        if self.process.runtime.path.exists() && self.process.runtime_root.exists() {
            let _ = Command::new("/usr/sbin/runc")
                .arg("--root")
                .arg(&self.process.runtime_root)
                .args(["delete", "--force", &self.process.id])
                .output();
        }
        for cgroup in self.cgroups() {
            for pid in fs::read_to_string(cgroup.join("cgroup.procs")).unwrap_or_default().lines() {
                let _ = nix::sys::signal::kill(
                    nix::unistd::Pid::from_raw(pid.parse().unwrap()),
                    nix::sys::signal::Signal::SIGKILL,
                );
            }
            let end = Instant::now() + Duration::from_secs(5);
            while fs::remove_dir(&cgroup).is_err() && Instant::now() < end {
                std::thread::yield_now();
            }
        }
    }
}

pub(crate) fn log_text(path: &Path, stream: &str) -> String {
    fs::read_to_string(path)
        .unwrap_or_default()
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap_or_else(|error| panic!("{error} in {line:?}")))
        .filter(|record| record["stream"] == stream)
        .map(|record| record["log"].as_str().unwrap().to_owned())
        .collect()
}

/// All output of both kinds until the end of the connection, and the exit status.
pub(crate) fn read_all(mut stream: &UnixStream) -> (Vec<u8>, Vec<u8>, Option<ExitStatus>) {
    let (mut out, mut err, mut exit) = (Vec::new(), Vec::new(), None);
    while let Some(frame) = Frame::read_from(&mut stream).unwrap() {
        assert_eq!(exit, None, "something after the exit: {frame:?}");
        match frame {
            Frame::Stdout(bytes) => out.extend(bytes),
            Frame::Stderr(bytes) => err.extend(bytes),
            Frame::Exit(status, _) => exit = Some(status),
            _ => {}
        }
    }
    (out, err, exit)
}

/// Reads output until it contains `text`.
pub(crate) fn read_until(mut stream: &UnixStream, text: &str) -> String {
    let mut received = String::new();
    while !received.contains(text) {
        match Frame::read_from(&mut stream).unwrap() {
            Some(Frame::Stdout(bytes) | Frame::Stderr(bytes)) => received.push_str(&String::from_utf8(bytes).unwrap()),
            Some(Frame::Exit(status, _)) => panic!("ended with {status:?} after {received:?}"),
            Some(_) => {}
            None => panic!("cut off after {received:?}"),
        }
    }
    received
}

pub(crate) fn send(stream: &UnixStream, request: &Request) {
    request.write_to(stream).unwrap();
}

/// Waits for the answer to a request, past any output.
pub(crate) fn read_answer(mut stream: &UnixStream) -> Frame {
    loop {
        match Frame::read_from(&mut stream).unwrap().expect("an answer") {
            Frame::Stdout(_) | Frame::Stderr(_) => {}
            frame => return frame,
        }
    }
}

pub(crate) fn script(path: &Path, text: &str) -> PathBuf {
    fs::write(path, format!("#!/bin/sh\n{text}\n")).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    path.to_owned()
}

/// Polls a condition that has no event.
pub(crate) fn wait_for(what: &str, mut reached: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !reached() {
        assert!(Instant::now() < end, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

pub(crate) fn alive(ready: &Ready) -> bool {
    ProcessRef { pid: ready.pid, start_time: ready.pid_start }.alive()
}

pub(crate) fn wait_readable(fd: &impl AsFd) -> bool {
    let mut fds = [PollFd::new(fd.as_fd(), PollFlags::POLLIN)];
    poll(&mut fds, PollTimeout::try_from(PATIENCE).unwrap()).unwrap() == 1
}

/// crun 1.8 rejects a machine with both cgroup versions, unless the second one is hidden from it.
fn make_crun(root: &Path) -> PathBuf {
    let inner = "umount /sys/fs/cgroup/unified 2>/dev/null; exec /usr/bin/crun \"$@\"";
    script(&root.join("crun"), &format!("exec unshare -m --propagation private sh -c '{inner}' crun \"$@\""))
}

fn make_busybox(rootfs: &Path) {
    let bin = rootfs.join("bin");
    for name in ["bin", "proc", "dev", "tmp", "sys"] {
        fs::create_dir_all(rootfs.join(name)).unwrap();
    }
    fs::copy("/bin/busybox", bin.join("busybox")).unwrap();
    for name in [
        "sh", "cat", "sleep", "true", "seq", "stty", "kill", "echo", "head", "dd", "printf", "yes", "mount", "readlink",
    ] {
        symlink("busybox", bin.join(name)).unwrap();
    }
}

fn spec(args: &[&str], id: &str) -> Value {
    let capabilities = ["CAP_KILL", "CAP_DAC_OVERRIDE", "CAP_CHOWN"];
    json!({
        "ociVersion": "1.0.2",
        "process": {
            "terminal": false, "user": {"uid": 0, "gid": 0}, "args": args, "env": ["PATH=/bin"], "cwd": "/",
            "capabilities": {"bounding": capabilities, "effective": capabilities, "permitted": capabilities},
            "noNewPrivileges": true
        },
        "root": {"path": "rootfs", "readonly": false},
        "hostname": "stand",
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"]},
            {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
             "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]}
        ],
        "linux": {
            "cgroupsPath": format!("/isulad-shim-test/{id}"),
            "namespaces": [{"type": "pid"}, {"type": "mount"}, {"type": "ipc"}, {"type": "uts"}],
            "resources": {"devices": [{"allow": true, "access": "rwm"}]}
        }
    })
}
