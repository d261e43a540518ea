//! Ports of the host that lead to containers: which are taken, and free ones for those who do not mind.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, TcpListener, UdpSocket};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::NetworkError;

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

/// The ports that are published, by whom they are for.
#[derive(Debug, Default)]
pub struct Ports {
    taken: Mutex<HashMap<String, Vec<Published>>>,
}

impl Ports {
    /// Takes these ports for `holder`, with free ones in the place of 0, or none of them. What programs of the host listen
    /// on is refused where it can be known: a packet would never reach them again.
    pub fn take(&self, holder: &str, wanted: &[Published]) -> Result<Vec<Published>, NetworkError> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let mut got: Vec<Published> = Vec::with_capacity(wanted.len());
        let others = || taken.iter().filter(|(other, _)| *other != holder);
        // Those that are given first: a free one must not be one of them.
        for port in wanted.iter().filter(|port| port.host_port != 0) {
            let clash = others().find(|(_, ports)| ports.iter().any(|other| other.collides(port)));
            if let Some((holder, _)) = clash {
                return Err(NetworkError::PortTaken { port: shown(port), holder: holder.clone() });
            }
            probe(port).map_err(|source| NetworkError::PortInUse { port: shown(port), source })?;
            got.push(*port);
        }
        for port in wanted.iter().filter(|port| port.host_port == 0) {
            let free = |candidate: &Published| {
                !got.iter().chain(others().flat_map(|(_, ports)| ports)).any(|other| other.collides(candidate))
            };
            got.push(any(port, free).map_err(|source| NetworkError::PortInUse { port: shown(port), source })?);
        }
        if !got.is_empty() {
            taken.insert(holder.to_owned(), got.clone());
        }
        Ok(got)
    }

    /// What `holder` has without asking: taken before the daemon started, or by who it was before.
    pub fn remember(&self, holder: &str, ports: &[Published]) {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if ports.is_empty() {
            taken.remove(holder);
        } else {
            taken.insert(holder.to_owned(), ports.to_vec());
        }
    }

    pub fn give_back(&self, holder: &str) {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner).remove(holder);
    }
}

fn shown(port: &Published) -> String {
    format!("{}/{}", port.host_text(), port.protocol.word())
}

/// Binds to it for a moment and tells the port.
fn probe(port: &Published) -> io::Result<u16> {
    let address = (port.host_ip.unwrap_or(Ipv4Addr::UNSPECIFIED.into()), port.host_port);
    match port.protocol {
        Protocol::Tcp => TcpListener::bind(address)?.local_addr(),
        Protocol::Udp => UdpSocket::bind(address)?.local_addr(),
        // Not every kernel has it, and the packets are redirected all the same.
        Protocol::Sctp => return Ok(port.host_port),
    }
    .map(|address| address.port())
}

fn any(port: &Published, free: impl Fn(&Published) -> bool) -> io::Result<Published> {
    // The kernel's choice of a tcp port will do for sctp too.
    let like =
        Published { protocol: if port.protocol == Protocol::Sctp { Protocol::Tcp } else { port.protocol }, ..*port };
    for _ in 0..100 {
        let candidate = Published { host_port: probe(&like)?, ..*port };
        if free(&candidate) {
            return Ok(candidate);
        }
    }
    Err(io::Error::other("no port is free"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(host_ip: Option<&str>, host_port: u16) -> Published {
        let host_ip = host_ip.map(|ip| ip.parse().unwrap());
        Published { host_ip, host_port, container_port: 80, protocol: Protocol::Tcp }
    }

    /// A port that is free now.
    fn free() -> u16 {
        TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
    }

    #[test]
    fn a_port_has_one_holder() {
        let (ports, number) = (Ports::default(), free());
        assert_eq!(ports.take("a", &[port(None, number)]).unwrap(), [port(None, number)]);
        ports.take("a", &[port(None, number)]).unwrap();
        let error = ports.take("b", &[port(Some("127.0.0.1"), number)]).unwrap_err();
        assert!(error.to_string().contains("already published by container a"), "{error}");
        let udp = Published { protocol: Protocol::Udp, ..port(None, number) };
        ports.take("b", &[udp]).unwrap();
        ports.give_back("a");
        ports.take("c", &[port(Some("127.0.0.1"), number)]).unwrap();
    }

    #[test]
    fn a_program_of_the_host_keeps_its_port() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let number = listener.local_addr().unwrap().port();
        let error = Ports::default().take("a", &[port(None, number)]).unwrap_err();
        assert!(error.to_string().contains(&format!("0.0.0.0:{number}/tcp cannot be published")), "{error}");
    }

    #[test]
    fn free_ports_are_found_and_differ() {
        let ports = Ports::default();
        let got = ports.take("a", &[port(None, 0), port(None, 0), port(Some("127.0.0.1"), 0)]).unwrap();
        assert!(got.iter().all(|port| port.host_port != 0));
        assert!(!got[0].collides(&got[1]) && !got[1].collides(&got[2]));
    }

    #[test]
    fn a_mapping_is_told_as_the_specification_and_users_have_it() {
        let it = port(Some("127.0.0.1"), 8080);
        let mapping = json!({"hostPort":8080,"containerPort":80,"protocol":"tcp","hostIP":"127.0.0.1"});
        assert_eq!((it.mapping(), it.to_string()), (mapping, "127.0.0.1:8080->80/tcp".to_owned()));
        assert_eq!(port(Some("::1"), 1).to_string(), "[::1]:1->80/tcp");
        assert_eq!(port(None, 1).to_string(), "0.0.0.0:1->80/tcp");
    }
}
