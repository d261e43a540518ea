//! A container's networks in `inspect`, with docker's keys.

use serde_json::{Map, Value, json};

use super::inspect::network_mode;
use crate::definition::{Definition, Network};
use crate::engine::Engine;
use crate::network::port::Published;
use crate::network::record::{Attachment, Record};

/// `NetworkSettings`: addresses while it is attached, empty otherwise.
pub(super) fn settings(engine: &Engine, id: &str, definition: &Definition) -> Value {
    let record = engine.networks.attached(id);
    let mode = network_mode(&definition.namespaces.network);
    let mut networks: Map<String, Value> = Map::new();
    // Also networks to which it is not attached now.
    for name in named(&definition.namespaces.network) {
        networks.insert(name.clone(), endpoint(None));
    }
    for attachment in record.iter().flat_map(|record| &record.networks) {
        networks.insert(attachment.network.clone(), endpoint(Some(attachment)));
    }
    let first = record.as_ref().and_then(|record| record.networks.first());
    let mut settings = endpoint(first);
    settings["Networks"] = networks.into();
    settings["NetworkMode"] = mode.into();
    settings["SandboxKey"] = record.as_ref().map(|record| record.netns.to_string_lossy()).unwrap_or_default().into();
    settings["Ports"] = ports(record.as_deref(), &definition.exposed);
    settings
}

/// `HostConfig.PortBindings`: the requested ports, with an empty host port for any.
pub(super) fn bindings(network: &Network) -> Value {
    match network {
        Network::Named(named) => by_container_port(&named.ports),
        Network::None | Network::Host | Network::Container(_) => json!({}),
    }
}

fn named(network: &Network) -> &[String] {
    match network {
        Network::Named(named) => &named.networks,
        Network::None | Network::Host | Network::Container(_) => &[],
    }
}

fn endpoint(attachment: Option<&Attachment>) -> Value {
    let attached = attachment.map(Attachment::attached).unwrap_or_default();
    let of_version = |v4: bool| attached.addresses.iter().find(|address| address.ip.is_ipv4() == v4);
    let (v4, v6) = (of_version(true), of_version(false));
    let text = |text: Option<String>| text.unwrap_or_default();
    json!({
        "Interface": attachment.map(|attachment| attachment.ifname.as_str()).unwrap_or_default(),
        "IPAddress": text(v4.map(|address| address.ip.to_string())),
        "IPPrefixLen": v4.map_or(0, |address| address.prefix),
        "Gateway": text(v4.and_then(|address| address.gateway).map(|gateway| gateway.to_string())),
        "GlobalIPv6Address": text(v6.map(|address| address.ip.to_string())),
        "GlobalIPv6PrefixLen": v6.map_or(0, |address| address.prefix),
        "IPv6Gateway": text(v6.and_then(|address| address.gateway).map(|gateway| gateway.to_string())),
        "MacAddress": text(attached.mac),
    })
}

/// Published ports with their host addresses, and exposed ones with `null`.
fn ports(record: Option<&Record>, exposed: &[String]) -> Value {
    let mut ports = by_container_port(record.map(|record| record.ports.as_slice()).unwrap_or_default());
    if let Value::Object(ports) = &mut ports {
        for port in exposed.iter().filter(|port| !port.contains('-')) {
            ports.entry(port.clone()).or_insert(Value::Null);
        }
    }
    ports
}

fn by_container_port(published: &[Published]) -> Value {
    let mut ports: Map<String, Value> = Map::new();
    for port in published {
        let key = format!("{}/{}", port.container_port, port.protocol.word());
        let host_port = if port.host_port == 0 { String::new() } else { port.host_port.to_string() };
        let host_ip = port.host_ip.map_or_else(|| "0.0.0.0".to_owned(), |ip| ip.to_string());
        let binding = json!({ "HostIp": host_ip, "HostPort": host_port });
        if let Value::Array(bindings) = ports.entry(key).or_insert_with(|| json!([])) {
            bindings.push(binding);
        }
    }
    ports.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::port::Protocol;

    #[test]
    fn ports_are_listed_by_the_containers_port() {
        let port =
            |host_port, container_port| Published { host_ip: None, host_port, container_port, protocol: Protocol::Tcp };
        let mut record = Record::new("x".into(), "x".into(), "/n".into(), vec![port(1, 80), port(2, 80), port(3, 90)]);
        record.networks.clear();
        assert_eq!(
            ports(Some(&record), &["80/tcp".to_owned(), "7/udp".to_owned(), "1-9/tcp".to_owned()]),
            json!({
                "80/tcp": [{"HostIp":"0.0.0.0","HostPort":"1"},{"HostIp":"0.0.0.0","HostPort":"2"}],
                "90/tcp": [{"HostIp":"0.0.0.0","HostPort":"3"}],
                "7/udp": null,
            })
        );
    }

    #[test]
    fn without_a_network_there_are_no_addresses() {
        let nothing = endpoint(None);
        assert_eq!((&nothing["IPAddress"], &nothing["IPPrefixLen"]), (&json!(""), &json!(0)));
    }
}
