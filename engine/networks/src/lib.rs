//! Networks by the Container Network Interface: conflists, plugins, namespaces. Nothing here depends on containers or
//! on the API: the caller gives an id, a place for the record and the name of a namespace.
//!
//! ```text
//! <cni-conf-dir>/*.conf, *.conflist      networks: the operator's and those of `isula network create`
//! <netns-dir>/isula-<graph>-<id>-<start>-<mark> a namespace, pinned by a bind mount from before ADD until after DEL
//! <bundle>/network.json                  the record: written before ADD, moved or removed after DEL
//! <bundle>/network-call                  the input of the plugin that runs; locked as long as it lives
//! <graph>/network/pending/<name>.json    records whose DEL has failed and is tried again
//! <graph>/network/addresses/<network>/   host-local's addresses of networks that the engine made
//! ```
//!
//! A crash leaves a record without a result (ADD may have begun), or with one (it is attached). Either way DEL by the
//! record gives everything back, also when conflist, namespace or boot are gone. A plugin that outlives the daemon
//! holds the lock of its call; DEL waits for it, and ends it when its time is over.

#![forbid(unsafe_code)]

pub mod addresses;
pub mod attach;
pub mod bridge;
pub mod chain;
pub mod conf;
pub mod detach;
mod error;
pub mod first;
pub mod netlink;
pub mod netns;
mod orphan;
pub mod pending;
pub mod plugin;
pub mod port;
pub mod ports;
pub mod reach;
pub mod record;
pub mod result;
mod steady;
pub mod subnet;
#[cfg(test)]
mod tests;
pub mod uses;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sha2::Digest as _;
use tokio::sync::SetOnce;

use engine_host::fs::without_links;

pub use conf::NetworkConf;
pub use error::NetworkError;
pub use plugin::PluginError;

/// Random digits, two for each byte.
fn digits<const BYTES: usize>() -> Result<String, NetworkError> {
    let mut bytes = [0; BYTES];
    getrandom::fill(&mut bytes).map_err(|error| NetworkError::Task { message: error.to_string() })?;
    Ok(hex::encode(bytes))
}

/// Distinguishes one attachment from all others.
pub fn mark() -> Result<String, NetworkError> {
    digits::<4>()
}

/// Small files are read, one for each container.
pub const KNOWN_PATIENCE: Duration = Duration::from_secs(60);

/// The directories of networks' configurations, plugins and namespaces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    pub conf_dir: PathBuf,
    /// Searched in this order.
    pub bin_dirs: Vec<PathBuf>,
    /// Longest one execution of a plugin may take.
    pub deadline: Duration,
    pub netns_dir: PathBuf,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            conf_dir: "/etc/cni/net.d".into(),
            bin_dirs: vec!["/opt/cni/bin".into(), "/usr/lib/cni".into()],
            deadline: Duration::from_secs(60),
            netns_dir: "/var/run/netns".into(),
        }
    }
}

impl Settings {
    /// Whether this is a place for the engine's namespaces: it lies in the directory for them, however that is spelled.
    /// Blocks.
    pub fn may_pin(&self, netns: &Path) -> bool {
        let Some(dir) = netns.parent() else { return false };
        let real = |dir: &Path| without_links(dir).ok();
        dir == self.netns_dir || real(dir).is_some_and(|dir| real(&self.netns_dir) == Some(dir))
    }
}

/// The networks of the engine, and the attachments of its containers.
#[derive(Debug)]
pub struct Networks {
    pub settings: Settings,
    pub ports: Arc<ports::Ports>,
    pub pending: Arc<pending::Pending>,
    pub uses: uses::Uses,
    pub first_runs: first::FirstRuns,
    /// Creations of networks, one after the other: each chooses a subnet and a name that the others do not have.
    pub changes: tokio::sync::Mutex<()>,
    /// host-local's notes of the engine's networks.
    pub addresses: PathBuf,
    /// Names of namespaces begin with it: other engines pin theirs in the same directory.
    prefix: String,
    attached: Mutex<HashMap<String, Arc<record::Record>>>,
    /// Set when all attachments of earlier daemons are known.
    known: SetOnce<()>,
    /// The record that is being read, for the error of a caller that waits too long.
    reading: Mutex<Option<PathBuf>>,
}

impl Networks {
    /// `root` is the directory for the engine's own files.
    pub fn new(settings: Settings, root: &Path) -> Self {
        let mark = hex::encode(sha2::Sha256::digest(root.as_os_str().as_encoded_bytes()));
        let ports = Arc::new(ports::Ports::default());
        Self {
            settings,
            pending: Arc::new(pending::Pending::new(root.join("pending"), ports.clone())),
            ports,
            uses: uses::Uses::default(),
            first_runs: first::FirstRuns::default(),
            changes: tokio::sync::Mutex::default(),
            addresses: root.join("addresses"),
            prefix: format!("{}{}-", netns::PREFIX, &mark[..8]),
            attached: Mutex::default(),
            known: SetOnce::new(),
            reading: Mutex::default(),
        }
    }

    /// Where the namespace of one start of `id` is pinned; `mark` distinguishes it from another of the same number,
    /// which exists when the store has lost its end.
    pub fn netns(&self, id: &str, start: u64, mark: &str) -> PathBuf {
        let id: String = id.chars().take(16).collect();
        self.settings.netns_dir.join(format!("{}{id}-{start}-{mark}", self.prefix))
    }

    /// Every namespace that the engine has pinned, with the first 16 digits of its container's id. Blocks.
    pub fn pinned(&self) -> Result<Vec<(PathBuf, String)>, NetworkError> {
        let dir = &self.settings.netns_dir;
        let entries = match std::fs::read_dir(dir).and_then(|entries| entries.collect::<Result<Vec<_>, _>>()) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(vec![]),
            entries => entries.map_err(NetworkError::io("list", dir))?,
        };
        let ours = entries.into_iter().filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let (id, start) = name.strip_prefix(&self.prefix)?.split_once('-')?;
            let plain = id.len() == 16 && start.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-');
            plain.then(|| (entry.path(), id.to_owned()))
        });
        Ok(ours.collect())
    }

    /// Waits until the attachments of earlier daemons, and so their ports, are known. They are read after the
    /// daemon has begun to serve.
    pub async fn known(&self) -> Result<(), NetworkError> {
        let waiting = tokio::time::timeout(KNOWN_PATIENCE, self.known.wait()).await;
        waiting.map(drop).map_err(|_| {
            let reading = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
            let step = match reading.as_ref() {
                Some(path) => format!("`{}` is still being read", path.display()),
                None => "their records are not read yet".to_owned(),
            };
            NetworkError::Unknown { seconds: KNOWN_PATIENCE.as_secs(), step }
        })
    }

    /// Notes the record that is about to be read, which may take long.
    pub fn reads(&self, path: &Path) {
        *self.reading.lock().unwrap_or_else(PoisonError::into_inner) = Some(path.to_owned());
    }

    pub fn set_known(&self) {
        // A second call changes nothing.
        let _ = self.known.set(());
    }

    /// Keeps the record for later calls of `attached` for `id`, and its ports taken.
    pub fn remember(&self, id: &str, record: record::Record) {
        self.ports.remember(id, &record.ports);
        self.attached.lock().unwrap_or_else(PoisonError::into_inner).insert(id.to_owned(), Arc::new(record));
    }

    pub fn forget(&self, id: &str) {
        self.ports.give_back(id);
        self.attached.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
    }

    pub fn attached(&self, id: &str) -> Option<Arc<record::Record>> {
        self.attached.lock().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
    }
}
