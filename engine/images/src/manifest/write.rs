//! Documents that the engine makes: configs of imported images, and the documents in saved archives.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::document::{OCI_INDEX, OCI_MANIFEST};
use super::{Descriptor, Healthcheck, HistoryEntry, ImageConfig, MANIFEST_LIMIT, ManifestError, check_length};
use engine_domain::id::Timestamp;

/// Name of the file that makes a directory an OCI layout, and its content.
pub const OCI_LAYOUT: (&str, &str) = ("oci-layout", r#"{"imageLayoutVersion":"1.0.0"}"#);
/// The annotation of an index entry that holds an image's name.
pub const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// An image in the `manifest.json` of a docker-archive. Paths are relative to the archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ArchiveEntry {
    pub config: String,
    #[serde(default, deserialize_with = "super::json::or_default")]
    pub repo_tags: Vec<String>,
    #[serde(default, deserialize_with = "super::json::or_default")]
    pub layers: Vec<String>,
}

/// The `manifest.json` of a docker-archive.
pub fn archive(entries: &[ArchiveEntry]) -> Vec<u8> {
    bytes(&entries)
}

/// Reads the `manifest.json` of a docker-archive.
pub fn parse_archive(bytes: &[u8]) -> Result<Vec<ArchiveEntry>, ManifestError> {
    check_length("archive's manifest", bytes, MANIFEST_LIMIT)?;
    serde_json::from_slice(bytes).map_err(|source| ManifestError::Json { what: "archive's manifest", source })
}

/// An OCI manifest.
pub fn manifest(config: &Descriptor, layers: &[Descriptor]) -> Vec<u8> {
    bytes(&Manifest {
        schema_version: 2,
        media_type: OCI_MANIFEST,
        config: config.into(),
        layers: layers.iter().map(Into::into).collect(),
    })
}

/// An OCI index, with the platforms and annotations of its entries.
pub fn index(manifests: &[Descriptor]) -> Vec<u8> {
    bytes(&Index { schema_version: 2, media_type: OCI_INDEX, manifests: manifests.iter().map(Into::into).collect() })
}

impl ImageConfig {
    /// The file, such that `parse` reads the same back.
    pub fn to_bytes(&self) -> Vec<u8> {
        let keys = |set: &std::collections::BTreeSet<String>| set.iter().map(|key| (key.clone(), Empty {})).collect();
        let execution = &self.execution;
        bytes(&Config {
            architecture: &self.architecture,
            os: &self.os,
            variant: self.variant.as_deref(),
            created: self.created.map(time),
            author: &self.author,
            config: Execution {
                user: &execution.user,
                exposed_ports: keys(&execution.exposed_ports),
                env: &execution.env,
                entrypoint: execution.entrypoint.as_deref(),
                cmd: execution.cmd.as_deref(),
                volumes: keys(&execution.volumes),
                working_dir: &execution.working_dir,
                labels: &execution.labels,
                stop_signal: execution.stop_signal.as_deref(),
                healthcheck: execution.healthcheck.as_ref().map(Into::into),
                shell: execution.shell.as_deref(),
            },
            rootfs: Rootfs { kind: "layers", diff_ids: self.diff_ids.iter().map(ToString::to_string).collect() },
            history: self.history.iter().map(Into::into).collect(),
        })
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Manifest<'a> {
    schema_version: u8,
    media_type: &'a str,
    config: Entry<'a>,
    layers: Vec<Entry<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Index<'a> {
    schema_version: u8,
    media_type: &'a str,
    manifests: Vec<Entry<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Entry<'a> {
    media_type: &'a str,
    digest: String,
    size: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    platform: Option<Platform<'a>>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: &'a BTreeMap<String, String>,
}

#[derive(Serialize)]
struct Platform<'a> {
    architecture: &'a str,
    os: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    variant: Option<&'a str>,
}

impl<'a> From<&'a Descriptor> for Entry<'a> {
    fn from(descriptor: &'a Descriptor) -> Self {
        let platform = descriptor.platform.as_ref().map(|platform| Platform {
            architecture: &platform.architecture,
            os: &platform.os,
            variant: platform.variant.as_deref(),
        });
        Self {
            media_type: &descriptor.media_type,
            digest: descriptor.digest.to_string(),
            size: descriptor.size,
            platform,
            annotations: &descriptor.annotations,
        }
    }
}

#[derive(Serialize)]
struct Config<'a> {
    architecture: &'a str,
    os: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    variant: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    created: Option<String>,
    #[serde(skip_serializing_if = "str::is_empty")]
    author: &'a str,
    config: Execution<'a>,
    rootfs: Rootfs,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    history: Vec<History<'a>>,
}

#[derive(Serialize)]
struct Rootfs {
    #[serde(rename = "type")]
    kind: &'static str,
    diff_ids: Vec<String>,
}

#[derive(Serialize)]
struct Empty {}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Execution<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    user: &'a str,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    exposed_ports: BTreeMap<String, Empty>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    env: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    entrypoint: Option<&'a [String]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cmd: Option<&'a [String]>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    volumes: BTreeMap<String, Empty>,
    #[serde(skip_serializing_if = "str::is_empty")]
    working_dir: &'a str,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    labels: &'a BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stop_signal: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    healthcheck: Option<Health<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    shell: Option<&'a [String]>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Health<'a> {
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    test: &'a [String],
    #[serde(skip_serializing_if = "is_zero")]
    interval: i64,
    #[serde(skip_serializing_if = "is_zero")]
    timeout: i64,
    #[serde(skip_serializing_if = "is_zero")]
    start_period: i64,
    #[serde(skip_serializing_if = "is_zero")]
    retries: i64,
}

impl<'a> From<&'a Healthcheck> for Health<'a> {
    fn from(check: &'a Healthcheck) -> Self {
        let signed = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        Self {
            test: &check.test,
            interval: signed(check.interval),
            timeout: signed(check.timeout),
            start_period: signed(check.start_period),
            retries: check.retries.into(),
        }
    }
}

#[derive(Serialize)]
struct History<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    created: Option<String>,
    #[serde(skip_serializing_if = "str::is_empty")]
    created_by: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    author: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    comment: &'a str,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    empty_layer: bool,
}

impl<'a> From<&'a HistoryEntry> for History<'a> {
    fn from(entry: &'a HistoryEntry) -> Self {
        Self {
            created: entry.created.map(time),
            created_by: &entry.created_by,
            author: &entry.author,
            comment: &entry.comment,
            empty_layer: entry.empty_layer,
        }
    }
}

fn is_zero(value: &i64) -> bool {
    *value == 0
}

fn time(at: Timestamp) -> String {
    engine_host::clock::rfc3339(Some(at))
}

fn bytes(document: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(document).expect("texts, numbers and maps with text keys can be written")
}
