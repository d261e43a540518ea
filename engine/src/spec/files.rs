//! The contents of a container's `/etc/hosts`, `/etc/hostname` and `/etc/resolv.conf`.

use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::Path;

use crate::definition::{Definition, Dns, Network};
use crate::network::result as network;
use crate::rootfs::{WriteError, write_atomically};

/// The files could not be made.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    #[error("`{entry}` is not of the form host:ip")]
    ExtraHost { entry: String },
    #[error("cannot read the host's `{path}`")]
    HostFile { path: &'static str, source: io::Error },
    #[error(transparent)]
    Write(#[from] WriteError),
}

/// Addresses and name servers that a container got from its networks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct NetworkSettings {
    pub addresses: Vec<IpAddr>,
    pub dns: network::Dns,
}

/// The host's name files.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct HostNames {
    pub hosts: String,
    pub resolv_conf: String,
    /// The servers that systemd-resolved forwards to, for a `resolv_conf` that names only its own stub.
    pub upstream_resolv_conf: String,
}

impl HostNames {
    /// Reads the host's files; one that is missing counts as empty.
    pub(crate) fn read() -> Result<Self, FilesError> {
        Ok(Self {
            hosts: read("/etc/hosts")?,
            resolv_conf: read("/etc/resolv.conf")?,
            upstream_resolv_conf: read("/run/systemd/resolve/resolv.conf")?,
        })
    }
}

/// Writes all three files into the bundle. May be repeated; a file is always whole, and one with the same contents is
/// left alone, because replacing a file makes some file systems wait for the disk.
pub(crate) fn write(
    bundle: &Path,
    definition: &Definition,
    host: &HostNames,
    networks: &NetworkSettings,
) -> Result<(), FilesError> {
    for (name, text) in texts(definition, host, networks)? {
        let path = bundle.join(name);
        if fs::read(&path).ok().as_deref() != Some(text.as_bytes()) {
            write_atomically(&path, text.as_bytes(), 0o644, false)?;
        }
    }
    Ok(())
}

/// Writes files that are missing, and those that a power cut has left empty or zeroed; any other contents may have been
/// written from inside the container, and stay.
pub(crate) fn write_missing(bundle: &Path, definition: &Definition) -> Result<(), FilesError> {
    let is_lost = |name: &str| fs::read(bundle.join(name)).map_or(true, |bytes| bytes.iter().all(|byte| *byte == 0));
    let lost: Vec<&str> = NAMES.into_iter().filter(|name| is_lost(name)).collect();
    if lost.is_empty() {
        return Ok(());
    }
    for (name, text) in texts(definition, &HostNames::read()?, &NetworkSettings::default())? {
        if lost.contains(&name) {
            write_atomically(&bundle.join(name), text.as_bytes(), 0o644, false)?;
        }
    }
    Ok(())
}

/// Their names in the bundle.
const NAMES: [&str; 3] = ["hosts", "hostname", "resolv.conf"];

fn texts(
    definition: &Definition,
    host: &HostNames,
    networks: &NetworkSettings,
) -> Result<impl Iterator<Item = (&'static str, String)>, FilesError> {
    let hosts = hosts(definition, host, &networks.addresses)?;
    let texts = [hosts, hostname(definition), resolv_conf(definition, host, &networks.dns)];
    Ok(NAMES.into_iter().zip(texts))
}

/// The host name, on a line.
pub(crate) fn hostname(definition: &Definition) -> String {
    format!("{}\n", definition.hostname)
}

/// In the host's network: the host's file. Otherwise `localhost` for both protocols, and the container's own name,
/// which programs expect to resolve even without an address. Then the user's entries.
pub(crate) fn hosts(definition: &Definition, host: &HostNames, addresses: &[IpAddr]) -> Result<String, FilesError> {
    let mut text = if definition.namespaces.network == Network::Host {
        with_newline(&host.hosts)
    } else {
        let mut text = String::from(
            "127.0.0.1\tlocalhost\n\
             ::1\tlocalhost ip6-localhost ip6-loopback\n\
             fe00::0\tip6-localnet\n\
             ff00::0\tip6-mcastprefix\n\
             ff02::1\tip6-allnodes\n\
             ff02::2\tip6-allrouters\n",
        );
        if !definition.hostname.is_empty() {
            let local = [IpAddr::from([127, 0, 1, 1])];
            for address in if addresses.is_empty() { &local } else { addresses } {
                text.push_str(&format!("{address}\t{}\n", definition.hostname));
            }
        }
        text
    };
    for entry in &definition.extra_hosts {
        let (name, address) = extra_host(entry).ok_or_else(|| FilesError::ExtraHost { entry: entry.clone() })?;
        text.push_str(&format!("{address}\t{name}\n"));
    }
    Ok(text)
}

/// The user's settings; for those not given, the networks', and then the host's.
///
/// The host's loopback name servers work only in the host's network. Where no others are known, those that
/// systemd-resolved forwards to are taken; without systemd-resolved, none: a public server as a default would disclose
/// the machine's look-ups to strangers.
pub(crate) fn resolv_conf(definition: &Definition, host: &HostNames, networks: &network::Dns) -> String {
    let own = definition.namespaces.network != Network::Host;
    let asked = &definition.dns;
    if !own && *asked == Dns::default() {
        return with_newline(&host.resolv_conf);
    }
    let mut from_host = Resolver::parse(&host.resolv_conf, own);
    if own && from_host.servers.is_empty() {
        from_host.servers = Resolver::parse(&host.upstream_resolv_conf, true).servers;
    }
    let pick = |asked: &[String], given: &[String], found: Vec<String>| {
        let chosen = [asked, given].into_iter().find(|words| !words.is_empty());
        chosen.map_or(found, <[String]>::to_vec)
    };
    let servers = pick(&asked.servers, &networks.nameservers, from_host.servers);
    let mut search = pick(&asked.search, &networks.search, from_host.search);
    // "." asks for an empty list.
    search.retain(|domain| domain != ".");
    let options = pick(&asked.options, &networks.options, from_host.options);
    let mut text = String::new();
    for server in servers {
        text.push_str(&format!("nameserver {server}\n"));
    }
    if !search.is_empty() {
        text.push_str(&format!("search {}\n", search.join(" ")));
    }
    if !options.is_empty() {
        text.push_str(&format!("options {}\n", options.join(" ")));
    }
    text
}

#[derive(Default)]
struct Resolver {
    servers: Vec<String>,
    search: Vec<String>,
    options: Vec<String>,
}

impl Resolver {
    fn parse(text: &str, without_loopback: bool) -> Self {
        let mut resolver = Self::default();
        for line in text.lines() {
            let mut words = line.split_whitespace();
            let rest = |words: std::str::SplitWhitespace<'_>| words.map(str::to_owned).collect::<Vec<_>>();
            match words.next() {
                Some("nameserver") => {
                    let servers = rest(words);
                    let wanted = |server: &String| !(without_loopback && is_loopback(server));
                    resolver.servers.extend(servers.into_iter().take(1).filter(wanted));
                }
                // The last line counts.
                Some("search" | "domain") => resolver.search = rest(words),
                Some("options") => resolver.options.extend(rest(words)),
                _ => {}
            }
        }
        resolver
    }
}

fn is_loopback(server: &str) -> bool {
    // An address with a zone, `fe80::1%eth0`, is not a loopback one.
    server.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// `host:ip`; the address may be of version 6, bare or in brackets.
pub(crate) fn extra_host(entry: &str) -> Option<(&str, IpAddr)> {
    let (name, address) = entry.split_once(':')?;
    let bracketed = address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let not_in_a_name = |character: char| character.is_whitespace() || character.is_control() || character == '#';
    if name.is_empty() || name.contains(not_in_a_name) {
        return None;
    }
    let address = bracketed.map_or_else(|| address.parse().ok(), |inner| inner.parse().ok().map(IpAddr::V6))?;
    Some((name, address))
}

fn with_newline(text: &str) -> String {
    if text.is_empty() || text.ends_with('\n') { text.to_owned() } else { format!("{text}\n") }
}

fn read(path: &'static str) -> Result<String, FilesError> {
    match fs::read(path) {
        Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        Err(source) => Err(FilesError::HostFile { path, source }),
    }
}

#[cfg(test)]
#[path = "files_tests.rs"]
mod tests;
