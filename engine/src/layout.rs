//! Paths of all files: the persistent tree under `graph`, the volatile one under `state`.

use std::path::{Path, PathBuf};

use isulad_shim::StateDir;

use crate::domain::id::{ContainerId, VolumeName};

/// Beside the containers of a runtime in the volatile tree.
const RUNTIME_ROOT: &str = "root";

/// The two roots and the paths below them.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    pub graph: PathBuf,
    pub state: PathBuf,
}

impl Layout {
    pub(crate) fn journal(&self) -> PathBuf {
        self.graph.join("journal")
    }

    /// Held for the daemon's life: one daemon for these roots.
    pub(crate) fn locks(&self) -> [PathBuf; 2] {
        [self.graph.join("isulad.lock"), self.state.join("isulad.lock")]
    }

    pub(crate) fn engines(&self) -> PathBuf {
        self.graph.join("engines")
    }

    pub(crate) fn bundle(&self, runtime: &str, id: &ContainerId) -> Bundle {
        Bundle { path: self.engines().join(runtime).join(id.to_string()) }
    }

    pub(crate) fn state_dir(&self, runtime: &str, id: &ContainerId) -> StateDir {
        StateDir::new(self.state.join(runtime).join(id.to_string()))
    }

    /// The runtime's `--root`: no container's id has this name.
    pub(crate) fn runtime_root(&self, runtime: &str) -> PathBuf {
        self.state.join(runtime).join(RUNTIME_ROOT)
    }

    /// The store of images' content.
    pub(crate) fn images(&self) -> PathBuf {
        self.graph.join("images")
    }

    /// Credentials for registries, unless the configuration names another file.
    pub(crate) fn auth_file(&self) -> PathBuf {
        self.graph.join("auth.json")
    }

    /// Where root filesystems are mounted.
    pub(crate) fn mounts(&self) -> PathBuf {
        self.graph.join("mnt/rootfs")
    }

    /// The init of containers that ask for one.
    pub(crate) fn init(&self) -> PathBuf {
        self.graph.join("isulad-init")
    }

    pub(crate) fn volumes(&self) -> PathBuf {
        self.graph.join("volumes")
    }

    pub(crate) fn volume(&self, name: &VolumeName) -> PathBuf {
        self.volumes().join(name.as_str())
    }

    /// The part of a volume that containers see.
    pub(crate) fn volume_data(&self, name: &VolumeName) -> PathBuf {
        self.volume(name).join("_data")
    }

    /// The place of a volume that is being deleted: no volume's name begins with a dot.
    pub(crate) fn volume_removing(&self, name: &VolumeName) -> PathBuf {
        self.volumes().join(format!(".removing-{name}"))
    }

    /// Names volumes with a recorded removal that may be an earlier life's.
    pub(crate) fn volumes_in_doubt(&self) -> PathBuf {
        self.graph.join("volumes-in-doubt")
    }

    /// The records of networks.
    pub(crate) fn network(&self) -> PathBuf {
        self.graph.join("network")
    }
}

/// A container's persistent directory, which is its OCI bundle too.
#[derive(Debug, Clone)]
pub(crate) struct Bundle {
    path: PathBuf,
}

impl Bundle {
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn definition(&self) -> PathBuf {
        self.path.join("definition.json")
    }

    pub(crate) fn spec(&self) -> PathBuf {
        self.path.join("config.json")
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.path.join("console.log")
    }

    /// The results of the last health probes.
    pub(crate) fn health(&self) -> PathBuf {
        self.path.join("health.json")
    }

    pub(crate) fn exit_record(&self) -> PathBuf {
        self.path.join("exit")
    }

    /// The note of the last start's cgroup. Outside the state directory, so that the release after the start finds it
    /// when that is gone.
    pub(crate) fn cgroup_note(&self) -> PathBuf {
        self.path.join("cgroup")
    }

    /// Exists once the container's volumes were filled at its first start.
    pub(crate) fn filled_note(&self) -> PathBuf {
        self.path.join("filled")
    }

    /// The record of the container's network attachments, and of a pending one.
    pub(crate) fn network(&self) -> crate::network::attach::Place {
        // The directory is named by the container's id.
        let id = self.path.file_name().unwrap_or_default().to_string_lossy();
        let (record, busy) = (self.path.join("network.json"), self.path.join("network-call"));
        crate::network::attach::Place { prefix: format!("{id}-"), record, busy }
    }

    pub(crate) fn hostname(&self) -> PathBuf {
        self.path.join("hostname")
    }

    pub(crate) fn hosts(&self) -> PathBuf {
        self.path.join("hosts")
    }

    pub(crate) fn resolv_conf(&self) -> PathBuf {
        self.path.join("resolv.conf")
    }

    pub(crate) fn shm(&self) -> PathBuf {
        self.path.join("mounts/shm")
    }
}
