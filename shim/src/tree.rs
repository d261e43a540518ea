//! Killing a process with everything that it has started.
//!
//! What belongs to a tree: the process itself, the children of what belongs to it, and the members of their sessions and of
//! the process groups that they lead, which is how an orphan is still found: a runtime begins a session for what it
//! executes, the daemon a group for each program. Not those of sessions that were there before: the caller's, and the one
//! that a root was started in. Everything is stopped before anything is killed, so that nobody
//! leaves a child behind that was not seen. A process that has left its session and lost its parent before the first look
//! is a daemon of its own, and belongs to the container alone.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use crate::ProcessRef;
use crate::sys::pidfd::PidFd;
use crate::sys::process_ref::Stat;

/// Between two looks at what does not go at once.
const PAUSE: Duration = Duration::from_millis(2);

/// Kills the trees of `roots` and waits until nothing of them runs; what has ended and is not reaped does not. Blocks. False when something is still there after `limit`: frozen, or not let go by
/// the kernel; it is sent its death all the same.
pub fn kill(roots: &[ProcessRef], limit: Duration) -> bool {
    Tree::of(None, roots).kill(limit)
}

/// The same for everything below this process, which goes on itself.
pub fn kill_below_me(limit: Duration) -> bool {
    let Ok(me) = ProcessRef::current() else { return false };
    Tree::of(Some(me), &[me]).kill(limit)
}

struct Tree {
    spared: Option<ProcessRef>,
    /// Pid and start time of whatever was found so far.
    members: HashMap<i32, u64>,
    sessions: HashSet<i32>,
    /// Those whose leader was seen as a member.
    groups: HashSet<i32>,
    /// Older than the tree.
    foreign: HashSet<i32>,
}

impl Tree {
    fn of(spared: Option<ProcessRef>, roots: &[ProcessRef]) -> Self {
        let started_in = roots.iter().filter_map(|root| {
            let stat = Stat::read(root.pid).ok().filter(|stat| stat.start_time == root.start_time)?;
            (stat.session != root.pid).then_some(stat.session)
        });
        let own = nix::unistd::getsid(None).ok().map(nix::unistd::Pid::as_raw);
        let foreign = started_in.chain(own).collect();
        let members = roots.iter().map(|root| (root.pid, root.start_time)).collect();
        Self { spared, members, sessions: HashSet::new(), groups: HashSet::new(), foreign }
    }

    fn kill(mut self, limit: Duration) -> bool {
        let end = Instant::now() + limit;
        let mut stopped = Vec::new();
        loop {
            let new: Vec<_> = self.living().into_iter().filter(|process| !stopped.contains(process)).collect();
            if new.is_empty() || Instant::now() >= end {
                break;
            }
            new.iter().for_each(|process| signal(*process, libc::SIGSTOP));
            stopped.extend(new);
        }
        loop {
            let left = self.living();
            left.iter().for_each(|process| signal(*process, libc::SIGKILL));
            if left.is_empty() {
                return true;
            }
            if Instant::now() >= end {
                return false;
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// Looks for new members until none is found; those that run.
    fn living(&mut self) -> Vec<ProcessRef> {
        let processes = processes();
        loop {
            let before = self.members.len();
            for (process, stat) in &processes {
                let known = self.members.get(&process.pid) == Some(&process.start_time);
                let grouped = self.sessions.contains(&stat.session) || self.groups.contains(&stat.group);
                if known || grouped || self.member(stat.parent, &processes) {
                    self.members.insert(process.pid, process.start_time);
                    if stat.group == process.pid {
                        self.groups.insert(stat.group);
                    }
                    if !self.foreign.contains(&stat.session) {
                        self.sessions.insert(stat.session);
                    }
                }
            }
            if self.members.len() == before {
                break;
            }
        }
        let runs = |stat: &Stat| !matches!(stat.state, b'Z' | b'X');
        processes
            .iter()
            .filter(|(pid, stat)| self.members.get(&pid.pid) == Some(&pid.start_time) && runs(stat))
            .map(|(process, _)| *process)
            .filter(|process| self.spared != Some(*process))
            .collect()
    }

    /// A number that was given to another process since names nobody of ours.
    fn member(&self, pid: i32, processes: &[(ProcessRef, Stat)]) -> bool {
        self.members.get(&pid).is_some_and(|start| {
            let now = processes.iter().find(|(process, _)| process.pid == pid);
            now.is_none_or(|(process, _)| process.start_time == *start)
        })
    }
}

fn signal(process: ProcessRef, number: i32) {
    if let Ok(pidfd) = PidFd::open(process) {
        let _ = pidfd.send_signal(number);
    }
}

fn processes() -> Vec<(ProcessRef, Stat)> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(|pid| {
            let stat = Stat::read(pid).ok()?;
            Some((ProcessRef { pid, start_time: stat.start_time }, stat))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader};
    use std::os::unix::process::CommandExt;
    use std::process::{Child, Command, Stdio};

    /// A shell in a session of its own, and the processes that the script has named, each by a line of its own.
    fn start<const N: usize>(script: &str) -> (Child, [ProcessRef; N]) {
        let mut child = Command::new("setsid")
            .args(["sh", "-c", &format!("{script}\nwait")])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let pids = std::array::from_fn(|_| lines.next().unwrap().unwrap().parse().unwrap());
        (child, pids.map(|pid| ProcessRef::of(pid).unwrap()))
    }

    fn of(child: &Child) -> ProcessRef {
        ProcessRef::of(child.id() as i32).unwrap()
    }

    #[test]
    fn children_orphans_of_the_session_and_sessions_within_all_go() {
        let (mut child, members) = start::<4>(
            "sleep 1000 & echo $!; (sleep 1001 & echo $!); \
             setsid sh -c '(sleep 1002 & echo $!); echo $$; exec sleep 1003' &",
        );
        assert!(kill(&[of(&child)], Duration::from_secs(10)));
        child.wait().unwrap();
        let left: Vec<_> = members.iter().filter(|process| process.alive()).collect();
        assert!(left.is_empty(), "{left:?} of {members:?}");
    }

    /// As a runtime that was started in the session of the daemon's starter.
    #[test]
    fn the_session_that_a_root_was_started_in_stays() {
        let dir = tempfile::tempdir().unwrap();
        let ready = dir.path().join("ready");
        nix::unistd::mkfifo(&ready, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let ready = ready.display();
        // The fifo keeps the lines in order: the root names its child before it is named itself.
        let (mut child, [of_root, root, other]) = start::<3>(&format!(
            "sh -c 'setsid sh -c \"echo \\$\\$; echo >{ready}; exec sleep 1000\" & wait' & read line <{ready}; echo $!; \
             sleep 1001 & echo $!"
        ));
        assert!(kill(&[root], Duration::from_secs(10)));
        assert!(!of_root.alive() && !root.alive());
        assert!(other.alive() && of(&child).alive());
        assert!(kill(&[of(&child)], Duration::from_secs(10)));
        child.wait().unwrap();
        assert!(!other.alive());
    }

    /// As what a program of the daemon has left behind in its group.
    #[test]
    fn an_orphan_in_the_group_of_a_root_goes_with_it() {
        let script = "(sleep 1000 & echo $!); echo done; exec sleep 1001";
        let mut child =
            Command::new("sh").args(["-c", script]).process_group(0).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let orphan = ProcessRef::of(lines.next().unwrap().unwrap().parse().unwrap()).unwrap();
        assert_eq!(lines.next().unwrap().unwrap(), "done");
        assert!(kill(&[of(&child)], Duration::from_secs(10)));
        child.wait().unwrap();
        assert!(!orphan.alive());
    }

    #[test]
    fn nothing_else_is_touched() {
        let (mut one, []) = start("sleep 1000 &");
        let (mut other, [member]) = start("sleep 1000 & echo $!");
        assert!(kill(&[of(&one)], Duration::from_secs(10)));
        one.wait().unwrap();
        assert!(of(&other).alive());
        assert!(member.alive());
        assert!(kill(&[of(&other)], Duration::from_secs(10)));
        other.wait().unwrap();
        let gone = ProcessRef { pid: one.id() as i32, start_time: 1 };
        assert!(kill(&[gone], Duration::from_secs(1)), "what is gone is no trouble");
    }
}
