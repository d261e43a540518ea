//! The description of the process to run, for the shim.

use isulad_shim::process::{Log, PROCESS_VERSION, PidNamespace, Process, Runtime as ShimRuntime};

use crate::definition::{self, Definition, Sharing};
use crate::domain::container::Container;
use crate::domain::id::StartId;
use crate::effects::prepare::Specified;
use crate::layout::Bundle;
use crate::node::Node;
use crate::runtime::Runtime;
use crate::shim_process::RUNTIME_DEADLINE;

/// `process.json` for a start.
pub(super) fn describe(
    node: &Node,
    container: &Container,
    definition: &Definition,
    runtime: &Runtime,
    spec: &Specified,
    start: StartId,
) -> Process {
    let bundle = node.bundle(container);
    let instance = node.instance_of(container, start);
    let own_pids = definition.namespaces.pid == Sharing::Own;
    Process {
        version: PROCESS_VERSION,
        id: instance.id,
        bundle: bundle.path().to_owned(),
        // One execution: faster with runc and with crun, see docs/decisions/0001.
        runtime: ShimRuntime { path: runtime.path.clone(), args: runtime.args.clone() },
        runtime_root: instance.root,
        start: start.0,
        terminal: definition.process.tty,
        console_size: None,
        open_stdin: definition.process.open_stdin,
        stdin_once: definition.process.stdin_once,
        first_client: false,
        log: log(&definition.log, &bundle),
        exit_record: bundle.exit_record(),
        cgroup_procs: spec.shim_cgroups.clone(),
        oom: spec.oom.clone(),
        runtime_deadline_ms: RUNTIME_DEADLINE.as_millis() as u64,
        systemd_cgroup: node.config.systemd_cgroup,
        pid_namespace: if own_pids { PidNamespace::Own } else { PidNamespace::Shared },
    }
}

fn log(log: &definition::Log, bundle: &Bundle) -> Log {
    match log {
        definition::Log::None => Log::None,
        definition::Log::JsonFile { max_size, max_files } => {
            Log::JsonFile { path: bundle.log(), max_size: *max_size, max_files: *max_files }
        }
        definition::Log::Cri { path } => Log::Cri { path: path.clone() },
    }
}
