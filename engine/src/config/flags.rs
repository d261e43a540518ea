//! The daemon's flags; each wins over `daemon.json`.

use std::path::{Path, PathBuf};

use clap::Parser;

use super::file::{is_runtime_name, socket_path};
use super::{Config, ConfigError};

/// The event-sourced container engine.
#[derive(Debug, Default, Parser)]
#[command(name = "isulad", version, disable_help_subcommand = true)]
pub struct Flags {
    /// Configuration file [default: /etc/isulad/daemon.json, which may be absent]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Socket to listen on, unix:///PATH; may be repeated [default: unix:///var/run/isulad.sock]
    #[arg(short = 'H', long = "host", value_name = "SOCKET")]
    hosts: Vec<String>,
    /// Group of the socket [default: isula]
    #[arg(short = 'G', long)]
    group: Option<String>,
    /// Root of persistent files [default: /var/lib/isulad]
    #[arg(short = 'g', long, value_name = "DIR")]
    graph: Option<PathBuf>,
    /// Root of volatile files, which a reboot may remove [default: /var/run/isulad]
    #[arg(short = 'S', long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// File for the daemon's pid [default: /var/run/isulad.pid]
    #[arg(short = 'p', long, value_name = "FILE")]
    pidfile: Option<PathBuf>,
    /// Runtime of containers that name none [default: runc]
    #[arg(long, value_name = "NAME")]
    default_runtime: Option<String>,
    /// trace, debug, info, warn or error
    #[arg(short = 'l', long, value_name = "LEVEL")]
    log_level: Option<String>,
    /// Parent of the containers' cgroups [default: /isulad]
    #[arg(long, value_name = "PATH")]
    cgroup_parent: Option<String>,
    /// Let systemd make the containers' cgroups
    #[arg(long)]
    systemd_cgroup: bool,
    /// The shim's binary [default: beside this one]
    #[arg(long, value_name = "FILE")]
    shim: Option<PathBuf>,
    /// Print the places where a debug build can be made to die, and leave
    #[arg(long, hide = true)]
    pub list_failpoints: bool,
}

impl Flags {
    pub(super) fn apply(&self, config: &mut Config, hosts_in_file: bool, file: &Path) -> Result<(), ConfigError> {
        if !self.hosts.is_empty() {
            if hosts_in_file {
                return Err(ConfigError::HostsTwice { path: file.to_owned() });
            }
            config.hosts = self
                .hosts
                .iter()
                .map(|host| socket_path(host))
                .collect::<Result<_, _>>()
                .map_err(|problem| ConfigError::Flag { flag: "--host", problem })?;
        }
        for (target, value) in [
            (&mut config.graph, &self.graph),
            (&mut config.state, &self.state),
            (&mut config.pidfile, &self.pidfile),
            (&mut config.shim, &self.shim),
        ] {
            if let Some(value) = value {
                target.clone_from(value);
            }
        }
        for (target, value) in [
            (&mut config.group, &self.group),
            (&mut config.default_runtime, &self.default_runtime),
            (&mut config.log_level, &self.log_level),
            (&mut config.cgroup_parent, &self.cgroup_parent),
        ] {
            if let Some(value) = value {
                target.clone_from(value);
            }
        }
        config.systemd_cgroup |= self.systemd_cgroup;
        check(config)
    }
}

/// Checks the settings, whether they come from the file or from flags.
fn check(config: &mut Config) -> Result<(), ConfigError> {
    let wrong = |flag, problem: String| Err(ConfigError::Flag { flag, problem });
    for (flag, path) in [("--graph", &config.graph), ("--state", &config.state), ("--pidfile", &config.pidfile)] {
        if !path.is_absolute() {
            return wrong(flag, format!("`{}` is not an absolute path", path.display()));
        }
    }
    config.log_level = match config.log_level.to_ascii_lowercase().as_str() {
        "fatal" | "alert" | "crit" | "error" => "error",
        "warn" => "warn",
        "notice" | "info" => "info",
        "debug" => "debug",
        "trace" => "trace",
        _ => {
            return wrong("--log-level", format!("`{}` is unknown: error, warn, info, debug, trace", config.log_level));
        }
    }
    .to_owned();
    if !is_runtime_name(&config.default_runtime) || !config.runtimes.contains_key(&config.default_runtime) {
        let known: Vec<_> = config.runtimes.keys().map(String::as_str).collect();
        let problem = format!("runtime `{}` is unknown: have {}", config.default_runtime, known.join(", "));
        return wrong("--default-runtime", problem);
    }
    let parent = Path::new(&config.cgroup_parent);
    if parent.components().any(|part| matches!(part, std::path::Component::ParentDir)) {
        return wrong("--cgroup-parent", format!("`{}` climbs out of the cgroup root", config.cgroup_parent));
    }
    Ok(())
}
