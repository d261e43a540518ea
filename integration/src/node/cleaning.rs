//! Removing a test's containers, images and mounts, through the daemon and, at the node's end, without it.

use std::collections::BTreeSet;

use nix::mount::{MntFlags, umount2};

use super::Node;
use crate::process::Process;
use crate::{cgroup, deadline};

impl Node {
    /// Removes every container, by force.
    #[track_caller]
    pub fn remove_all(&self) {
        deadline::until("every container is gone", || {
            let ids = self.ok(&["ps", "-aq", "--no-trunc"]);
            for id in ids.lines() {
                let output = self.isula(&["rm", "-f", id]);
                // An auto-remove container may be quicker.
                assert!(output.code() == 0 || output.stderr.contains("No such container"), "{}", output.stderr);
            }
            // A container of a client that is gone may appear only now.
            self.ok(&["ps", "-aq"]).is_empty()
        });
    }

    /// Removes every volume and every image, by force.
    #[track_caller]
    pub fn remove_images(&self) {
        for volume in self.ok(&["volume", "ls", "-q"]).lines() {
            let output = self.isula(&["volume", "rm", volume]);
            assert!(output.code() == 0 || output.stderr.contains("No such volume"), "{}", output.stderr);
        }
        // By id: one without a name has nothing else, and one with several loses all of them.
        let ids = self.ok(&["images", "-q", "--no-trunc"]);
        let ids: BTreeSet<&str> = ids.lines().collect();
        for id in ids {
            self.ok(&["rmi", "-f", id]);
        }
    }

    /// Removes every container, volume and image; then nothing is left of them, and their story is whole.
    #[track_caller]
    pub fn assert_clean_end(&self) {
        self.verified();
        self.remove_all();
        self.remove_images();
        self.assert_nothing_left();
        self.assert_journal_whole();
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            eprintln!("the daemon's log ends:\n{}", lines[lines.len().saturating_sub(60)..].join("\n"));
        }
        self.kill9();
        self.shims().into_iter().for_each(Process::kill);
        cgroup::clear(&self.cgroup_parent);
        if self.namespace.take().is_none() {
            for point in self.mounts().iter().chain(&self.own_mounts) {
                let _ = umount2(point, MntFlags::MNT_DETACH);
            }
        }
    }
}
