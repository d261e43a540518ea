//! The daemon's configuration: built-in defaults, then `daemon.json`, then flags.

mod file;
mod flags;
mod roots;

pub use file::ConfigError;
pub use flags::Flags;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use engine_images::layer::Limits;
use engine_images::registry::{InsecureRule, Mirror};

/// The effective configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// Unix sockets to listen on.
    pub hosts: Vec<PathBuf>,
    /// Group of the socket; without such a group the socket is root's alone.
    pub group: String,
    pub graph: PathBuf,
    pub state: PathBuf,
    pub pidfile: PathBuf,
    pub default_runtime: String,
    pub runtimes: BTreeMap<String, RuntimeEntry>,
    pub log_level: String,
    pub cgroup_parent: String,
    pub systemd_cgroup: bool,
    pub container_log: ContainerLog,
    pub shim: PathBuf,
    /// Whether the journal records the arguments of execs, or only the program.
    pub exec_log_args: bool,
    pub images: Images,
    pub network: crate::network::Settings,
    /// Ulimits of containers that do not set their own: name, soft, hard.
    pub default_ulimits: Vec<(String, i64, i64)>,
    /// The limit of open files with which this process was started: the default of containers. The daemon raises its
    /// own.
    pub open_files: Option<(i64, i64)>,
}

/// An OCI runtime with runc's command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuntimeEntry {
    /// Absolute, or a name looked up in PATH when used.
    pub path: PathBuf,
    pub args: Vec<String>,
}

/// Defaults of a container's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerLog {
    pub enabled: bool,
    /// Bytes; 0 never rotates.
    pub max_size: u64,
    pub max_files: u32,
}

/// Where images come from, and the limits of their layers.
#[derive(Debug, Clone)]
pub struct Images {
    pub mirrors: Vec<Mirror>,
    pub insecure: Vec<InsecureRule>,
    /// The parent of `<host[:port]>/`, which has the certificates for that registry.
    pub certs_dir: PathBuf,
    /// The file in which `login` stores credentials; `None` is in the graph.
    pub auth_file: Option<PathBuf>,
    /// Layers of one pull that are downloaded at once.
    pub pull_concurrency: usize,
    pub limits: Limits,
}

pub const DEFAULT_FILE: &str = "/etc/isulad/daemon.json";

impl Config {
    /// Reads `daemon.json` (an absent default file is fine, an absent one that was named is not) and applies the flags.
    pub fn load(flags: &Flags) -> Result<Self, ConfigError> {
        let (path, named) = match &flags.config {
            Some(path) => (path.as_path(), true),
            None => (Path::new(DEFAULT_FILE), false),
        };
        let file = file::read(path, named)?;
        let mut config = Self::built_in();
        let hosts_in_file = file.hosts.is_some();
        file.apply(path, &mut config)?;
        flags.apply(&mut config, hosts_in_file, path)?;
        Ok(config)
    }

    /// The built-in settings, nothing read.
    pub fn built_in() -> Self {
        let runtime = |name: &str| (name.to_owned(), RuntimeEntry { path: name.into(), args: vec![] });
        Self {
            hosts: vec!["/var/run/isulad.sock".into()],
            group: "isula".into(),
            graph: "/var/lib/isulad".into(),
            state: "/var/run/isulad".into(),
            pidfile: "/var/run/isulad.pid".into(),
            default_runtime: "runc".into(),
            runtimes: [runtime("runc"), runtime("crun")].into(),
            log_level: "info".into(),
            cgroup_parent: "/isulad".into(),
            systemd_cgroup: false,
            container_log: ContainerLog { enabled: true, max_size: 1 << 20, max_files: 7 },
            shim: default_shim(),
            exec_log_args: true,
            images: Images {
                mirrors: vec![],
                insecure: vec![],
                certs_dir: "/etc/isulad/certs.d".into(),
                auth_file: None,
                pull_concurrency: 3,
                limits: Limits::default(),
            },
            network: crate::network::Settings::default(),
            default_ulimits: vec![],
            open_files: None,
        }
    }
}

/// Beside the daemon's own binary, or looked up in PATH.
fn default_shim() -> PathBuf {
    let beside = std::env::current_exe().ok().map(|exe| exe.with_file_name("isulad-shim"));
    beside.filter(|path| path.exists()).unwrap_or_else(|| "isulad-shim".into())
}
