//! `daemon.json`: strict, so that a misspelt key is an error with its line and not a setting without effect.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use engine_images::registry::InvalidSetting;
use serde::Deserialize;

use super::{Config, RuntimeEntry};

/// The errors of the daemon's settings.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("cannot read the configuration file `{path}`")]
    Read { path: PathBuf, source: io::Error },
    #[error("the configuration file `{path}` is not valid")]
    Parse { path: PathBuf, source: serde_json::Error },
    #[error("`{key}` in `{path}`: {problem}")]
    Value { path: PathBuf, key: &'static str, problem: String },
    #[error("flag `{flag}`: {problem}")]
    Flag { flag: &'static str, problem: String },
    #[error("cannot use the directory `{path}`")]
    Root { path: PathBuf, source: io::Error },
    #[error("`hosts` is set in `{path}` and by the flag `--host`: keep one of them")]
    HostsTwice { path: PathBuf },
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct File {
    pub hosts: Option<Vec<String>>,
    group: Option<String>,
    graph: Option<PathBuf>,
    state: Option<PathBuf>,
    pidfile: Option<PathBuf>,
    default_runtime: Option<String>,
    #[serde(default)]
    runtimes: BTreeMap<String, Runtime>,
    log_level: Option<String>,
    cgroup_parent: Option<String>,
    systemd_cgroup: Option<bool>,
    container_log: Option<ContainerLog>,
    #[serde(default)]
    default_ulimits: BTreeMap<String, Ulimit>,
    shim: Option<PathBuf>,
    #[serde(default)]
    registry_mirrors: Vec<String>,
    #[serde(default)]
    insecure_registries: Vec<String>,
    certs_dir: Option<PathBuf>,
    auth_file: Option<PathBuf>,
    pull_concurrency: Option<usize>,
    layer_limit: Option<u64>,
    exec_log_args: Option<bool>,
    cni_conf_dir: Option<PathBuf>,
    cni_bin_dir: Option<String>,
    cni_timeout: Option<u64>,
    netns_dir: Option<PathBuf>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Runtime {
    path: PathBuf,
    #[serde(default)]
    runtime_args: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ContainerLog {
    driver: Option<String>,
    #[serde(default)]
    opts: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
struct Ulimit {
    #[serde(default)]
    #[serde(alias = "name")]
    name: String,
    #[serde(alias = "soft")]
    soft: i64,
    #[serde(alias = "hard")]
    hard: i64,
}

/// The file's content; an absent file that was not `named` by the operator is an empty one.
pub(super) fn read(path: &Path, named: bool) -> Result<File, ConfigError> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound && !named => return Ok(File::default()),
        Err(source) => return Err(ConfigError::Read { path: path.to_owned(), source }),
    };
    serde_json::from_str(&text).map_err(|source| ConfigError::Parse { path: path.to_owned(), source })
}

impl File {
    pub(super) fn apply(self, path: &Path, config: &mut Config) -> Result<(), ConfigError> {
        let value = |key, problem: &str| ConfigError::Value { path: path.to_owned(), key, problem: problem.to_owned() };
        let bad = |key, problem: &str| Err(value(key, problem));
        self.cni(&mut config.network).map_err(|(key, problem)| value(key, &problem))?;
        if let Some(hosts) = self.hosts {
            config.hosts = hosts
                .iter()
                .map(|host| socket_path(host))
                .collect::<Result<_, _>>()
                .map_err(|problem| value("hosts", &problem))?;
        }
        set(&mut config.group, self.group);
        set(&mut config.graph, self.graph);
        set(&mut config.state, self.state);
        set(&mut config.pidfile, self.pidfile);
        set(&mut config.default_runtime, self.default_runtime);
        set(&mut config.log_level, self.log_level);
        set(&mut config.cgroup_parent, self.cgroup_parent);
        set(&mut config.systemd_cgroup, self.systemd_cgroup);
        set(&mut config.shim, self.shim);
        set(&mut config.exec_log_args, self.exec_log_args);
        let images = &mut config.images;
        for mirror in &self.registry_mirrors {
            images.mirrors.push(
                mirror.parse().map_err(|problem: InvalidSetting| value("registry-mirrors", &problem.to_string()))?,
            );
        }
        for rule in &self.insecure_registries {
            images.insecure.push(
                rule.parse().map_err(|problem: InvalidSetting| value("insecure-registries", &problem.to_string()))?,
            );
        }
        set(&mut images.certs_dir, self.certs_dir);
        images.auth_file = self.auth_file.or(images.auth_file.take());
        set(&mut images.pull_concurrency, self.pull_concurrency);
        set(&mut images.limits.bytes, self.layer_limit);
        if images.pull_concurrency == 0 || images.limits.bytes == 0 {
            return bad("pull-concurrency, layer-limit", "0 would let nothing in");
        }
        for (name, runtime) in self.runtimes {
            if !is_runtime_name(&name) {
                return bad("runtimes", &format!("`{name}` cannot be a runtime's name: use letters, digits, . _ -"));
            }
            config.runtimes.insert(name, RuntimeEntry { path: runtime.path, args: runtime.runtime_args });
        }
        for (key, limit) in self.default_ulimits {
            if limit.soft > limit.hard && limit.hard >= 0 {
                return bad("default-ulimits", &format!("`{key}` has a soft limit above its hard limit"));
            }
            let name = if limit.name.is_empty() { key } else { limit.name };
            config.default_ulimits.push((name, limit.soft, limit.hard));
        }
        if let Some(log) = self.container_log {
            match log.driver.as_deref() {
                None | Some("json-file") => {}
                Some("none") => config.container_log.enabled = false,
                Some(other) => return bad("container-log", &format!("driver `{other}` is unknown: json-file or none")),
            }
            for (key, value) in &log.opts {
                let Err(problem) = log_option(config, key, value) else { continue };
                return bad("container-log", &problem);
            }
        }
        Ok(())
    }
}

impl File {
    /// Applies the settings of networks. The error is the key and the problem.
    fn cni(&self, network: &mut crate::network::Settings) -> Result<(), (&'static str, String)> {
        let absolute = |key, path: &Path| {
            let problem = || (key, format!("`{}` is not an absolute path", path.display()));
            path.is_absolute().then(|| path.to_owned()).ok_or_else(problem)
        };
        if let Some(dir) = self.cni_conf_dir.as_ref().filter(|dir| !dir.as_os_str().is_empty()) {
            network.conf_dir = absolute("cni-conf-dir", dir)?;
        }
        // The reference has one; several are as in PATH.
        if let Some(dirs) = self.cni_bin_dir.as_deref().filter(|dirs| !dirs.is_empty()) {
            let dirs = std::env::split_paths(dirs);
            network.bin_dirs = dirs.map(|dir| absolute("cni-bin-dir", &dir)).collect::<Result<_, _>>()?;
        }
        if let Some(seconds) = self.cni_timeout {
            if !(1..=120).contains(&seconds) {
                return Err(("cni-timeout", format!("{seconds} is not of 1 to 120 seconds")));
            }
            network.deadline = std::time::Duration::from_secs(seconds);
        }
        if let Some(dir) = &self.netns_dir {
            network.netns_dir = absolute("netns-dir", dir)?;
        }
        Ok(())
    }
}

fn set<T>(target: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *target = value;
    }
}

fn log_option(config: &mut Config, key: &str, value: &str) -> Result<(), String> {
    match key {
        "max-size" => config.container_log.max_size = size(value)?,
        "max-file" => {
            config.container_log.max_files =
                value.parse().ok().filter(|n| *n > 0).ok_or_else(|| format!("max-file `{value}` is not a count"))?;
        }
        "disable-log" => {
            config.container_log.enabled =
                !value.parse().map_err(|_| format!("disable-log `{value}` is not a bool"))?;
        }
        other => return Err(format!("option `{other}` is unknown: max-size, max-file, disable-log")),
    }
    Ok(())
}

/// `30KB`, `1m`, `4096`: 1024-based, at least 4 KiB.
fn size(text: &str) -> Result<u64, String> {
    let lower = text.to_ascii_lowercase();
    let digits = lower.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let factor: u64 = match lower[digits.len()..].trim_end_matches('b').trim_end_matches('i') {
        "" => 1,
        "k" => 1 << 10,
        "m" => 1 << 20,
        "g" => 1 << 30,
        _ => return Err(format!("`{text}` is not a size")),
    };
    let bytes = digits.parse::<u64>().ok().and_then(|n| n.checked_mul(factor));
    bytes.filter(|bytes| *bytes >= 4096).ok_or_else(|| format!("`{text}` is not a size of at least 4KB"))
}

/// `unix:///path` or an absolute path.
pub(super) fn socket_path(host: &str) -> Result<PathBuf, String> {
    let path = host.strip_prefix("unix://").unwrap_or(host);
    if host.starts_with("tcp://") {
        return Err(format!("`{host}`: only unix sockets are served"));
    }
    if !path.starts_with('/') || path.len() > 107 {
        return Err(format!("`{host}` is not unix:// and an absolute path of at most 107 bytes"));
    }
    Ok(path.into())
}

/// Whether a runtime may have this name: it becomes a directory's name.
pub(super) fn is_runtime_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 64
        && !name.starts_with('.')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str) -> Result<Config, ConfigError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("daemon.json");
        std::fs::write(&path, text).unwrap();
        let mut config = Config::built_in();
        read(&path, true)?.apply(&path, &mut config)?;
        Ok(config)
    }

    fn complaint(text: &str) -> String {
        format!("{:#}", anyhow::Error::from(load(text).unwrap_err()))
    }

    #[test]
    fn every_key_takes_effect() {
        let config = load(
            r#"{"hosts":["unix:///a.sock"],"group":"g","graph":"/g","state":"/s","pidfile":"/p","default-runtime":"x",
            "runtimes":{"x":{"path":"/x","runtime-args":["--a"]}},"log-level":"debug","cgroup-parent":"/c",
            "systemd-cgroup":true,"container-log":{"driver":"json-file","opts":{"max-size":"30KB","max-file":"2"}},
            "default-ulimits":{"nofile":{"Name":"nofile","Soft":1,"Hard":2}},"shim":"/shim",
            "registry-mirrors":["https://mirror.example"],"insecure-registries":["r.example:5000","10.0.0.0/8"],
            "certs-dir":"/certs","auth-file":"/auth","pull-concurrency":5,"layer-limit":4096,"exec-log-args":false,
            "cni-conf-dir":"/cni","cni-bin-dir":"/b1:/b2","cni-timeout":7,"netns-dir":"/ns"}"#,
        )
        .unwrap();
        assert_eq!(config.hosts, [PathBuf::from("/a.sock")]);
        assert_eq!(config.runtimes["x"], RuntimeEntry { path: "/x".into(), args: vec!["--a".into()] });
        assert_eq!(
            config.container_log,
            super::super::ContainerLog { enabled: true, max_size: 30 << 10, max_files: 2 }
        );
        assert_eq!(config.default_ulimits, [("nofile".to_owned(), 1, 2)]);
        let images = &config.images;
        assert_eq!((images.mirrors.len(), images.insecure.len(), images.pull_concurrency), (1, 2, 5));
        assert_eq!((images.limits.bytes, &images.certs_dir), (4096, &PathBuf::from("/certs")));
        assert!(!config.exec_log_args);
        let network = crate::network::Settings {
            conf_dir: "/cni".into(),
            bin_dirs: vec!["/b1".into(), "/b2".into()],
            deadline: std::time::Duration::from_secs(7),
            netns_dir: "/ns".into(),
        };
        assert_eq!(config.network, network);
        assert!(config.systemd_cgroup && config.default_runtime == "x" && config.cgroup_parent == "/c");
    }

    #[test]
    fn errors_name_the_line() {
        let unknown = complaint("{\n  \"graph\": \"/g\",\n  \"grph\": \"/x\"\n}");
        assert!(unknown.contains("unknown field `grph`") && unknown.contains("line 3"), "{unknown}");
        let wrong = complaint("{\n  \"graph\": 7\n}");
        assert!(wrong.contains("invalid type") && wrong.contains("line 2"), "{wrong}");
        assert!(complaint("{").contains("line 1"));
        for text in [
            r#"{"hosts":["tcp://0.0.0.0:1"]}"#,
            r#"{"runtimes":{"../x":{"path":"/x"}}}"#,
            r#"{"container-log":{"driver":"syslog"}}"#,
            r#"{"container-log":{"opts":{"max-size":"-1"}}}"#,
            r#"{"default-ulimits":{"nofile":{"Name":"nofile","Soft":3,"Hard":2}}}"#,
            r#"{"registry-mirrors":["ftp://x"]}"#,
            r#"{"insecure-registries":["10.0.0.0/99"]}"#,
            r#"{"pull-concurrency":0}"#,
            r#"{"cni-timeout":0}"#,
            r#"{"cni-bin-dir":"/a:b"}"#,
            r#"{"cni-conf-dir":"etc"}"#,
        ] {
            assert!(complaint(text).contains("daemon.json"), "{text}");
        }
    }

    #[test]
    fn only_an_unnamed_file_may_be_absent() {
        assert!(read(Path::new("/no/such/file"), false).is_ok());
        assert!(matches!(read(Path::new("/no/such/file"), true), Err(ConfigError::Read { .. })));
    }
}
