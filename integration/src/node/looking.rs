//! States of the containers and of the daemon, as `inspect` and the API show them.

use cri_api::isula::v1::{ContainerRequest, ContainerSummary, Empty, InfoResponse, ListRequest};
use serde_json::Value;

use super::Node;
use crate::deadline::{self, PATIENCE};
use crate::process::Process;

impl Node {
    /// `inspect` of one container.
    #[track_caller]
    pub fn inspect(&self, container: &str) -> Value {
        let text = self.ok(&["inspect", container]);
        let mut value: Value = serde_json::from_str(&text).expect("inspect prints JSON");
        value[0].take()
    }

    /// The `State` of an inspected container.
    #[track_caller]
    pub fn state_of(&self, container: &str) -> Value {
        self.inspect(container)["State"].take()
    }

    /// The daemon's descriptors once it supervises every container that runs, which begins after a start is answered.
    #[track_caller]
    pub fn settled_descriptors(&self) -> usize {
        let runs = |state: &str| ["running", "paused"].contains(&state);
        let running = self.list().iter().filter(|container| runs(&container.state)).count();
        deadline::until("every running container is supervised", || {
            let open = |name| self.daemon().open_count(name);
            // One eventfd is the event loop's; version 2 of cgroups has one inotify for all.
            let memory = open("anon_inode:[eventfd]") > running || open("anon_inode:inotify") > 0 || running == 0;
            open("exit_fifo") >= running && open("anon_inode:[pidfd]") >= 2 * running && memory
        });
        self.daemon().descriptors()
    }

    /// State word of a container: `running`, `exited` …
    #[track_caller]
    pub fn status_of(&self, container: &str) -> String {
        self.state_of(container)["Status"].as_str().unwrap_or_default().to_owned()
    }

    /// A running container's first process.
    #[track_caller]
    pub fn process_of(&self, container: &str) -> Process {
        let pid = self.state_of(container)["Pid"].as_i64().unwrap_or(0);
        let process = i32::try_from(pid).ok().and_then(Process::of);
        process.unwrap_or_else(|| panic!("container {container} has no process ({pid})"))
    }

    /// A running container's shim.
    #[track_caller]
    pub fn shim_of(&self, container: &str) -> Process {
        let pid = self.state_of(container)["ShimPid"].as_i64().unwrap_or(0);
        let process = i32::try_from(pid).ok().and_then(Process::of);
        process.unwrap_or_else(|| panic!("container {container} has no shim ({pid})"))
    }

    #[track_caller]
    pub fn info(&self) -> InfoResponse {
        self.block_on(async { self.system().info(Empty {}).await }).expect("info is served").into_inner()
    }

    /// All containers, also those that do not run.
    #[track_caller]
    pub fn list(&self) -> Vec<ContainerSummary> {
        let request = ListRequest { all: true, ..ListRequest::default() };
        self.block_on(async { self.containers().list(request).await }).expect("list is served").into_inner().containers
    }

    /// Waits until the container does not run; its exit code, `None` when it is unknown.
    #[track_caller]
    pub fn wait(&self, container: &str) -> Option<i32> {
        let request = ContainerRequest { container: container.to_owned() };
        let waiting = async { tokio::time::timeout(PATIENCE, self.containers().wait(request)).await };
        let answer = self.block_on(waiting).unwrap_or_else(|_| panic!("container {container} does not end"));
        answer.expect("wait is served").into_inner().status.and_then(|status| status.code)
    }
}
