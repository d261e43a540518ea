//! The network of a container that is being created, and the ports that it publishes.

use std::net::{IpAddr, Ipv4Addr};

use super::{ContainerSpec, PortSpec};
use crate::containers::ContainerError;
use crate::containers::tasks::blocking;
use crate::definition::{Named, Network};
use crate::domain::container::Attachment;
use crate::engine::Engine;
use crate::network::conf::Confs;
use crate::network::port::{Protocol, Published};
use crate::network::{NetworkError, bridge, reach};

type Checked<T> = Result<T, ContainerError>;

/// Ports of one container. Each is one or several rules of the firewall.
const PORT_LIMIT: usize = 1024;

/// The networks that a mode names; none for the modes that are not names of networks.
pub(super) fn names(mode: &str) -> Vec<String> {
    let other = matches!(mode, "" | "none" | "host") || mode.starts_with("container:");
    if other { vec![] } else { mode.split(',').map(str::to_owned).collect() }
}

/// The configured networks; nothing is read for a container that needs none.
pub(super) async fn confs_for(engine: &Engine, names: &[String]) -> Checked<Confs> {
    if names.is_empty() {
        return Ok(Confs::default());
    }
    let dir = engine.networks.settings.conf_dir.clone();
    blocking(move || Ok(Confs::read(&dir))).await
}

/// The requested network. `joined` looks up a container's id.
pub(super) fn network(
    spec: &ContainerSpec,
    exposed: &[String],
    confs: &Confs,
    joined: impl Fn(&str) -> Checked<String>,
) -> Checked<Network> {
    let names = names(&spec.network);
    if names.is_empty() {
        return without_network(spec, joined);
    }
    for (index, name) in names.iter().enumerate() {
        if names[..index].contains(name) {
            return Err(ContainerError::invalid(format!("network {name} is given twice")));
        }
        if names.len() > 1 && (matches!(name.as_str(), "none" | "host") || name.starts_with("container:")) {
            return Err(ContainerError::invalid(format!("conflicting options: network `{name}` and other networks")));
        }
        if name.len() > Attachment::NAME_LIMIT {
            let limit = Attachment::NAME_LIMIT;
            return Err(ContainerError::invalid(format!("network `{name}` has a name of more than {limit} bytes")));
        }
        bridge::find(confs, name)?;
    }
    if names.len() > Attachment::LIMIT {
        let limit = Attachment::LIMIT;
        return Err(ContainerError::invalid(format!(
            "a container can be in {limit} networks at most, not {}",
            names.len()
        )));
    }
    let ports = ports(spec, exposed)?;
    if !ports.is_empty() {
        let found = names.iter().filter_map(|name| confs.by_name.get(name));
        // The first network that can publish ports publishes them all.
        let publishing = found.map(|found| &found.conf).find(|conf| conf.takes("portMappings"));
        let publishing = publishing.ok_or_else(|| NetworkError::NoPorts { network: names.join(", ") })?;
        reach::foresee(&ports, publishing)?;
    }
    Ok(Network::Named(Named { ip: ip(&spec.ip, &names)?, networks: names, ports }))
}

fn without_network(spec: &ContainerSpec, joined: impl Fn(&str) -> Checked<String>) -> Checked<Network> {
    if !spec.ports.is_empty() || spec.publish_all {
        return Err(ContainerError::invalid(match spec.network.as_str() {
            "host" => "conflicting options: publishing ports and the host's network".to_owned(),
            "" | "none" => "conflicting options: publishing ports needs a network, given with --net NAME".to_owned(),
            other => format!("conflicting options: publishing ports and the network of {other}"),
        }));
    }
    if !spec.ip.is_empty() {
        return Err(ContainerError::invalid("conflicting options: an address needs a network, given with --net NAME"));
    }
    match spec.network.as_str() {
        // A container without a network gets an empty one: it is never silently on the host's.
        "" | "none" => Ok(Network::None),
        "host" => Ok(Network::Host),
        other => Ok(Network::Container(joined(other.strip_prefix("container:").unwrap_or(other))?)),
    }
}

fn ip(text: &str, names: &[String]) -> Checked<Option<IpAddr>> {
    if text.is_empty() {
        return Ok(None);
    }
    if names.len() > 1 {
        return Err(ContainerError::invalid("conflicting options: an address and several networks"));
    }
    let ip =
        text.parse().map_err(|_| ContainerError::invalid(format!("{} is not an ip address", text.escape_default())))?;
    Ok(Some(ip))
}

/// The given ports, and with `publish_all` the exposed ones that are not given.
fn ports(spec: &ContainerSpec, exposed: &[String]) -> Checked<Vec<Published>> {
    let mut ports: Vec<Published> = Vec::new();
    let limited = |ports: &[Published]| match ports.len() {
        0..=PORT_LIMIT => Ok(()),
        _ => Err(ContainerError::invalid(format!("a container can publish {PORT_LIMIT} ports at most"))),
    };
    for given in &spec.ports {
        let port = published(given)?;
        if port.host_port != 0 && ports.iter().any(|other| other.collides(&port)) {
            return Err(ContainerError::invalid(format!("host port {} is published twice", port.host_text())));
        }
        ports.push(port);
        limited(&ports)?;
    }
    if spec.publish_all {
        for text in exposed {
            let (range, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            let (Ok(first), Ok(last)) = (first.parse::<u16>(), last.parse::<u16>()) else { continue };
            let protocol = Protocol::parse(protocol).unwrap_or(Protocol::Tcp);
            for container_port in first..=last {
                let given = |port: &Published| port.container_port == container_port && port.protocol == protocol;
                if !ports.iter().any(given) {
                    ports.push(Published { host_ip: None, host_port: 0, container_port, protocol });
                    limited(&ports)?;
                }
            }
        }
    }
    Ok(ports)
}

fn published(given: &PortSpec) -> Checked<Published> {
    let wrong =
        |what: &str, value: &dyn std::fmt::Display| ContainerError::invalid(format!("{what} `{value}` is not valid"));
    let host_ip = match given.host_ip.as_str() {
        "" => None,
        text => Some(text.parse::<IpAddr>().map_err(|_| wrong("host address", &text.escape_default()))?),
    };
    // An IPv4 address may be written as one of IPv6.
    let host_ip = host_ip.map(|ip| ip.to_canonical()).filter(|ip| *ip != Ipv4Addr::UNSPECIFIED);
    let protocol = match given.protocol.to_ascii_lowercase().as_str() {
        "" => Protocol::Tcp,
        text => Protocol::parse(text).ok_or_else(|| wrong("protocol", &text.escape_default()))?,
    };
    let host_port = u16::try_from(given.host_port).map_err(|_| wrong("host port", &given.host_port))?;
    let container_port = u16::try_from(given.container_port).ok().filter(|port| *port != 0);
    let container_port = container_port.ok_or_else(|| wrong("container port", &given.container_port))?;
    Ok(Published { host_ip, host_port, container_port, protocol })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::network::NetworkConf;
    use crate::network::conf::Found;

    fn confs() -> Confs {
        let mut confs = Confs::default();
        for (name, ports) in [("a", true), ("b", false), ("c", false), ("d", false)] {
            let plugin = json!({"type":"bridge","capabilities":{"portMappings":ports}});
            let conf = NetworkConf::of_list(json!({"cniVersion":"0.4.0","name":name,"plugins":[plugin]})).unwrap();
            confs.by_name.insert(name.to_owned(), Found { path: "/x".into(), conf });
        }
        confs
    }

    fn checked(spec: &ContainerSpec, exposed: &[&str]) -> Result<Network, String> {
        let exposed: Vec<_> = exposed.iter().map(|text| (*text).to_owned()).collect();
        network(spec, &exposed, &confs(), |reference| Ok(reference.to_owned())).map_err(|error| error.to_string())
    }

    fn spec(network: &str) -> ContainerSpec {
        ContainerSpec { network: network.to_owned(), ..ContainerSpec::default() }
    }

    fn mapping(host_port: u32, container_port: u32) -> PortSpec {
        PortSpec { host_port, container_port, ..PortSpec::default() }
    }

    #[test]
    fn modes_and_names() {
        for (mode, expected) in [
            ("", Network::None),
            ("none", Network::None),
            ("host", Network::Host),
            ("container:x", Network::Container("x".to_owned())),
            ("a,b", Network::Named(Named { networks: vec!["a".to_owned(), "b".to_owned()], ip: None, ports: vec![] })),
        ] {
            assert_eq!(checked(&spec(mode), &[]).unwrap(), expected);
        }
        for (mode, words) in [
            ("z", "No such network: z; there are a, b, c, d"),
            ("a,a", "network a is given twice"),
            ("a,", "No such network: "),
            ("a,host", "conflicting options"),
            ("a,b,c,d", "3 networks at most, not 4"),
        ] {
            let problem = checked(&spec(mode), &[]).unwrap_err();
            assert!(problem.contains(words), "{mode}: {problem}");
        }
    }

    #[test]
    fn ports_and_addresses_need_a_suitable_network() {
        let with = |mode: &str, ports: Vec<PortSpec>, ip: &str| {
            checked(&ContainerSpec { ports, ip: ip.to_owned(), ..spec(mode) }, &[])
        };
        for (mode, ip, words) in [
            ("", "", "needs a network, given with --net NAME"),
            ("host", "", "publishing ports and the host's network"),
            ("container:x", "", "the network of container:x"),
            ("b", "", "no plugin that publishes ports"),
            ("a,b", "10.0.0.1", "an address and several networks"),
            ("a", "x", "x is not an ip address"),
        ] {
            let problem = with(mode, vec![mapping(1, 1)], ip).unwrap_err();
            assert!(problem.contains(words), "{mode}: {problem}");
        }
        assert!(with("none", vec![], "10.0.0.1").unwrap_err().contains("an address needs a network"));
        assert!(with("b,a", vec![mapping(1, 1)], "").is_ok());
        for ports in [
            vec![mapping(80, 0)],
            vec![mapping(80, 65536)],
            vec![mapping(65536, 80)],
            vec![PortSpec { protocol: "icmp".to_owned(), ..mapping(1, 1) }],
            vec![PortSpec { host_ip: "x".to_owned(), ..mapping(1, 1) }],
            vec![mapping(1, 1), PortSpec { host_ip: "127.0.0.1".to_owned(), ..mapping(1, 2) }],
            vec![mapping(0, 1); 1025],
        ] {
            assert!(with("a", ports, "").is_err());
        }
    }

    #[test]
    fn publish_all_publishes_each_exposed_port_once() {
        let all = ContainerSpec { publish_all: true, ports: vec![mapping(8080, 80)], ..spec("a") };
        let Ok(Network::Named(named)) = checked(&all, &["80/tcp", "80/udp", "90-91/tcp"]) else { panic!() };
        let texts: Vec<_> = named.ports.iter().map(ToString::to_string).collect();
        assert_eq!(texts, ["0.0.0.0:8080->80/tcp", "0.0.0.0:0->80/udp", "0.0.0.0:0->90/tcp", "0.0.0.0:0->91/tcp"]);
        assert!(checked(&all, &["1-65535/tcp"]).is_err());
    }
}
