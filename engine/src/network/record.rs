//! The record of an attachment: all that DEL needs, so that it is exact also when the conflist has changed or is gone.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::port::Published;
use super::result::Attached;
use super::{NetworkConf, NetworkError, netns};
use crate::rootfs::write_atomically;

const VERSION: u32 = 1;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    version: u32,
    /// For whom, in the words of messages.
    pub owner: String,
    /// `CNI_CONTAINERID`
    pub container: String,
    pub netns: PathBuf,
    /// Until they are given back.
    #[serde(default)]
    pub ports: Vec<Published>,
    /// In the order of ADD.
    pub networks: Vec<Attachment>,
}

/// One interface in one network.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Attachment {
    pub network: String,
    pub ifname: String,
    /// The whole conflist.
    pub list: Value,
    pub args: String,
    pub capability_args: Map<String, Value>,
    /// Of the last plugin that has answered. `None`: the first may have begun.
    #[serde(default)]
    pub result: Option<Value>,
}

impl Record {
    pub fn new(owner: String, container: String, netns: PathBuf, ports: Vec<Published>) -> Self {
        Self { version: VERSION, owner, container, netns, ports, networks: vec![] }
    }

    /// Networks with their addresses, as events have them.
    pub fn told(&self) -> impl Iterator<Item = (String, Vec<String>)> {
        self.networks.iter().map(|attachment| {
            let addresses = attachment.attached().addresses;
            let texts = addresses.iter().map(|address| format!("{}/{}", address.ip, address.prefix)).collect();
            (attachment.network.clone(), texts)
        })
    }

    /// Whether there is a file. What cannot be looked at may be one.
    pub async fn is_at(path: &Path) -> bool {
        tokio::fs::try_exists(path).await.unwrap_or(true)
    }

    /// `None` when there is none. Blocks.
    pub fn read(path: &Path) -> Result<Option<Self>, NetworkError> {
        let bytes = match std::fs::read(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            read => read.map_err(NetworkError::io("read", path))?,
        };
        let failed = |source| NetworkError::Record { path: path.to_owned(), source };
        let record: Self = serde_json::from_slice(&bytes).map_err(failed)?;
        if record.version > VERSION {
            let problem = format!("it is of version {}, newer than {VERSION}", record.version);
            return Err(NetworkError::RecordContent { path: path.to_owned(), problem });
        }
        // It decides what is unmounted and removed.
        let name = record.netns.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if !record.netns.is_absolute() || !name.starts_with(netns::PREFIX) {
            let problem = format!("`{}` is no namespace of ours", record.netns.display());
            return Err(NetworkError::RecordContent { path: path.to_owned(), problem });
        }
        Ok(Some(record))
    }

    /// It is on disk when this returns: addresses survive a power cut, so their record must. Blocks.
    pub fn write(&self, path: &Path) -> Result<(), NetworkError> {
        let failed = NetworkError::io("write", path);
        let bytes = serde_json::to_vec(self).map_err(|error| failed(error.into()))?;
        write_atomically(path, &bytes, 0o600, true).map_err(|error| failed(error.source))
    }
}

impl Attachment {
    pub fn conf(&self, path: &Path) -> Result<NetworkConf, NetworkError> {
        NetworkConf::of_list(self.list.clone())
            .map_err(|problem| NetworkError::RecordContent { path: path.to_owned(), problem })
    }

    /// What the plugins have answered; nothing, when they have not, or cannot be understood.
    pub fn attached(&self) -> Attached {
        self.result.as_ref().and_then(|result| Attached::of(result, &self.ifname).ok()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_that_names_anything_but_a_namespace_of_ours_is_not_valid() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("network.json");
        for (netns, is_valid) in [
            ("/var/run/netns/isula-01234567-a-1-b", true),
            ("/etc/passwd", false),
            ("/var/run/netns/cni-1", false),
            ("isula-1", false),
            ("", false),
            ("/", false),
        ] {
            Record::new("x".into(), "x".into(), netns.into(), vec![]).write(&path).unwrap();
            let read = Record::read(&path).map(|record| record.is_some()).map_err(|error| error.to_string());
            assert_eq!(read.is_ok(), is_valid, "{netns}: {read:?}");
        }
    }
}
