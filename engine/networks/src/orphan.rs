//! Orphaned plugins: they have outlived the daemon that ran them and do not end. They are found by the input that they
//! have open, which is a file of the engine, and ended with all processes that they have started.
//!
//! A plugin is started as the leader of a process group, in the session of the daemon. So a process that has the input
//! and is in the group that its session began with has made a session of its own, and means to stay.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

use isulad_shim::ProcessRef;
use isulad_shim::sys::pidfd::PidFd;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::{Pid, getpgid, getpgrp, getsid};

const KILL: i32 = 9;
const PAUSE: Duration = Duration::from_millis(10);

/// The processes that had the file as their standard input.
#[derive(Debug, Default)]
pub(crate) struct Readers {
    /// Signalled, with their groups.
    pub ended: usize,
    /// Processes in sessions of their own, which are left alone.
    pub staying: usize,
    /// Signalled processes that have not ended.
    pub left: Vec<ProcessRef>,
}

/// Kills every process whose standard input is this file, with its process group, and waits for their ends. Blocks, no
/// longer than `patience`.
pub(crate) fn end_readers(file: &Path, patience: Duration) -> io::Result<Readers> {
    let mut readers = Readers::default();
    let wanted = match fs::metadata(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(readers),
        facts => identity(&facts?),
    };
    let reads = |pid: i32| fs::metadata(format!("/proc/{pid}/fd/0")).is_ok_and(|facts| identity(&facts) == wanted);
    for pid in pids()?.filter(|pid| reads(*pid)) {
        let Ok(process) = ProcessRef::of(pid) else { continue };
        let Ok(pidfd) = PidFd::open(process) else { continue };
        let Some(group) = group_of(pid) else { continue };
        // Looked at again now that the pidfd identifies the process. As long as it is there, the number of its group is
        // not reused.
        if !reads(pid) {
            continue;
        }
        match group {
            Group::OfPlugin(group) if killpg(group, Signal::SIGKILL).is_ok() => {
                readers.left.extend(members(group)?);
            }
            Group::Ours if pidfd.send_signal(KILL).is_ok() => readers.left.push(process),
            Group::OfSession => {
                readers.staying += 1;
                continue;
            }
            Group::OfPlugin(_) | Group::Ours => continue,
        }
        readers.ended += 1;
    }
    let end = Instant::now() + patience;
    loop {
        readers.left.retain(ProcessRef::alive);
        if readers.left.is_empty() || Instant::now() >= end {
            return Ok(readers);
        }
        std::thread::sleep(PAUSE);
    }
}

enum Group {
    OfPlugin(Pid),
    /// The group that its session began with.
    OfSession,
    /// The daemon's own group: the process forked for a plugin that has not executed it yet.
    Ours,
}

/// `None` when the process is gone, or its group has no number here, as that of another pid namespace.
fn group_of(pid: i32) -> Option<Group> {
    let pid = Some(Pid::from_raw(pid));
    let (group, session) = (getpgid(pid).ok().filter(|group| group.as_raw() > 1)?, getsid(pid).ok()?);
    Some(match group {
        group if group == getpgrp() => Group::Ours,
        group if group == session => Group::OfSession,
        group => Group::OfPlugin(group),
    })
}

/// The members of the group that are still there after a signal to it.
fn members(group: Pid) -> io::Result<impl Iterator<Item = ProcessRef>> {
    let is_member = move |pid: i32| getpgid(Some(Pid::from_raw(pid))).is_ok_and(|of| of == group);
    Ok(pids()?.filter(move |pid| is_member(*pid)).filter_map(|pid| ProcessRef::of(pid).ok()))
}

fn pids() -> io::Result<impl Iterator<Item = i32>> {
    Ok(fs::read_dir("/proc")?.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()))
}

fn identity(facts: &fs::Metadata) -> (u64, u64) {
    (facts.dev(), facts.ino())
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::CommandExt;
    use std::process::{Child, Command, Stdio};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);

    /// Ended with the test, however that ends.
    struct Started(Child);

    impl Drop for Started {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    /// Starts a script as the daemon starts a plugin.
    fn start_plugin(script: &str, input: &Path) -> Started {
        fs::write(input, "").unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", script]).stdin(fs::File::open(input).unwrap()).stdout(Stdio::null()).stderr(Stdio::null());
        Started(command.process_group(0).spawn().unwrap())
    }

    /// The process whose pid was written there, with a line's end.
    fn written(path: &Path) -> ProcessRef {
        let end = Instant::now() + PATIENCE;
        loop {
            let text = fs::read_to_string(path).unwrap_or_default();
            if text.ends_with('\n') {
                return ProcessRef::of(text.trim().parse().unwrap()).unwrap();
            }
            assert!(Instant::now() < end, "it does not begin");
            std::thread::sleep(PAUSE);
        }
    }

    #[test]
    fn readers_of_the_file_are_ended_with_their_children_and_no_others() {
        let dir = tempfile::tempdir().unwrap();
        let (ours, other, child) = (dir.path().join("ours"), dir.path().join("other"), dir.path().join("child"));
        // The child writes its own number, so by then it has its own input.
        let script = format!("sh -c 'echo $$ >{}; exec sleep 1000' </dev/null & wait", child.display());
        let (mut one, mut two) = (start_plugin(&script, &ours), start_plugin("exec sleep 1000", &other));
        let child = written(&child);
        let readers = end_readers(&ours, PATIENCE).unwrap();
        assert_eq!((readers.ended, readers.staying, readers.left.len()), (1, 0, 0));
        assert!(!child.alive(), "its child would go on");
        assert!(!one.0.wait().unwrap().success());
        assert!(two.0.try_wait().unwrap().is_none());
        assert_eq!(end_readers(&dir.path().join("none"), PATIENCE).unwrap().ended, 0);
    }

    #[test]
    fn a_process_in_its_own_session_stays() {
        let dir = tempfile::tempdir().unwrap();
        let (ours, pid) = (dir.path().join("ours"), dir.path().join("pid"));
        // By another descriptor: the shell gives background processes no input.
        let script = format!("exec 3<&0; setsid sh -c 'echo $$ >{}; exec sleep 1000' <&3 & wait", pid.display());
        let mut plugin = start_plugin(&script, &ours);
        let service = written(&pid);
        let readers = end_readers(&ours, PATIENCE).unwrap();
        assert_eq!((readers.ended, readers.staying), (1, 1));
        assert!(!plugin.0.wait().unwrap().success() && service.alive());
        let readers = end_readers(&ours, PATIENCE).unwrap();
        assert_eq!((readers.ended, readers.staying), (0, 1));
        PidFd::open(service).and_then(|pidfd| pidfd.send_signal(KILL)).unwrap();
    }
}
