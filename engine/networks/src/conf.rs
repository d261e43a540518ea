//! Network configurations: `.conflist` files, and `.conf` and `.json` ones of a single plugin. A file that cannot be
//! used is an error of its own and hides no other.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

/// A larger file is no configuration.
const FILE_LIMIT: u64 = 1 << 20;
const PLUGIN_LIMIT: usize = 32;
const NAME_LIMIT: usize = 128;
/// Versions of the specification that are spoken, oldest first.
pub const VERSIONS: [&str; 5] = ["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"];

/// A network: plugins that are run one after the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkConf {
    pub name: String,
    pub version: Version,
    pub plugins: Vec<PluginConf>,
    /// The whole list, as it is kept for DEL.
    pub list: Value,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PluginConf {
    /// The name of the plugin's binary.
    pub kind: String,
    /// The capabilities that it takes in `runtimeConfig`.
    pub capabilities: Vec<String>,
    pub raw: Map<String, Value>,
}

/// One of `VERSIONS`, by its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(usize);

impl Version {
    pub const V0_4_0: Self = Self(2);

    pub fn parse(text: &str) -> Option<Self> {
        VERSIONS.iter().position(|version| *version == text).map(Self)
    }

    pub fn text(self) -> &'static str {
        VERSIONS[self.0]
    }
}

/// Why a file is not a network.
#[derive(Debug, thiserror::Error)]
pub enum ConfError {
    #[error("cannot read the network configuration `{path}`")]
    Read { path: PathBuf, source: io::Error },
    #[error("the network configuration `{path}` is not a file of at most {} KiB", FILE_LIMIT >> 10)]
    NotAFile { path: PathBuf },
    #[error("the network configuration `{path}` is not valid")]
    Parse { path: PathBuf, source: serde_json::Error },
    #[error("the network configuration `{path}` is not valid: {problem}")]
    Content { path: PathBuf, problem: String },
    #[error("the network configuration `{path}` is not used: `{first}` has the name `{name}` already")]
    Twice { path: PathBuf, first: PathBuf, name: String },
}

/// The networks of a directory, by name.
#[derive(Debug, Default)]
pub struct Confs {
    pub by_name: BTreeMap<String, Found>,
    pub errors: Vec<ConfError>,
}

#[derive(Debug, Clone)]
pub struct Found {
    pub path: PathBuf,
    pub conf: NetworkConf,
}

impl Confs {
    /// Reads them all; a directory that is not there has none. Blocks on the disk.
    pub fn read(dir: &Path) -> Self {
        let mut networks = Self::default();
        let mut paths = match std::fs::read_dir(dir).and_then(|entries| entries.collect::<Result<Vec<_>, _>>()) {
            Ok(entries) => entries.into_iter().map(|entry| entry.path()).collect(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => vec![],
            Err(source) => {
                networks.errors.push(ConfError::Read { path: dir.to_owned(), source });
                vec![]
            }
        };
        // Of two with the same name the first counts, as for every user of this directory.
        paths.sort();
        for path in paths.into_iter().filter(|path| is_conf(path)) {
            match read(&path) {
                Ok(conf) => networks.put(path, conf),
                // Removed meanwhile.
                Err(ConfError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
                Err(error) => networks.errors.push(error),
            }
        }
        networks
    }

    fn put(&mut self, path: PathBuf, conf: NetworkConf) {
        if let Some(known) = self.by_name.get(&conf.name) {
            let first = known.path.clone();
            self.errors.push(ConfError::Twice { path, first, name: conf.name });
        } else {
            self.by_name.insert(conf.name.clone(), Found { path, conf });
        }
    }

    /// The names of all networks, for the text of a refusal.
    pub fn names(&self) -> String {
        let names: Vec<_> = self.by_name.keys().map(String::as_str).collect();
        if names.is_empty() { "there is none".to_owned() } else { format!("there are {}", names.join(", ")) }
    }
}

fn is_conf(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "conf" || extension == "conflist" || extension == "json")
}

fn read(path: &Path) -> Result<NetworkConf, ConfError> {
    let failed = |source| ConfError::Read { path: path.to_owned(), source };
    // A fifo must not block.
    let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let file = File::options().read(true).custom_flags(flags).open(path).map_err(failed)?;
    if !file.metadata().map_err(failed)?.is_file() {
        return Err(ConfError::NotAFile { path: path.to_owned() });
    }
    let mut bytes = Vec::new();
    file.take(FILE_LIMIT + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > FILE_LIMIT {
        return Err(ConfError::NotAFile { path: path.to_owned() });
    }
    let value: Value =
        serde_json::from_slice(&bytes).map_err(|source| ConfError::Parse { path: path.to_owned(), source })?;
    let is_list = path.extension().is_some_and(|extension| extension == "conflist");
    let list = if is_list { value } else { listed(value) };
    NetworkConf::of_list(list).map_err(|problem| ConfError::Content { path: path.to_owned(), problem })
}

/// A configuration of one plugin as a list.
fn listed(single: Value) -> Value {
    let take = |key: &str| single.get(key).cloned().unwrap_or(Value::Null);
    let mut list = json!({ "name": take("name"), "plugins": [single] });
    for key in ["cniVersion", "cniVersions"] {
        if let Some(value) = list["plugins"][0].get(key).cloned() {
            list[key] = value;
        }
    }
    list
}

impl NetworkConf {
    /// Parses a conflist. An `Err` is the fault in it.
    pub fn of_list(list: Value) -> Result<Self, String> {
        let name = text(&list, "name")?.ok_or("it has no `name`")?.to_owned();
        if !is_name(&name) {
            let shown = name.escape_default();
            return Err(format!("`name` {shown} is not a letter or digit, then letters, digits, `_`, `.` or `-`"));
        }
        let version = version(&list)?;
        let plugins = match list.get("plugins") {
            Some(Value::Array(plugins)) if !plugins.is_empty() => plugins,
            _ => return Err("`plugins` is not a list with at least one".to_owned()),
        };
        if plugins.len() > PLUGIN_LIMIT {
            return Err(format!("it has more than {PLUGIN_LIMIT} plugins"));
        }
        let plugins = plugins.iter().map(plugin).collect::<Result<Vec<_>, _>>()?;
        Ok(Self { name, version, plugins, list })
    }

    /// Whether one of the plugins takes this in `runtimeConfig`.
    pub fn takes(&self, capability: &str) -> bool {
        self.plugins.iter().any(|plugin| plugin.takes(capability))
    }
}

/// Plugins of the reference that leave addresses to another one. Others may mean something else by the word.
const DELEGATING: [&str; 8] = ["bridge", "dummy", "host-device", "ipvlan", "macvlan", "ptp", "tap", "vlan"];

impl PluginConf {
    pub fn takes(&self, capability: &str) -> bool {
        self.capabilities.iter().any(|known| known == capability)
    }

    /// The plugin that it has manage its addresses.
    pub fn ipam(&self) -> Option<&str> {
        let kind = self.raw.get("ipam")?.get("type")?.as_str().filter(|kind| !kind.is_empty());
        kind.filter(|_| DELEGATING.contains(&self.kind.as_str()))
    }
}

fn plugin(value: &Value) -> Result<PluginConf, String> {
    let Value::Object(raw) = value else { return Err("a plugin is not an object".to_owned()) };
    let kind = text(value, "type")?.ok_or("a plugin has no `type`")?;
    // The kind becomes the name of a binary in a directory of the operator.
    if kind.is_empty() || kind.len() > NAME_LIMIT || kind.starts_with('.') || kind.contains(['/', '\0']) {
        return Err(format!("the plugin type `{}` is not the name of a file", kind.escape_default()));
    }
    let capabilities = match raw.get("capabilities") {
        None | Some(Value::Null) => vec![],
        Some(Value::Object(map)) => {
            map.iter().filter(|(_, wanted)| **wanted == Value::Bool(true)).map(|(name, _)| name.clone()).collect()
        }
        Some(_) => return Err(format!("`capabilities` of plugin `{kind}` is not an object")),
    };
    Ok(PluginConf { kind: kind.to_owned(), capabilities, raw: raw.clone() })
}

/// The newest that both speak.
fn version(list: &Value) -> Result<Version, String> {
    let mut offered: Vec<&str> = match list.get("cniVersions") {
        None | Some(Value::Null) => vec![],
        Some(Value::Array(versions)) => versions.iter().filter_map(Value::as_str).collect(),
        Some(_) => return Err("`cniVersions` is not a list".to_owned()),
    };
    offered.extend(text(list, "cniVersion")?);
    if offered.is_empty() {
        return Err("it has no `cniVersion`".to_owned());
    }
    let spoken = offered.iter().filter_map(|version| Version::parse(version)).max();
    spoken.ok_or_else(|| {
        let offered: Vec<_> = offered.iter().take(8).map(|version| version.escape_default().to_string()).collect();
        format!("cniVersion {} is not one of {}", offered.join(", "), VERSIONS.join(", "))
    })
}

fn text<'a>(value: &'a Value, key: &str) -> Result<Option<&'a str>, String> {
    match value.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(format!("`{key}` is not a string")),
    }
}

/// The specification's rule for names of networks and of attached containers.
pub fn is_name(text: &str) -> bool {
    let first = text.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
    first && text.bytes().all(plain) && text.len() <= NAME_LIMIT
}

#[cfg(test)]
mod tests {
    use super::*;

    const BRIDGE: &str = r#"{"cniVersion":"0.4.0","name":"a","plugins":[{"type":"bridge"},
        {"type":"portmap","capabilities":{"portMappings":true,"x":false}}]}"#;

    fn dir(files: &[(&str, &str)]) -> (tempfile::TempDir, Confs) {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(dir.path().join(name), text).unwrap();
        }
        let networks = Confs::read(dir.path());
        (dir, networks)
    }

    #[test]
    fn lists_and_single_plugins_are_networks() {
        let (_dir, networks) = dir(&[
            ("10-a.conflist", BRIDGE),
            ("20-b.conf", r#"{"cniVersion":"1.0.0","name":"b","type":"macvlan","capabilities":{"ips":true}}"#),
            ("readme.txt", "no"),
            ("c.conflist.1-0.tmp", "no"),
        ]);
        assert!(networks.errors.is_empty(), "{:?}", networks.errors);
        let a = &networks.by_name["a"].conf;
        assert_eq!((a.version.text(), a.plugins.len()), ("0.4.0", 2));
        assert!(a.takes("portMappings") && !a.takes("x"));
        let b = &networks.by_name["b"].conf;
        assert_eq!((b.plugins[0].kind.as_str(), b.takes("ips")), ("macvlan", true));
        assert_eq!(NetworkConf::of_list(b.list.clone()).unwrap(), *b, "the recorded list parses to the same");
    }

    #[test]
    fn a_broken_file_hides_no_other() {
        let (dir, _) = dir(&[
            ("10-bad.conflist", "{"),
            ("11-bad.conflist", "7"),
            ("12-bad.conflist", r#"{"cniVersion":"9.0.0","name":"x","plugins":[{"type":"bridge"}]}"#),
            ("13-bad.conflist", r#"{"cniVersion":"1.0.0","name":"../x","plugins":[{"type":"bridge"}]}"#),
            ("14-bad.conflist", r#"{"cniVersion":"1.0.0","name":"x","plugins":[{"type":"../bridge"}]}"#),
            ("15-bad.conflist", r#"{"cniVersion":"1.0.0","name":"x","plugins":[]}"#),
            ("16-bad.conf", r#"{"name":"x","type":"bridge"}"#),
            ("20-a.conflist", BRIDGE),
            ("30-a.conflist", BRIDGE),
        ]);
        std::fs::create_dir(dir.path().join("dir.conf")).unwrap();
        nix::unistd::mkfifo(&dir.path().join("fifo.conf"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        std::fs::write(dir.path().join("huge.conf"), vec![b' '; 2 << 20]).unwrap();
        let networks = Confs::read(dir.path());
        assert_eq!(networks.by_name.len(), 1);
        assert!(networks.by_name["a"].path.ends_with("20-a.conflist"));
        let errors: Vec<_> = networks.errors.iter().map(|error| engine_host::cause::chain(error)).collect();
        assert_eq!(errors.len(), 11, "{errors:#?}");
        for words in [
            "10-bad.conflist` is not valid: EOF",
            "it has no `name`",
            "cniVersion 9.0.0 is not one of 0.3.0",
            "`name` ../x is not a letter or digit",
            "the plugin type `../bridge` is not the name of a file",
            "`plugins` is not a list with at least one",
            "it has no `cniVersion`",
            "30-a.conflist` is not used",
        ] {
            assert!(errors.iter().any(|error| error.contains(words)), "{words}: {errors:#?}");
        }
    }

    #[test]
    fn of_several_versions_the_newest_known_is_spoken() {
        let list = json!({"cniVersions":["0.4.0","1.1.0","7.0.0"],"name":"x","plugins":[{"type":"bridge"}]});
        assert_eq!(NetworkConf::of_list(list).unwrap().version.text(), "1.1.0");
    }

    #[test]
    fn a_missing_directory_has_no_networks() {
        let networks = Confs::read(Path::new("/no/such/dir"));
        assert!(networks.by_name.is_empty() && networks.errors.is_empty());
    }
}
