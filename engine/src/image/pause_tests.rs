//! The program where it is meant to run: first of a pid namespace. Needs root, unshare and nsenter.

use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use isulad_shim::ProcessRef;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::*;

const PATH: &str = concat!(env!("OUT_DIR"), "/isulad-pause");

/// The program in a namespace of its own. `unshare` ends as it does.
struct Paused {
    unshare: Child,
    pid: i32,
}

impl Paused {
    fn start() -> Self {
        let unshare = Command::new("unshare").args(["--pid", "--fork", "--kill-child", PATH]).spawn().unwrap();
        let parent = unshare.id().cast_signed();
        let mut paused = Self { unshare, pid: 0 };
        paused.pid = wait_for("the program", || {
            let pid = *children(parent).first()?;
            // The program sleeps only while it waits for signals.
            let is_it = fs::read_link(format!("/proc/{pid}/exe")).ok()? == Path::new(PATH);
            (is_it && status(pid, "State") == "S (sleeping)").then_some(pid)
        });
        paused
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid), signal).unwrap();
    }
}

impl Drop for Paused {
    fn drop(&mut self) {
        let _ = self.unshare.kill();
        let _ = self.unshare.wait();
    }
}

/// Until `look` finds it; a change of another process sends no notice, so it is looked at again and again.
fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(180);
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "no sign of {what}");
        std::thread::yield_now();
    }
}

fn children(pid: i32) -> Vec<i32> {
    let list = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    list.split_whitespace().map(|pid| pid.parse().unwrap()).collect()
}

fn status(pid: i32, key: &str) -> String {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
    line.unwrap_or_default().trim().to_owned()
}

#[test]
fn sigterm_and_sigint_end_it_and_no_other_signal_does() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let mut paused = Paused::start();
        for other in [Signal::SIGHUP, Signal::SIGUSR1, Signal::SIGPIPE, Signal::SIGWINCH] {
            paused.signal(other);
        }
        paused.signal(signal);
        let ended = wait_for("its end", || paused.unshare.try_wait().unwrap());
        assert_eq!(ended.code(), Some(0), "{signal}");
    }
}

#[test]
fn it_reaps_orphaned_processes() {
    let paused = Paused::start();
    // Each reads until the pipe is closed, and outlives the shell that it was started by.
    let orphans = "for i in 1 2 3; do cat <&3 >/dev/null 2>&1 & done";
    let mut nsenter = Command::new("nsenter")
        .args(["--pid", "--target", &paused.pid.to_string(), "sh", "-c", &format!("exec 3<&0; {orphans}")])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let held = nsenter.stdin.take().unwrap();
    assert!(nsenter.wait().unwrap().success());
    let orphans: Vec<ProcessRef> = wait_for("three orphans", || {
        let found: Vec<_> = children(paused.pid).into_iter().filter_map(|pid| ProcessRef::of(pid).ok()).collect();
        (found.len() == 3).then_some(found)
    });
    drop(held);
    // A zombie would still be among the children.
    wait_for("their end", || children(paused.pid).is_empty().then_some(()));
    assert!(orphans.iter().all(|orphan| !Path::new(&format!("/proc/{}", orphan.pid)).exists() || !orphan.alive()));
    assert!(ProcessRef::of(paused.pid).unwrap().alive());
}

#[test]
fn it_is_small_and_statically_linked() {
    assert!(PROGRAM.len() < 8 << 10, "{} bytes", PROGRAM.len());
    let half = |at: usize| u16::from_le_bytes([PROGRAM[at], PROGRAM[at + 1]]) as usize;
    let (first, size, count) = (u64::from_le_bytes(PROGRAM[32..40].try_into().unwrap()) as usize, half(54), half(56));
    let kinds: Vec<u32> =
        (0..count).map(|index| u32::from_le_bytes(PROGRAM[first + index * size..][..4].try_into().unwrap())).collect();
    const DYNAMIC: u32 = 2;
    const INTERPRETER: u32 = 3;
    assert!(!kinds.contains(&DYNAMIC) && !kinds.contains(&INTERPRETER), "{kinds:?}");
    let paused = Paused::start();
    let resident: u32 = status(paused.pid, "VmRSS").trim_end_matches(" kB").parse().unwrap();
    assert!(resident <= 64, "{resident} KiB");
    assert_eq!(status(paused.pid, "Threads"), "1");
}

#[test]
fn it_prints_its_version() {
    for flag in ["-v", "--version"] {
        let output = Command::new(PATH).arg(flag).output().unwrap();
        assert!(output.status.success());
        assert_eq!(output.stdout, b"isulad-pause 1\n");
    }
}

#[test]
fn the_image_holds_the_program_and_fits_together() {
    let image = pause_image();
    assert_eq!(image, pause_image());
    let mut archive = tar::Archive::new(image.layer.as_slice());
    let mut entries = 0;
    for mut entry in archive.entries().unwrap().map(Result::unwrap) {
        entries += 1;
        let header = entry.header();
        assert_eq!(entry.path().unwrap(), Path::new("pause"));
        assert_eq!((header.mode().unwrap(), header.mtime().unwrap()), (0o755, 0));
        assert_eq!((header.uid().unwrap(), header.gid().unwrap()), (0, 0));
        let mut program = Vec::new();
        entry.read_to_end(&mut program).unwrap();
        assert!(program == PROGRAM);
    }
    assert_eq!(entries, 1);
    let config: serde_json::Value = serde_json::from_slice(&image.config).unwrap();
    assert_eq!(config["rootfs"]["diff_ids"], json!([digest(&image.layer).to_string()]));
    assert_eq!(config["config"]["Entrypoint"], json!(["/pause"]));
    let manifest: serde_json::Value = serde_json::from_slice(&image.manifest).unwrap();
    assert_eq!(manifest["config"]["digest"], json!(digest(&image.config).to_string()));
    assert_eq!(manifest["config"]["size"], json!(image.config.len()));
    assert_eq!(manifest["layers"][0]["digest"], json!(image.diff_id.to_string()));
    assert_eq!(manifest["layers"][0]["size"], json!(image.layer.len()));
}
