//! Whether a container's cgroup is frozen, read from the kernel without running a runtime.

use std::fs;

use super::GroupPath;
use super::cgroup::{Cgroups, Version};

impl Cgroups {
    /// `None` where there is no freezer, or no such cgroup.
    pub(crate) fn frozen(&self, group: &GroupPath) -> Option<bool> {
        let (controller, file, word) = match self.version() {
            Version::V2 => ("", "cgroup.events", "frozen 1"),
            Version::V1 | Version::Hybrid => ("freezer", "freezer.state", "FROZEN"),
        };
        let text = fs::read_to_string(group.below(self.controller_root(controller)?).join(file)).ok()?;
        Some(text.lines().any(|line| line == word || (word == "FROZEN" && line == "FREEZING")))
    }
}
