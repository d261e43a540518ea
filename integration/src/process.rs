//! Processes of the machine, identified by pid and start time, since pids are used again.

use std::fs;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags};
use rustix::process::{Pid, PidfdFlags, pidfd_open, pidfd_send_signal};

pub use rustix::process::Signal;

use crate::deadline;

/// A process, alive or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Process {
    pub pid: i32,
    /// Clock ticks since boot.
    pub start_time: u64,
}

impl Process {
    /// The process that has this number now.
    pub fn of(pid: i32) -> Option<Self> {
        Some(Self { pid, start_time: stat_field(pid, 22)?.parse().ok()? })
    }

    /// Neither gone nor a zombie.
    pub fn alive(self) -> bool {
        Self::of(self.pid) == Some(self) && stat_field(self.pid, 3).is_some_and(|state| state != "Z" && state != "X")
    }

    /// The parent process.
    pub fn parent(self) -> Option<Self> {
        let parent = stat_field(self.pid, 4)?.parse().ok()?;
        (Self::of(self.pid) == Some(self)).then(|| Self::of(parent))?
    }

    /// Whether every thread waits for something, and none for a processor.
    pub fn sleeps(self) -> bool {
        let threads = fs::read_dir(format!("/proc/{}/task", self.pid)).into_iter().flatten().flatten();
        let mut states = threads.filter_map(|thread| field_of(&thread.path().join("stat"), 3));
        self.alive() && states.all(|state| state == "S")
    }

    /// Waits for its end; `false` when it outlives `patience`.
    pub fn wait_gone(self, patience: Duration) -> bool {
        let Some(pidfd) = self.pidfd() else { return true };
        !self.alive() || deadline::ready(&mut [PollFd::new(&pidfd, PollFlags::IN)], patience)
    }

    /// Signals the process, if the pid is still its own.
    pub fn signal(self, signal: Signal) {
        let Some(pidfd) = self.pidfd() else { return };
        if Self::of(self.pid) == Some(self) {
            let _ = pidfd_send_signal(&pidfd, signal);
        }
    }

    /// SIGKILL, and waits until it is gone.
    ///
    /// # Panics
    /// When it does not die.
    pub fn kill(self) {
        self.signal(Signal::KILL);
        assert!(self.wait_gone(deadline::PATIENCE), "process {} outlives SIGKILL", self.pid);
    }

    fn pidfd(self) -> Option<OwnedFd> {
        pidfd_open(Pid::from_raw(self.pid)?, PidfdFlags::empty()).ok()
    }

    pub fn threads(self) -> usize {
        entries(format!("/proc/{}/task", self.pid))
    }

    /// Whether it has a file of this name open.
    pub fn has_open(self, name: &str) -> bool {
        self.open_count(name) > 0
    }

    /// The number of descriptors of files with this name.
    pub fn open_count(self, name: &str) -> usize {
        let entries = std::fs::read_dir(format!("/proc/{}/fd", self.pid)).into_iter().flatten().flatten();
        entries.filter_map(|entry| std::fs::read_link(entry.path()).ok()).filter(|path| path.ends_with(name)).count()
    }

    pub fn descriptors(self) -> usize {
        entries(format!("/proc/{}/fd", self.pid))
    }

    /// A field of `/proc/<pid>/status` in KiB, such as `VmRSS`.
    pub fn status_kib(self, field: &str) -> Option<u64> {
        let text = fs::read_to_string(format!("/proc/{}/status", self.pid)).ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))?;
        line.split_whitespace().next()?.parse().ok()
    }
}

/// Every process with this argument on its command line and a program called `name`.
pub fn with_argument(name: &str, matches: impl Fn(&str) -> bool) -> Vec<Process> {
    all()
        .filter(|process| {
            let words = command_line(process.pid);
            let called = words.first().is_some_and(|first| first.rsplit('/').next() == Some(name));
            called && words[1..].iter().any(|word| matches(word))
        })
        .collect()
}

/// The words a process was started with; none for a zombie.
pub fn command_line(pid: i32) -> Vec<String> {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let words = bytes.split(|byte| *byte == 0).filter(|word| !word.is_empty());
    words.map(|word| String::from_utf8_lossy(word).into_owned()).collect()
}

/// Every process there is, zombies too.
pub fn all() -> impl Iterator<Item = Process> {
    let numbers = fs::read_dir("/proc").into_iter().flatten().flatten();
    numbers.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter_map(Process::of)
}

/// A field of `/proc/<pid>/stat`, counted from 1 as in proc(5); the name in field 2 may hold anything.
fn stat_field(pid: i32, number: usize) -> Option<String> {
    field_of(format!("/proc/{pid}/stat").as_ref(), number)
}

fn field_of(stat: &Path, number: usize) -> Option<String> {
    let text = fs::read_to_string(stat).ok()?;
    let rest = &text[text.rfind(')')? + 1..];
    rest.split_whitespace().nth(number - 3).map(str::to_owned)
}

fn entries(path: impl Into<PathBuf>) -> usize {
    fs::read_dir(path.into()).map_or(0, Iterator::count)
}
