//! A process that cannot be mistaken for another one: its pid together with its start time.

use std::fs::File;
use std::io::{self, Read};
use std::time::Duration;

/// A pid together with the start time of its process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ProcessRef {
    pub pid: i32,
    /// Field 22 of `/proc/<pid>/stat`: clock ticks since boot.
    pub start_time: u64,
}

/// The fields of `/proc/<pid>/stat`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    /// `R`, `S`, `D`, `Z`, …
    pub state: u8,
    pub parent: i32,
    /// The process group: the pid of its first leader.
    pub group: i32,
    /// The session: the pid of its first leader.
    pub session: i32,
    pub start_time: u64,
}

impl ProcessRef {
    /// The process that has this pid now; `NotFound` when there is none.
    pub fn of(pid: i32) -> io::Result<Self> {
        Ok(Self { pid, start_time: Stat::read(pid)?.start_time })
    }

    /// This process.
    pub fn current() -> io::Result<Self> {
        Self::of(rustix::process::getpid().as_raw_nonzero().get())
    }

    /// Whether the process still runs. A zombie does not.
    pub fn alive(&self) -> bool {
        Stat::read(self.pid).is_ok_and(|stat| stat.start_time == self.start_time && !matches!(stat.state, b'Z' | b'X'))
    }

    /// Whether the process has ended, or is ending. A process that is ending still counts as alive while the kernel kills
    /// the others of its pid namespace, and has no root directory any more.
    pub fn ending(&self) -> bool {
        let rootless = || match std::fs::read_link(format!("/proc/{}/root", self.pid)) {
            Ok(_) => false,
            Err(error) => matches!(error.kind(), io::ErrorKind::NotFound) || error.raw_os_error() == Some(libc::ESRCH),
        };
        rootless() || !self.alive()
    }

    /// Time since the process started, to a tick of the kernel's clock; zero where it cannot be read.
    pub fn age(&self) -> Duration {
        let uptime = std::fs::read_to_string("/proc/uptime").ok();
        let seconds = uptime.and_then(|text| text.split_ascii_whitespace().next()?.parse::<f64>().ok());
        let started = self.start_time as f64 / rustix::param::clock_ticks_per_second() as f64;
        seconds.and_then(|now| Duration::try_from_secs_f64(now - started).ok()).unwrap_or_default()
    }
}

impl Stat {
    /// Reads `/proc/<pid>/stat`, also of a process that has ended and is not reaped yet.
    pub fn read(pid: i32) -> io::Result<Self> {
        // One read gets the whole line: at most 50 numbers and a short name.
        let mut text = [0; 2048];
        let count = File::open(format!("/proc/{pid}/stat")).and_then(|mut file| file.read(&mut text)).map_err(gone)?;
        Self::parse(&text[..count])
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, format!("/proc/{pid}/stat has another layout")))
    }

    fn parse(text: &[u8]) -> Option<Self> {
        // The command may hold any character, also spaces and parentheses: the last parenthesis ends it.
        let end = text.iter().rposition(|byte| *byte == b')')?;
        let mut fields = std::str::from_utf8(text.get(end + 2..)?).ok()?.split_ascii_whitespace();
        let state = *fields.next()?.as_bytes().first()?;
        let parent = fields.next()?.parse().ok()?;
        let group = fields.next()?.parse().ok()?;
        let session = fields.next()?.parse().ok()?;
        let start_time = fields.nth(15)?.parse().ok()?;
        Some(Self { state, parent, group, session, start_time })
    }
}

/// A process that is reaped between `open` and `read` gives ESRCH, which means the same as ENOENT.
fn gone(error: io::Error) -> io::Error {
    if error.raw_os_error() == Some(libc::ESRCH) { io::ErrorKind::NotFound.into() } else { error }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_with_parentheses_is_read() {
        let text = b"12 (a) b (c)) S 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 777 22 23\n";
        assert_eq!(Stat::parse(text), Some(Stat { state: b'S', parent: 3, group: 4, session: 5, start_time: 777 }));
        assert_eq!(Stat::parse(b"12 (a"), None);
        assert_eq!(Stat::parse(b""), None);
    }

    #[test]
    fn the_line_of_a_process_is_read_whole() {
        let me = Stat::read(std::process::id() as i32).unwrap();
        let text = std::fs::read("/proc/self/stat").unwrap();
        assert_eq!(Stat::parse(&text).map(|stat| (stat.parent, stat.start_time)), Some((me.parent, me.start_time)));
        assert!(text.len() < 2048);
    }

    #[test]
    fn an_age_is_counted_from_the_start() {
        let mut child = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        let it = ProcessRef::of(child.id() as i32).unwrap();
        let before = it.age();
        let ticks = rustix::param::clock_ticks_per_second();
        let older = ProcessRef { start_time: it.start_time.saturating_sub(7 * ticks), ..it };
        assert!(older.age() >= before + Duration::from_secs(7).min(Duration::from_secs(it.start_time / ticks)));
        assert_eq!(ProcessRef { start_time: u64::MAX / 2, ..it }.age(), Duration::ZERO);
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn alive_means_the_same_process() {
        let me = ProcessRef::current().unwrap();
        assert!(me.alive() && !me.ending());
        assert!(!ProcessRef { start_time: me.start_time + 1, ..me }.alive());
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let it = ProcessRef::of(child.id() as i32).unwrap();
        child.wait().unwrap();
        assert!(!it.alive() && it.ending());
        assert_eq!(ProcessRef::of(it.pid).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
