//! Whether a published port can lead anywhere. `portmap` skips a mapping that no address of the container serves, and
//! answers with success: so the engine refuses it.

use std::net::IpAddr;

use serde_json::Value;

use super::port::Published;
use super::result::Attached;
use super::{NetworkConf, NetworkError};

/// The address families that a network gives.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Families {
    v4: bool,
    v6: bool,
}

impl Families {
    fn of(addresses: impl Iterator<Item = IpAddr>) -> Self {
        addresses.fold(Self::default(), |all, ip| Self { v4: all.v4 || ip.is_ipv4(), v6: all.v6 || ip.is_ipv6() })
    }
}

/// Refuses ports that cannot be reached in the network that was to publish them, by the addresses it has given.
pub fn check(ports: &[Published], conf: &NetworkConf, attached: &Attached) -> Result<(), NetworkError> {
    all(ports, conf, Families::of(attached.addresses.iter().map(|address| address.ip)))
}

/// The same before anything is attached, as far as the configuration shows it.
pub fn foresee(ports: &[Published], conf: &NetworkConf) -> Result<(), NetworkError> {
    let subnets = conf.plugins.iter().filter(|plugin| plugin.ipam() == Some("host-local")).flat_map(|plugin| {
        let ipam = &plugin.raw["ipam"];
        let sets = ipam.get("ranges").and_then(Value::as_array).into_iter().flatten();
        sets.filter_map(Value::as_array).flatten().chain([ipam]).filter_map(|range| range.get("subnet")?.as_str())
    });
    let addresses = subnets.filter_map(|subnet| subnet.split('/').next()?.parse().ok());
    match Families::of(addresses) {
        // Another plugin manages the addresses, or the subnets cannot be parsed.
        Families { v4: false, v6: false } => Ok(()),
        families => all(ports, conf, families),
    }
}

fn all(ports: &[Published], conf: &NetworkConf, families: Families) -> Result<(), NetworkError> {
    let by_portmap = conf.plugins.iter().any(|plugin| plugin.kind == "portmap" && plugin.takes("portMappings"));
    ports.iter().try_for_each(|port| {
        let (is_served, family) = match port.host_ip {
            None => (families.v4 || families.v6, ""),
            Some(IpAddr::V4(_)) => (families.v4, "IPv4 "),
            Some(IpAddr::V6(_)) => (families.v6, "IPv6 "),
        };
        if !is_served {
            return Err(NetworkError::Unreachable { port: port.listed(), network: conf.name.clone(), family });
        }
        // The kernel takes no packet to `::1` off the loopback, whatever the rules; to 127.0.0.1 it does.
        if by_portmap && port.host_ip.is_some_and(|ip| ip.is_ipv6() && ip.is_loopback()) {
            return Err(NetworkError::LoopbackV6 { port: port.listed() });
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::port::Protocol;

    fn conf(ipam: &Value, publisher: &str) -> NetworkConf {
        let list = json!({"cniVersion":"0.4.0","name":"net","plugins":[
            {"type":"bridge","ipam":ipam},
            {"type":publisher,"capabilities":{"portMappings":true}},
        ]});
        NetworkConf::of_list(list).unwrap()
    }

    fn attached(addresses: &[&str]) -> Attached {
        let ips: Vec<_> = addresses.iter().map(|address| json!({"address":address})).collect();
        Attached::of(&json!({"ips":ips}), "eth0").unwrap()
    }

    fn port(host_ip: &str) -> [Published; 1] {
        let host_ip = (!host_ip.is_empty()).then(|| host_ip.parse().unwrap());
        [Published { host_ip, host_port: 8080, container_port: 80, protocol: Protocol::Tcp }]
    }

    const V4: &str = "10.7.0.2/24";
    const V6: &str = "fd07::2/64";

    #[test]
    fn a_port_that_no_address_can_serve_is_refused() {
        let conf = conf(&json!({"type":"other"}), "portmap");
        for (host_ip, addresses, refusal) in [
            ("", &[V4][..], None),
            ("", &[V6], None),
            ("127.0.0.1", &[V4], None),
            ("::", &[V4, V6], None),
            ("fd00::1", &[V6], None),
            ("", &[], Some("0.0.0.0:8080/tcp cannot be published: network net gives no address")),
            ("::", &[V4], Some("[::]:8080/tcp cannot be published: network net gives no IPv6 address")),
            ("127.0.0.1", &[V6], Some("127.0.0.1:8080/tcp cannot be published: network net gives no IPv4 address")),
            ("::1", &[V4, V6], Some("[::1]:8080/tcp cannot be published: the plugin `portmap`")),
        ] {
            let outcome = check(&port(host_ip), &conf, &attached(addresses)).err().map(|error| error.to_string());
            let fits = match (&outcome, refusal) {
                (Some(outcome), Some(refusal)) => outcome.contains(refusal),
                (outcome, refusal) => outcome.is_none() && refusal.is_none(),
            };
            assert!(fits, "{host_ip} {addresses:?}: {outcome:?}");
        }
    }

    #[test]
    fn unreachable_ports_are_refused_by_the_configuration_beforehand() {
        let ranges = |subnets: &[&str]| {
            let sets: Vec<_> = subnets.iter().map(|subnet| json!([{"subnet":subnet}])).collect();
            json!({"type":"host-local","ranges":sets})
        };
        for (ipam, host_ip, is_refused) in [
            (ranges(&["10.7.0.0/24"]), "::1", true),
            (ranges(&["10.7.0.0/24"]), "127.0.0.1", false),
            (ranges(&["10.7.0.0/24", "fd07::/64"]), "fd00::1", false),
            (json!({"type":"host-local","subnet":"10.7.0.0/24"}), "fd00::1", true),
            (json!({"type":"static"}), "fd00::1", false),
            (json!({}), "fd00::1", false),
        ] {
            assert_eq!(foresee(&port(host_ip), &conf(&ipam, "portmap")).is_err(), is_refused, "{ipam} {host_ip}");
        }
        let both = ranges(&["10.7.0.0/24", "fd07::/64"]);
        assert!(foresee(&port("::1"), &conf(&both, "portmap")).is_err());
        assert!(foresee(&port("::1"), &conf(&both, "another")).is_ok(), "it may have a program that listens");
    }
}
