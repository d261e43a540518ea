//! The OCI process of an exec: the container's first process as its runtime received it, with the exec's own values in
//! place. So limits, capabilities and the rest are those the container really has, not those of its present definition.

use std::path::Path;

use rustix::fs::OFlags;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::capabilities::CapabilitySet;
use super::{Host, SpecError, user};
use crate::definition::{Definition, Process};
use crate::latest::{Environment, name_of};
use crate::rootfs::{PlannedRoot, beneath, open_root};

/// The program of an exec, and its differences from the container's first process.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Program {
    /// Not empty.
    pub args: Vec<String>,
    /// "KEY=VALUE": overrides the container's own.
    pub env: Vec<String>,
    /// `name|uid[:group|gid]`; empty is the container's.
    pub user: String,
    /// Absolute; empty is the container's.
    pub workdir: String,
    pub tty: bool,
    /// All capabilities that the daemon can give. Namespaces and seccomp stay the container's.
    pub privileged: bool,
}

#[derive(Deserialize)]
struct Spec {
    process: Map<String, Value>,
}

/// The OCI process as JSON. `spec` is the container's `config.json`; `root` leads to its root as the container sees it.
pub(crate) fn exec(
    spec: &[u8],
    definition: &Definition,
    host: &Host,
    root: &Path,
    program: &Program,
    size: Option<(u16, u16)>,
) -> Result<Vec<u8>, SpecError> {
    let Spec { mut process } = serde_json::from_slice(spec).map_err(|source| SpecError::Decode { source })?;
    let mut set = |key: &str, value: Value| process.insert(key.to_owned(), value);
    if program.args.first().is_none_or(String::is_empty) {
        return Err(SpecError::NoCommand);
    }
    set("args", json!(program.args));
    set("terminal", json!(program.tty));
    set("consoleSize", size.map_or(Value::Null, |(width, height)| json!({ "width": width, "height": height })));
    if !program.workdir.is_empty() {
        check_workdir(root, &program.workdir)?;
        set("cwd", json!(program.workdir));
    }
    let mut home = None;
    if !program.user.is_empty() {
        let asked = Process { user: program.user.clone(), ..definition.process.clone() };
        // The mounts already exist in a running container.
        let root = PlannedRoot::open(root).map_err(|source| SpecError::Root { source })?;
        let identity = user::lookup(&root, &asked)?;
        set("user", json!({ "uid": identity.uid, "gid": identity.gid, "additionalGids": identity.groups }));
        home = Some(identity.home);
    }
    let uid = process.get("user").and_then(|user| user.get("uid")).and_then(Value::as_u64).unwrap_or(0);
    let capabilities = capabilities(&process, host, uid, program.privileged);
    process.insert("capabilities".to_owned(), capabilities);
    let env = environment(&process, definition, program, home.as_deref());
    process.insert("env".to_owned(), env);
    process.retain(|_, value| !value.is_null());
    serde_json::to_vec(&process).map_err(|source| SpecError::Encode { source })
}

/// Checked here, because the runtimes' errors for a missing directory do not name the cause.
fn check_workdir(root: &Path, workdir: &str) -> Result<(), SpecError> {
    if !workdir.starts_with('/') {
        return Err(SpecError::RelativeWorkdir { path: workdir.to_owned() });
    }
    let failed = |source| SpecError::ExecWorkdir { path: workdir.to_owned(), source };
    let root = open_root(root).map_err(failed)?;
    beneath::open(&root, Path::new(workdir), OFlags::PATH | OFlags::DIRECTORY)
        .map(drop)
        .map_err(|errno| failed(errno.into()))
}

/// As at the start of a container: any user but root begins with no effective capabilities.
fn capabilities(process: &Map<String, Value>, host: &Host, uid: u64, privileged: bool) -> Value {
    let bounding = if privileged {
        let all: CapabilitySet = host.known_capabilities & host.capabilities;
        json!(all.names().collect::<Vec<_>>())
    } else {
        let bounding = process.get("capabilities").and_then(|sets| sets.get("bounding"));
        bounding.cloned().unwrap_or_else(|| json!([]))
    };
    let held = if uid == 0 { bounding.clone() } else { json!([]) };
    json!({ "bounding": bounding, "effective": held, "permitted": bounding })
}

/// The container's, in its order; given variables replace in place. `HOME` is the user's and `TERM` the terminal's,
/// unless the container was created with one.
fn environment(process: &Map<String, Value>, definition: &Definition, program: &Program, home: Option<&str>) -> Value {
    let container = process.get("env").and_then(Value::as_array);
    let mut env = Environment::default();
    container.into_iter().flatten().filter_map(Value::as_str).for_each(|entry| env.put(entry));
    let chosen = |name: &str| definition.process.env.iter().any(|entry| name_of(entry) == name);
    if let Some(home) = home.filter(|_| !chosen("HOME")) {
        env.put(format!("HOME={home}"));
    }
    if !chosen("TERM") {
        env.remove("TERM");
        if program.tty {
            env.put("TERM=xterm");
        }
    }
    program.env.iter().for_each(|entry| env.put(entry.as_str()));
    json!(env.into_entries().collect::<Vec<_>>())
}

#[cfg(test)]
#[path = "exec_tests.rs"]
mod tests;
