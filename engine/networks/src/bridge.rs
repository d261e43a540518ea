//! Networks that the engine makes: a conflist of the standard plugins, with a bridge and a subnet of its own.

use std::net::Ipv4Addr;
use std::path::Path;

use serde_json::{Value, json};

use super::conf::{Confs, Found, is_name};
use super::detach::remove_file;
use super::subnet::{POOL, Subnet};
use super::{NetworkError, Settings, netlink, plugin};
use engine_host::failpoint;
use engine_host::fs::{Mounts, remove_tree, write_atomically};

/// The longest name of a new network: plugins put names into the comments of firewall rules, which are short.
pub const NAME_LIMIT: usize = 64;
/// The prefix of files that the engine makes.
const FILE_PREFIX: &str = "isulacni-";
const BRIDGE_PREFIX: &str = "isula-br";
/// Another daemon makes or removes a network in less.
const LOCK_PATIENCE: std::time::Duration = std::time::Duration::from_secs(10);
/// Old and new plugins speak it.
const VERSION: &str = "0.4.0";
/// Words that mean something else where a network is named.
const RESERVED: [&str; 4] = ["none", "host", "container", "default"];

/// A requested network; for an empty field the engine chooses.
#[derive(Debug, Default)]
pub struct Request {
    pub name: String,
    pub driver: String,
    pub subnet: String,
    pub gateway: String,
    /// The network has no way out of the host.
    pub internal: bool,
}

/// Makes a network and answers its name. Blocks on the disk; two at once are for the caller to prevent.
pub fn create(settings: &Settings, addresses: &Path, request: &Request) -> Result<String, NetworkError> {
    if !matches!(request.driver.as_str(), "" | "bridge") {
        return Err(NetworkError::Driver { driver: request.driver.clone() });
    }
    let _alone = alone(&settings.conf_dir)?;
    let confs = Confs::read(&settings.conf_dir);
    let name = name(request, &confs)?;
    let links: Vec<_> = interfaces()?.into_iter().map(|link| link.name).collect();
    let (subnet, gateway) = subnet(request, &confs)?;
    for kind in ["bridge", "host-local", "portmap"] {
        plugin::find(kind, &settings.bin_dirs).map_err(NetworkError::Missing)?;
    }
    let firewall = plugin::find("firewall", &settings.bin_dirs).is_ok();
    let bridges: Vec<_> = confs.by_name.values().flat_map(|found| bridges(&found.conf.list)).collect();
    let is_free = |bridge: &String| !links.contains(bridge) && !bridges.iter().any(|other| other == bridge);
    let bridge = (0..).map(|number| format!("{BRIDGE_PREFIX}{number}")).find(is_free).unwrap_or_default();
    let list = list(&name, &bridge, (subnet, gateway), request.internal, firewall, addresses);
    let path = settings.conf_dir.join(format!("{FILE_PREFIX}{name}.conflist"));
    if path.exists() {
        return Err(NetworkError::Exists { name, path });
    }
    let text = format!("{list:#}\n");
    write_atomically(&path, text.as_bytes(), 0o644, true)
        .map_err(|error| NetworkError::io("write", &path)(error.source))?;
    Ok(name)
}

/// Removes a network that the engine made, with its bridge and host-local's notes. Blocks.
pub fn remove(settings: &Settings, addresses: &Path, name: &str) -> Result<(), NetworkError> {
    let _alone = alone(&settings.conf_dir)?;
    let confs = Confs::read(&settings.conf_dir);
    let found = find(&confs, name)?;
    if !is_ours(found, addresses) {
        return Err(NetworkError::NotOurs { name: name.to_owned(), path: found.path.clone() });
    }
    for bridge in bridges(&found.conf.list).filter(|bridge| bridge.starts_with(BRIDGE_PREFIX)) {
        remove_bridge(bridge)?;
    }
    let noted = addresses.join(name);
    if is_unused(&noted) {
        let _ = remove_tree(&noted, Mounts::Refuse);
    }
    failpoint::hit(failpoint::NET_BRIDGE_REMOVED);
    // The configuration goes last: a repeated removal finds the rest by it.
    remove_file(&found.path)?;
    std::fs::File::open(&settings.conf_dir)
        .and_then(|dir| dir.sync_all())
        .map_err(NetworkError::io("sync", &settings.conf_dir))
}

/// The network of this name.
pub fn find<'a>(confs: &'a Confs, name: &str) -> Result<&'a Found, NetworkError> {
    confs.by_name.get(name).ok_or_else(|| NetworkError::NoSuchNetwork { name: shown(name), known: confs.names() })
}

/// Another daemon's network has its addresses elsewhere.
fn is_ours(found: &Found, addresses: &Path) -> bool {
    let named = found.path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(FILE_PREFIX));
    let data =
        |plugin: &Value| plugin.pointer("/ipam/dataDir").and_then(Value::as_str).map(Path::new) == Some(addresses);
    named && plugins(&found.conf.list).any(data)
}

/// Other daemons may have the same directory of networks.
fn alone(dir: &Path) -> Result<std::fs::File, NetworkError> {
    let failed = NetworkError::io("lock", dir);
    let handle = match std::fs::File::open(dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            std::fs::create_dir_all(dir).map_err(NetworkError::io("make", dir))?;
            std::fs::File::open(dir)
        }
        opened => opened,
    };
    let handle = handle.map_err(&failed)?;
    let end = std::time::Instant::now() + LOCK_PATIENCE;
    loop {
        match rustix::fs::flock(&handle, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(handle),
            Err(rustix::io::Errno::WOULDBLOCK) if std::time::Instant::now() < end => {
                std::thread::sleep(std::time::Duration::from_millis(10));
            }
            Err(rustix::io::Errno::WOULDBLOCK) => {
                return Err(NetworkError::Locked { dir: dir.to_owned(), seconds: LOCK_PATIENCE.as_secs() });
            }
            Err(errno) => return Err(failed(errno.into())),
        }
    }
}

fn name(request: &Request, confs: &Confs) -> Result<String, NetworkError> {
    if request.name.is_empty() {
        return Ok(format!("net-{}", super::digits::<6>()?));
    }
    let name = &request.name;
    if !is_name(name) || name.len() > NAME_LIMIT || RESERVED.contains(&name.as_str()) {
        return Err(NetworkError::InvalidName { name: shown(name) });
    }
    match confs.by_name.get(name) {
        Some(found) => Err(NetworkError::Exists { name: name.clone(), path: found.path.clone() }),
        None => Ok(name.clone()),
    }
}

fn shown(name: &str) -> String {
    engine_domain::text::cut(name, 200).escape_default().to_string()
}

/// The subnet of the request if it is free, or a free one.
fn subnet(request: &Request, confs: &Confs) -> Result<(Subnet, Ipv4Addr), NetworkError> {
    let problem = |problem| NetworkError::Subnet { problem };
    let mut used: Vec<(Subnet, String)> = Vec::new();
    for (name, found) in &confs.by_name {
        used.extend(subnets(&found.conf.list).map(|subnet| (subnet, format!("network {name} ({subnet})"))));
    }
    let asked = if request.subnet.is_empty() { None } else { Some(Subnet::parse(&request.subnet).map_err(problem)?) };
    let of_host = netlink::subnets_in_use().map_err(|source| NetworkError::Netlink { source })?;
    // A route that is wider than the requested subnet leads elsewhere, and gives way to the narrower one.
    let matters =
        |of_host: &netlink::InUse| !of_host.route || of_host.subnet.prefix() >= asked.map_or(8, Subnet::prefix);
    let of_host = of_host.into_iter().filter(matters).map(|of_host| of_host.subnet);
    used.extend(of_host.map(|subnet| (subnet, format!("an address or route of the host ({subnet})"))));
    let subnet = match asked {
        Some(subnet) => subnet,
        None => {
            let taken: Vec<_> = used.iter().map(|(subnet, _)| *subnet).collect();
            Subnet::choose(&taken).ok_or_else(|| NetworkError::NoSubnet { pool: POOL.to_owned() })?
        }
    };
    if let Some((_, other)) = used.iter().find(|(other, _)| other.overlaps(subnet)) {
        return Err(NetworkError::Overlap { subnet: subnet.to_string(), other: other.clone() });
    }
    let gateway = match request.gateway.as_str() {
        "" => subnet.first(),
        _ if request.subnet.is_empty() => {
            return Err(problem("a gateway needs the subnet that it is of: give --subnet too".to_owned()));
        }
        text => text
            .parse()
            .ok()
            .filter(|gateway| subnet.is_host(*gateway))
            .ok_or_else(|| problem(format!("gateway {} is not an address of a host in {subnet}", shown(text))))?,
    };
    Ok((subnet, gateway))
}

fn list(
    name: &str,
    bridge: &str,
    (subnet, gateway): (Subnet, Ipv4Addr),
    internal: bool,
    firewall: bool,
    addresses: &Path,
) -> Value {
    let mut ipam = json!({
        "type": "host-local",
        "ranges": [[{ "subnet": subnet.to_string(), "gateway": gateway.to_string() }]],
        "dataDir": addresses,
    });
    if !internal {
        ipam["routes"] = json!([{ "dst": "0.0.0.0/0" }]);
    }
    let mut plugins = vec![json!({
        "type": "bridge",
        "bridge": bridge,
        "isGateway": !internal,
        "ipMasq": !internal,
        "hairpinMode": true,
        "ipam": ipam,
        "capabilities": { "ips": true },
    })];
    // Ports of an internal network could not be reached from outside.
    if !internal {
        plugins.push(json!({ "type": "portmap", "capabilities": { "portMappings": true } }));
    }
    if firewall {
        plugins.push(json!({ "type": "firewall" }));
    }
    json!({ "cniVersion": VERSION, "name": name, "plugins": plugins })
}

fn plugins(list: &Value) -> impl Iterator<Item = &Value> {
    list.get("plugins").and_then(Value::as_array).into_iter().flatten()
}

fn bridges(list: &Value) -> impl Iterator<Item = &str> {
    plugins(list).filter_map(|plugin| plugin.get("bridge").and_then(Value::as_str))
}

/// The subnets in host-local's old and new spelling.
fn subnets(list: &Value) -> impl Iterator<Item = Subnet> {
    plugins(list).filter_map(|plugin| plugin.get("ipam")).flat_map(|ipam| {
        let sets = ipam.get("ranges").and_then(Value::as_array).into_iter().flatten();
        let ranges = sets.filter_map(Value::as_array).flatten().chain([ipam]);
        ranges.filter_map(|range| {
            let (address, prefix) = range.get("subnet")?.as_str()?.split_once('/')?;
            Subnet::around(address.parse().ok()?, prefix.parse().ok()?)
        })
    })
}

fn interfaces() -> Result<Vec<netlink::Link>, NetworkError> {
    netlink::links().map_err(|source| NetworkError::Netlink { source })
}

/// A bridge with ports is left: it is in use outside of the engine.
fn remove_bridge(name: &str) -> Result<(), NetworkError> {
    let links = interfaces()?;
    let Some(bridge) = links.iter().find(|link| link.name == name) else { return Ok(()) };
    if links.iter().any(|link| link.master == Some(bridge.index)) {
        tracing::warn!(bridge = name, "the bridge of a removed network has ports; it is left");
        return Ok(());
    }
    netlink::delete(bridge.index).map_err(|source| NetworkError::Netlink { source })
}

/// Whether no address is noted in the directory. One that cannot be listed may have some.
fn is_unused(noted: &Path) -> bool {
    let is_address = |entry: std::fs::DirEntry| entry.file_name().to_string_lossy().parse::<std::net::IpAddr>().is_ok();
    match std::fs::read_dir(noted) {
        Ok(mut entries) => entries.all(|entry| entry.is_ok_and(|entry| !is_address(entry))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => true,
        Err(error) => {
            tracing::warn!(path = %noted.display(), %error, "addresses in use cannot be listed; they are left");
            false
        }
    }
}
