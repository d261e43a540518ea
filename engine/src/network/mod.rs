//! Networks by the Container Network Interface: conflists, plugins, namespaces. Nothing here knows of containers or of the
//! API: whoever runs something in a network gives an id, a place for the record and the name of a namespace.
//!
//! ```text
//! <cni-conf-dir>/*.conf, *.conflist      networks: the operator's and those of `isula network create`
//! <netns-dir>/isula-<id>-<start>         a namespace, pinned by a bind mount from before ADD until after DEL
//! <bundle>/network.json                  the record: written before ADD, moved or removed after DEL
//! <bundle>/network-call                  the input of the plugin that runs; locked as long as it lives
//! <graph>/network/pending/<name>.json    records whose DEL has failed and is tried again
//! <graph>/network/addresses/<network>/   host-local's addresses of networks that we made
//! ```
//!
//! What a crash leaves: a record without a result (ADD may have begun), or with one (it is attached). Either way DEL by the
//! record gives everything back, also when conflist, namespace or boot are gone. A plugin that outlives the daemon holds the
//! lock of its call; DEL waits for it.

pub mod attach;
pub mod bridge;
pub mod chain;
pub mod conf;
mod error;
pub mod netlink;
pub mod netns;
pub mod pending;
pub mod plugin;
pub mod port;
pub mod record;
pub mod result;
pub mod subnet;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::time::Duration;

pub use conf::NetworkConf;
pub use error::NetworkError;
pub use plugin::PluginError;

/// Where networks are described and what carries them out.
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
