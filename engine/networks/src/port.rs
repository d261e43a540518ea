//! A port of the host that leads to one of a container.

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// A port of the host that leads to one of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Published {
    /// `None` is every address.
    #[serde(default)]
    pub host_ip: Option<IpAddr>,
    /// 0 is any that is free.
    pub host_port: u16,
    pub container_port: u16,
    pub protocol: Protocol,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Protocol {
    Tcp,
    Udp,
    Sctp,
}

impl Protocol {
    pub fn word(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        [Self::Tcp, Self::Udp, Self::Sctp].into_iter().find(|protocol| protocol.word() == text)
    }
}

impl Published {
    /// Whether both would be reached by the same packets.
    pub fn collides(&self, other: &Self) -> bool {
        let same_address = match (self.host_ip, other.host_ip) {
            (Some(one), Some(other)) if one.is_unspecified() || other.is_unspecified() => {
                one.is_ipv4() == other.is_ipv4()
            }
            (Some(one), Some(other)) => one == other,
            (None, _) | (_, None) => true,
        };
        self.protocol == other.protocol && self.host_port == other.host_port && same_address
    }

    /// An entry of the argument `portMappings`.
    pub fn mapping(&self) -> Value {
        let mut mapping = json!({
            "hostPort": self.host_port,
            "containerPort": self.container_port,
            "protocol": self.protocol.word(),
        });
        if let Some(ip) = self.host_ip {
            mapping["hostIP"] = ip.to_string().into();
        }
        mapping
    }

    /// `0.0.0.0:8080/tcp`
    pub fn listed(&self) -> String {
        format!("{}/{}", self.host_text(), self.protocol.word())
    }

    pub fn host_text(&self) -> String {
        match self.host_ip {
            Some(IpAddr::V6(ip)) => format!("[{ip}]:{}", self.host_port),
            Some(IpAddr::V4(ip)) => format!("{ip}:{}", self.host_port),
            None => format!("0.0.0.0:{}", self.host_port),
        }
    }
}

/// `0.0.0.0:8080->80/tcp`
impl fmt::Display for Published {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}->{}/{}", self.host_text(), self.container_port, self.protocol.word())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(host_ip: Option<&str>, host_port: u16) -> Published {
        let host_ip = host_ip.map(|ip| ip.parse().unwrap());
        Published { host_ip, host_port, container_port: 80, protocol: Protocol::Tcp }
    }

    #[test]
    fn a_mapping_has_the_forms_of_the_specification_and_of_users() {
        let it = port(Some("127.0.0.1"), 8080);
        let mapping = json!({"hostPort":8080,"containerPort":80,"protocol":"tcp","hostIP":"127.0.0.1"});
        assert_eq!((it.mapping(), it.to_string()), (mapping, "127.0.0.1:8080->80/tcp".to_owned()));
        assert_eq!(port(Some("::1"), 1).to_string(), "[::1]:1->80/tcp");
        assert_eq!(port(None, 1).to_string(), "0.0.0.0:1->80/tcp");
    }

    #[test]
    fn ports_that_the_same_packets_reach_collide() {
        for (one, other, collide) in [
            (None, Some("::1"), true),
            (Some("127.0.0.1"), Some("127.0.0.1"), true),
            (Some("127.0.0.1"), Some("127.0.0.2"), false),
            (Some("::"), Some("::1"), true),
            (Some("::"), Some("127.0.0.1"), false),
        ] {
            let (one, other) = (port(one, 1), port(other, 1));
            assert_eq!((one.collides(&other), other.collides(&one)), (collide, collide), "{one} {other}");
        }
    }
}
