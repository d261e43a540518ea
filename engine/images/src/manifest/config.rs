//! Configs: the command that an image runs, and its layers. The digest of a config is the image's id.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::descriptor::cut;
use super::json::{self, Anything};
use super::{CONFIG_LIMIT, LAYERS_LIMIT, ManifestError, Platform, check_length};
use engine_domain::id::{Digest, Timestamp};

/// Everything absent or null in the file is empty here, as the tools that write them expect.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImageConfig {
    pub architecture: String,
    pub os: String,
    pub variant: Option<String>,
    /// None also for a time that cannot be read or lies before 1970.
    pub created: Option<Timestamp>,
    pub author: String,
    pub execution: Execution,
    /// Digests of the layers' tars, bottom first.
    pub diff_ids: Vec<Digest>,
    pub history: Vec<HistoryEntry>,
}

/// A container's defaults by the image (`config` in the file): command, environment, user and the like.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Execution {
    pub user: String,
    /// `80/tcp`
    pub exposed_ports: BTreeSet<String>,
    /// `NAME=value`
    pub env: Vec<String>,
    /// Absent and empty differ: an empty one is a decision.
    pub entrypoint: Option<Vec<String>>,
    pub cmd: Option<Vec<String>>,
    pub volumes: BTreeSet<String>,
    pub working_dir: String,
    pub labels: BTreeMap<String, String>,
    pub stop_signal: Option<String>,
    pub healthcheck: Option<Healthcheck>,
    pub shell: Option<Vec<String>>,
}

/// Times are nanoseconds, 0 is the default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Healthcheck {
    /// `["NONE"]`, `["CMD", …]` or `["CMD-SHELL", "…"]`
    pub test: Vec<String>,
    pub interval: u64,
    pub timeout: u64,
    pub start_period: u64,
    pub retries: u32,
}

/// A step in the making of an image.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HistoryEntry {
    pub created: Option<Timestamp>,
    pub created_by: String,
    pub author: String,
    pub comment: String,
    /// The step made no layer.
    pub empty_layer: bool,
}

impl ImageConfig {
    pub fn parse(bytes: &[u8]) -> Result<Self, ManifestError> {
        check_length("config", bytes, CONFIG_LIMIT)?;
        let raw: Raw =
            serde_json::from_slice(bytes).map_err(|source| ManifestError::Json { what: "config", source })?;
        raw.check()
    }

    pub fn platform(&self) -> Platform {
        Platform::new(&self.os, &self.architecture, self.variant.as_deref())
    }
}

#[derive(Deserialize)]
struct Raw {
    #[serde(default, deserialize_with = "json::or_default")]
    architecture: String,
    #[serde(default, deserialize_with = "json::or_default")]
    os: String,
    variant: Option<String>,
    created: Option<String>,
    #[serde(default, deserialize_with = "json::or_default")]
    author: String,
    config: Option<RawExecution>,
    rootfs: Option<RawRootfs>,
    history: Option<Vec<RawHistory>>,
}

#[derive(Deserialize)]
struct RawRootfs {
    diff_ids: Option<Vec<String>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct RawExecution {
    #[serde(deserialize_with = "json::or_default")]
    user: String,
    #[serde(deserialize_with = "json::map")]
    exposed_ports: BTreeMap<String, Anything>,
    #[serde(deserialize_with = "json::or_default")]
    env: Vec<String>,
    #[serde(deserialize_with = "json::texts")]
    entrypoint: Option<Vec<String>>,
    #[serde(deserialize_with = "json::texts")]
    cmd: Option<Vec<String>>,
    #[serde(deserialize_with = "json::map")]
    volumes: BTreeMap<String, Anything>,
    #[serde(deserialize_with = "json::or_default")]
    working_dir: String,
    #[serde(deserialize_with = "json::map")]
    labels: BTreeMap<String, String>,
    #[serde(deserialize_with = "json::or_default")]
    stop_signal: String,
    healthcheck: Option<RawHealthcheck>,
    #[serde(deserialize_with = "json::texts")]
    shell: Option<Vec<String>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct RawHealthcheck {
    #[serde(deserialize_with = "json::texts")]
    test: Option<Vec<String>>,
    #[serde(deserialize_with = "json::or_default")]
    interval: i64,
    #[serde(deserialize_with = "json::or_default")]
    timeout: i64,
    #[serde(deserialize_with = "json::or_default")]
    start_period: i64,
    #[serde(deserialize_with = "json::or_default")]
    retries: i64,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawHistory {
    created: Option<String>,
    #[serde(deserialize_with = "json::or_default")]
    created_by: String,
    #[serde(deserialize_with = "json::or_default")]
    author: String,
    #[serde(deserialize_with = "json::or_default")]
    comment: String,
    #[serde(deserialize_with = "json::or_default")]
    empty_layer: bool,
}

impl Raw {
    fn check(self) -> Result<ImageConfig, ManifestError> {
        let diff_ids = self.rootfs.and_then(|rootfs| rootfs.diff_ids).unwrap_or_default();
        if diff_ids.len() > LAYERS_LIMIT {
            return Err(ManifestError::TooManyLayers { layers: diff_ids.len() });
        }
        let diff_id = |text: &String| {
            text.parse().map_err(|_| invalid(format!("diff id `{}` is not a sha256 digest", cut(text))))
        };
        let config = ImageConfig {
            architecture: self.architecture,
            os: self.os,
            variant: self.variant.filter(|variant| !variant.is_empty()),
            created: self.created.as_deref().and_then(time),
            author: self.author,
            execution: self.config.unwrap_or_default().check()?,
            diff_ids: diff_ids.iter().map(diff_id).collect::<Result<_, _>>()?,
            history: self.history.unwrap_or_default().into_iter().map(RawHistory::into).collect(),
        };
        let made = config.history.iter().filter(|entry| !entry.empty_layer).count();
        if made > LAYERS_LIMIT.max(config.diff_ids.len()) {
            return Err(invalid(format!("its history has {made} layers")));
        }
        Ok(config)
    }
}

impl RawExecution {
    fn check(self) -> Result<Execution, ManifestError> {
        let lists = [&self.entrypoint, &self.cmd, &self.shell];
        let texts = lists.into_iter().flatten().flatten().chain(&self.env).chain(self.volumes.keys());
        if let Some(text) = texts.chain([&self.user, &self.working_dir]).find(|text| text.contains('\0')) {
            return Err(invalid(format!("`{}` contains a NUL", cut(text).replace('\0', "\\0"))));
        }
        Ok(Execution {
            user: self.user,
            exposed_ports: self.exposed_ports.into_keys().collect(),
            env: self.env,
            entrypoint: self.entrypoint,
            cmd: self.cmd,
            volumes: self.volumes.into_keys().collect(),
            working_dir: self.working_dir,
            labels: self.labels,
            stop_signal: Some(self.stop_signal).filter(|signal| !signal.is_empty()),
            healthcheck: self.healthcheck.map(RawHealthcheck::check).transpose()?,
            shell: self.shell,
        })
    }
}

impl RawHealthcheck {
    fn check(self) -> Result<Healthcheck, ManifestError> {
        let positive = |name: &str, value: i64| {
            u64::try_from(value).map_err(|_| invalid(format!("{name} of the health check is {value}")))
        };
        Ok(Healthcheck {
            test: self.test.unwrap_or_default(),
            interval: positive("the interval", self.interval)?,
            timeout: positive("the timeout", self.timeout)?,
            start_period: positive("the start period", self.start_period)?,
            retries: u32::try_from(positive("the number of retries", self.retries)?).unwrap_or(u32::MAX),
        })
    }
}

impl From<RawHistory> for HistoryEntry {
    fn from(raw: RawHistory) -> Self {
        Self {
            created: raw.created.as_deref().and_then(time),
            created_by: raw.created_by,
            author: raw.author,
            comment: raw.comment,
            empty_layer: raw.empty_layer,
        }
    }
}

/// Tools write all kinds of times that mean "none"; a wrong one is no reason to refuse an image.
fn time(text: &str) -> Option<Timestamp> {
    let time = chrono::DateTime::parse_from_rfc3339(text).ok()?;
    u64::try_from(time.timestamp_nanos_opt()?).ok().filter(|nanos| *nanos > 0).map(Timestamp)
}

fn invalid(problem: String) -> ManifestError {
    ManifestError::Invalid { what: "config", problem }
}
