//! Kills a process together with every process it has started.
//!
//! Members of a tree are the root, the children of members, and the members of their sessions and of the process
//! groups that they lead; sessions and groups are how an orphaned process is still found: a runtime begins a session
//! for the program it executes, the daemon a group for each program. Older sessions are excluded: the caller's, and
//! the one in which a root was started. All members are stopped before any is killed, so that none leaves behind a
//! child that was not seen. A process that left its session and lost its parent before the first scan is a daemon of
//! its own and belongs to the container alone.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use crate::ProcessRef;
use crate::sys::pidfd::PidFd;
use crate::sys::process_ref::Stat;

/// Between two scans for processes that do not end at once.
const PAUSE: Duration = Duration::from_millis(2);

/// Kills the trees of `roots` and waits until none of their processes runs; zombies count as ended. Blocks. Returns
/// false when a process is still there after `limit`, because it is frozen or the kernel does not let it go; SIGKILL
/// is pending for it all the same.
pub fn kill(roots: &[ProcessRef], limit: Duration) -> bool {
    Tree::of(None, roots).kill(limit)
}

/// Kills every process below this one, which itself goes on. Returns false like [`kill`], and when this process cannot
/// be read from `/proc`.
pub fn kill_below_me(limit: Duration) -> bool {
    let Ok(me) = ProcessRef::current() else { return false };
    Tree::of(Some(me), &[me]).kill(limit)
}

struct Tree {
    spared: Option<ProcessRef>,
    /// Pid and start time of every member found so far.
    members: HashMap<i32, u64>,
    sessions: HashSet<i32>,
    /// Groups that have a member as their leader.
    groups: HashSet<i32>,
    /// Sessions older than the tree.
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

    /// Adds new members until none is found; returns the members that run.
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

    /// Whether `pid` is a member. A pid that another process has now is not one.
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

    /// Starts a shell in a session of its own; the script prints the pid of each process, one a line.
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
    fn children_orphans_and_inner_sessions_are_killed() {
        let (mut child, members) = start::<4>(
            "sleep 1000 & echo $!; (sleep 1001 & echo $!); \
             setsid sh -c '(sleep 1002 & echo $!); echo $$; exec sleep 1003' &",
        );
        assert!(kill(&[of(&child)], Duration::from_secs(10)));
        child.wait().unwrap();
        let left: Vec<_> = members.iter().filter(|process| process.alive()).collect();
        assert!(left.is_empty(), "{left:?} of {members:?}");
    }

    /// A runtime is started in the session of the daemon's starter.
    #[test]
    fn the_starting_session_of_a_root_survives() {
        let dir = tempfile::tempdir().unwrap();
        let ready = dir.path().join("ready");
        nix::unistd::mkfifo(&ready, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let ready = ready.display();
        // The FIFO keeps the lines in order: the child's pid is printed before the root's.
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

    /// A program of the daemon leaves a process behind in its group.
    #[test]
    fn an_orphan_in_the_group_of_a_root_is_killed() {
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
    fn processes_outside_the_tree_survive() {
        let (mut one, []) = start("sleep 1000 &");
        let (mut other, [member]) = start("sleep 1000 & echo $!");
        assert!(kill(&[of(&one)], Duration::from_secs(10)));
        one.wait().unwrap();
        assert!(of(&other).alive());
        assert!(member.alive());
        assert!(kill(&[of(&other)], Duration::from_secs(10)));
        other.wait().unwrap();
        let gone = ProcessRef { pid: one.id() as i32, start_time: 1 };
        assert!(kill(&[gone], Duration::from_secs(1)), "a process that is gone counts as killed");
    }
}
