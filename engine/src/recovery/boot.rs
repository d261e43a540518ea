//! Stale pid files in a state directory that outlives a restart of the host: they name processes of an earlier boot.
//! Pid and start time together are unique within one boot only, so a new process may match; files that do not contain
//! the id of this boot are removed.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use isulad_shim::exec::GO_MARKER;
use isulad_shim::{StateDir, pid_file, state_dir};

use crate::engine::Engine;
use crate::exec;
use crate::layout::Layout;
use crate::records::{candidates, entries, unlisted};
use crate::rootfs::{self, Mounts, write_atomically};
use crate::runtime::instance;

/// The file with the id of the boot to which the state directory belongs.
const NAME: &str = "boot-id";

/// Removes pid files of earlier boots. To be called before any pid file is read.
pub(super) async fn remove_stale_pids(engine: &Arc<Engine>) {
    let (state, boot) = (engine.node.layout.state.clone(), hex::encode(engine.node.boot.0));
    let forgetting = tokio::task::spawn_blocking(move || remove_stale(&state, &boot));
    match forgetting.await {
        Ok(Ok(())) => {}
        Ok(Err(problem)) => engine.node.warn(problem),
        Err(panic) => engine.node.warn(format!("the state directory was not examined: {panic}")),
    }
}

fn remove_stale(state: &Path, boot: &str) -> Result<(), String> {
    let path = state.join(NAME);
    let failed = |what: &str, error: &dyn std::fmt::Display| format!("cannot {what} `{}`: {error}", path.display());
    match std::fs::read(&path) {
        Ok(bytes) if bytes.trim_ascii() == boot.as_bytes() => return Ok(()),
        // Missing, cut or zeroed, the file does not show the age of the others.
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed("read", &error)),
    }
    remove_stale_instances(state)?;
    // A directory that cannot be listed may hold pid files of another boot: then the boot's id is not written.
    for found in candidates(state).whole()? {
        let dir = StateDir::new(found.path);
        let execs = dir.file(exec::DIRECTORY);
        let execs = entries(&execs).map_err(|error| unlisted(&execs, &error))?;
        for dir in execs.into_iter().map(StateDir::new).chain([dir.clone()]) {
            remove_stale_in(&dir)?;
        }
    }
    write_atomically(&path, boot.as_bytes(), 0o600, false).map_err(|error| failed("write", &error))
}

/// Removes runtimes' records of earlier boots: they name processes too, none of which is left.
fn remove_stale_instances(state: &Path) -> Result<(), String> {
    let layout = Layout { graph: PathBuf::new(), state: state.to_owned() };
    let runtimes = entries(state).map_err(|error| unlisted(state, &error))?.into_iter();
    for runtime in runtimes.filter_map(|path| Some(path.file_name()?.to_str()?.to_owned())) {
        let root = layout.runtime_root(&runtime);
        let instances =
            instance::all_in(&root).map_err(|error| format!("cannot read `{}`: {error}", root.display()))?;
        for (container, instance) in instances {
            if is_of_this_boot(&layout.state_dir(&runtime, &container)) {
                continue;
            }
            let directory = instance.directory();
            rootfs::remove_tree(&directory, Mounts::Detach)
                .map_err(|error| format!("cannot remove `{}`: {error}", directory.display()))?;
        }
    }
    Ok(())
}

/// A directory with one pid file of this boot is of this boot as a whole.
fn is_of_this_boot(dir: &StateDir) -> bool {
    [state_dir::SHIM_PID, state_dir::PID, GO_MARKER].iter().any(|name| pid_file::is_of_this_boot(&dir.file(name)))
}

fn remove_stale_in(dir: &StateDir) -> Result<(), String> {
    if is_of_this_boot(dir) {
        return Ok(());
    }
    for name in [state_dir::PID, state_dir::SHIM_PID, state_dir::RUNTIME_PID] {
        dir.remove(name).map_err(|error| format!("cannot remove `{}`: {error}", dir.file(name).display()))?;
    }
    // The existence of this file has a meaning without its content.
    let gone = dir.file(GO_MARKER);
    match std::fs::OpenOptions::new().write(true).truncate(true).open(&gone) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(format!("cannot empty `{}`: {error}", gone.display()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use isulad_shim::ProcessRef;

    use super::*;

    #[test]
    fn pid_files_go_with_their_boot() {
        let root = tempfile::tempdir().unwrap();
        let container = root.path().join("runc").join("a".repeat(64));
        let of_exec = container.join("exec/0123456789abcdef");
        std::fs::create_dir_all(&of_exec).unwrap();
        let gone = of_exec.join("gone");
        let pids = ["shim-pid", "pid", "exec/0123456789abcdef/shim-pid", "exec/0123456789abcdef/runtime.pid"];
        let pids = pids.map(|name| container.join(name));
        let look = |boot: &str| {
            pids.iter().chain([&gone]).for_each(|pid| std::fs::write(pid, "1 1\n").unwrap());
            remove_stale(root.path(), boot).unwrap();
            let left = pids.iter().filter(|pid| pid.exists()).count();
            assert_eq!(std::fs::metadata(&gone).unwrap().len() > 0, left > 0);
            assert!(left == 0 || left == pids.len());
            left > 0
        };
        assert!(!look("one"), "no file has the id of this boot");
        assert!(look("one"));
        assert!(!look("two"));
        assert!(look("two"));
        for damaged in [&b""[..], b"tw", &[0; 3]] {
            std::fs::write(root.path().join(NAME), damaged).unwrap();
            assert!(!look("two"), "{damaged:?}");
        }
    }

    #[test]
    fn the_boot_id_is_not_written_after_a_failed_listing() {
        let root = tempfile::tempdir().unwrap();
        let container = root.path().join("runc").join("a".repeat(64));
        std::fs::create_dir_all(&container).unwrap();
        for hidden in [root.path().join("crun"), container.join("exec")] {
            std::os::unix::fs::symlink(hidden.file_name().unwrap(), &hidden).unwrap();
            let problem = remove_stale(root.path(), "one").unwrap_err();
            assert!(problem.contains(&format!("`{}", hidden.display())), "{problem}");
            assert!(!root.path().join(NAME).exists());
            std::fs::remove_file(hidden).unwrap();
        }
        remove_stale(root.path(), "one").unwrap();
        assert!(root.path().join(NAME).exists());
    }

    #[test]
    fn pid_files_with_the_id_of_this_boot_stay() {
        let root = tempfile::tempdir().unwrap();
        let container = root.path().join("runc").join("a".repeat(64));
        std::fs::create_dir_all(&container).unwrap();
        pid_file::write(&container.join("shim-pid"), ProcessRef { pid: 1, start_time: 1 }).unwrap();
        std::fs::write(container.join("runtime.pid"), "1").unwrap();
        remove_stale(root.path(), "one").unwrap();
        assert!(container.join("shim-pid").exists() && container.join("runtime.pid").exists());
    }
}
