//! The record of an attachment: all that DEL needs, so that it is exact also when the conflist has changed or is gone.

use std::ffi::OsStr;
use std::io;
use std::net::IpAddr;
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::port::Published;
use super::result::Attached;
use super::{NetworkConf, NetworkError, netns};
use engine_host::fs::write_atomically;

const VERSION: u32 = 1;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    version: u32,
    /// The owner, in the words of messages.
    pub owner: String,
    /// `CNI_CONTAINERID`
    pub container: String,
    pub netns: PathBuf,
    /// The published ports, until they are given back.
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
    /// The result of the last plugin that has succeeded. `None`: the first may have begun.
    #[serde(default)]
    pub result: Option<Value>,
    /// Without a result: the addresses that the interface had before the first DEL.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub seen: Vec<(IpAddr, u8)>,
}

impl Record {
    pub fn new(owner: String, container: String, netns: PathBuf, ports: Vec<Published>) -> Self {
        Self { version: VERSION, owner, container, netns, ports, networks: vec![] }
    }

    /// Networks with their addresses, as events have them.
    pub fn addresses(&self) -> impl Iterator<Item = (String, Vec<String>)> {
        self.networks.iter().map(|attachment| {
            let addresses = attachment.attached().addresses;
            let texts = addresses.iter().map(|address| format!("{}/{}", address.ip, address.prefix)).collect();
            (attachment.network.clone(), texts)
        })
    }

    /// Whether there is a file; in doubt there is.
    pub async fn is_at(path: &Path) -> bool {
        tokio::fs::try_exists(path).await.unwrap_or(true)
    }

    /// `None` when there is none. The namespace in it, which is going to be unpinned and removed, must be of this
    /// attachment, or it is an error. Blocks.
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
        if !record.names_its_pin() {
            let problem = format!("`{}` is no namespace of `{}`", record.netns.display(), record.container);
            return Err(NetworkError::RecordContent { path: path.to_owned(), problem });
        }
        Ok(Some(record))
    }

    /// The pin's name ends as the attachment's does: with the first 16 digits of the container's id, and the rest.
    fn names_its_pin(&self) -> bool {
        let plain = |part: Component<'_>| matches!(part, Component::RootDir | Component::Normal(_));
        let name = self.netns.file_name().and_then(OsStr::to_str).unwrap_or_default();
        let (of, rest) = self.container.split_once('-').unwrap_or_default();
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric());
        let of: String = of.chars().take(16).collect();
        let named = digits(&of) && rest.split('-').all(digits) && name.ends_with(&format!("-{of}-{rest}"));
        self.netns.is_absolute() && self.netns.components().all(plain) && name.starts_with(netns::PREFIX) && named
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

    /// The addresses of the interface by the result, or as they were seen; none when neither is there.
    pub fn interface_addresses(&self) -> Vec<(IpAddr, u8)> {
        let known: Vec<_> = self.attached().addresses.iter().map(|it| (it.ip, it.prefix)).collect();
        if known.is_empty() { self.seen.clone() } else { known }
    }

    /// The addresses and other facts in the plugins' result; the default when there is none, or it cannot be parsed.
    pub fn attached(&self) -> Attached {
        self.result.as_ref().and_then(|result| Attached::of(result, &self.ifname).ok()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    fn record(container: &str, netns: &str) -> Record {
        Record::new("container x".to_owned(), container.to_owned(), netns.into(), vec![])
    }

    fn read(bytes: &[u8]) -> Result<Option<Record>, NetworkError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("network.json");
        fs::write(&path, bytes).unwrap();
        Record::read(&path)
    }

    #[test]
    fn a_cut_zeroed_or_noisy_record_is_no_record() {
        let whole = record(&format!("{ID}-3-aabbccdd"), "/n/isula-01020304-0123456789abcdef-3-aabbccdd");
        let bytes = serde_json::to_vec(&whole).unwrap();
        assert_eq!(read(&bytes).unwrap(), Some(whole));
        for end in 0..bytes.len() {
            assert!(read(&bytes[..end]).is_err(), "cut at {end}");
            let mut torn = bytes.clone();
            torn[end..].fill(0);
            assert!(read(&torn).is_err(), "zeroed from {end}");
        }
        assert!(read(&[0xff; 100]).is_err());
    }

    #[test]
    fn a_record_with_a_foreign_namespace_is_refused() {
        let container = format!("{ID}-3-aabbccdd");
        for netns in [
            "",
            "/",
            "/etc/passwd",
            "/n/isula-",
            "/n/cni-01020304-0123456789abcdef-3-aabbccdd",
            "/n/isula-01020304-0123456789abcdef-4-aabbccdd",
            "/n/isula-01020304-0123456789abcdee-3-aabbccdd",
            "n/isula-01020304-0123456789abcdef-3-aabbccdd",
            "/n/../isula-01020304-0123456789abcdef-3-aabbccdd",
            "/n/isula-01020304-0123456789abcdef-3-aabbccdd/..",
        ] {
            let bytes = serde_json::to_vec(&record(&container, netns)).unwrap();
            assert!(matches!(read(&bytes), Err(NetworkError::RecordContent { .. })), "{netns:?}");
        }
        for container in ["", "-", "x", ID] {
            let bytes = serde_json::to_vec(&record(container, "/n/isula-")).unwrap();
            assert!(matches!(read(&bytes), Err(NetworkError::RecordContent { .. })), "{container:?}");
        }
    }

    #[test]
    fn the_record_of_another_container_is_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let bundle = |id: &str| {
            let (record, busy) = (dir.path().join("network.json"), dir.path().join("network-call"));
            super::super::attach::Place { prefix: format!("{id}-"), record, busy }
        };
        let own = record(&format!("{ID}-3-aabbccdd"), "/n/isula-01020304-0123456789abcdef-3-aabbccdd");
        own.write(&bundle(ID).record).unwrap();
        assert_eq!(bundle(ID).read().unwrap(), Some(own));
        let refused = bundle(&"f".repeat(64)).read().unwrap_err().to_string();
        assert!(refused.contains("network.json` is not valid: it is of"), "{refused}");
    }
}
