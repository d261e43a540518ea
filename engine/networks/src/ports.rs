//! Ports of the host that lead to containers: which are taken, and free ones for requests without a number.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::NetworkError;
use super::port::{Protocol, Published};

/// The published ports, by their holders.
#[derive(Debug, Default)]
pub struct Ports {
    taken: Mutex<HashMap<String, Vec<Published>>>,
}

impl Ports {
    /// Takes these ports for `holder`, with free ones in the place of 0, or none of them. A port that a program of the
    /// host listens on is refused where that can be known: a packet would never reach the program again. Blocks: each
    /// is bound to for a moment, during which readers need not wait.
    pub fn take(&self, holder: &str, wanted: &[Published]) -> Result<Vec<Published>, NetworkError> {
        let before = self.reserve(holder, wanted)?;
        let got = self.fill(holder, wanted);
        match &got {
            Ok(got) if !got.is_empty() => self.remember(holder, got),
            Ok(_) | Err(_) => self.remember(holder, &before),
        }
        got
    }

    /// Reserves the numbered ones at once, before they are probed, so that no other holder takes one meanwhile. Returns
    /// the holder's ports before that.
    fn reserve(&self, holder: &str, wanted: &[Published]) -> Result<Vec<Published>, NetworkError> {
        let mut taken = self.lock();
        let given = || wanted.iter().filter(|port| port.host_port != 0);
        for port in given() {
            let clash = |(other, ports): &(&String, &Vec<Published>)| *other != holder && is_in(ports, port);
            if let Some((other, _)) = taken.iter().find(clash) {
                return Err(NetworkError::PortTaken { port: port.listed(), holder: other.clone() });
            }
        }
        let before = taken.get(holder).cloned().unwrap_or_default();
        taken.insert(holder.to_owned(), before.iter().chain(given()).copied().collect());
        Ok(before)
    }

    /// Probes the numbered ports first: a free one must not be one of them.
    fn fill(&self, holder: &str, wanted: &[Published]) -> Result<Vec<Published>, NetworkError> {
        let (given, free): (Vec<Published>, Vec<Published>) = wanted.iter().partition(|port| port.host_port != 0);
        let failed = |port: &Published| {
            let port = port.listed();
            move |source| NetworkError::PortInUse { port, source }
        };
        for port in &given {
            probe(port).map_err(failed(port))?;
        }
        let mut got = given;
        for port in &free {
            let take = |candidate: Published| {
                let mut taken = self.lock();
                let is_free = !taken.values().any(|ports| is_in(ports, &candidate));
                if is_free {
                    taken.entry(holder.to_owned()).or_default().push(candidate);
                }
                is_free
            };
            got.push(any(port, take).map_err(failed(port))?);
        }
        Ok(got)
    }

    /// Sets the ports of `holder` without a probe: they were taken by an earlier daemon, or under another holder's
    /// name.
    pub fn remember(&self, holder: &str, ports: &[Published]) {
        if ports.is_empty() {
            self.lock().remove(holder);
        } else {
            self.lock().insert(holder.to_owned(), ports.to_vec());
        }
    }

    pub fn give_back(&self, holder: &str) {
        self.lock().remove(holder);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Vec<Published>>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_in(ports: &[Published], port: &Published) -> bool {
    ports.iter().any(|other| other.collides(port))
}

/// Binds to it for a moment and returns the port.
fn probe(port: &Published) -> io::Result<u16> {
    let address = (port.host_ip.unwrap_or(Ipv4Addr::UNSPECIFIED.into()), port.host_port);
    match port.protocol {
        Protocol::Tcp => TcpListener::bind(address)?.local_addr(),
        Protocol::Udp => UdpSocket::bind(address)?.local_addr(),
        // Not every kernel has SCTP sockets, and the packets are redirected all the same.
        Protocol::Sctp => return Ok(port.host_port),
    }
    .map(|address| address.port())
}

/// A port that the kernel has free and that `take` takes.
fn any(port: &Published, take: impl Fn(Published) -> bool) -> io::Result<Published> {
    // The kernel's choice of a tcp port will do for sctp too.
    let like =
        Published { protocol: if port.protocol == Protocol::Sctp { Protocol::Tcp } else { port.protocol }, ..*port };
    for _ in 0..100 {
        let candidate = Published { host_port: probe(&like)?, ..*port };
        if take(candidate) {
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
    fn a_refused_holder_takes_no_port() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (ports, number) = (Ports::default(), listener.local_addr().unwrap().port());
        let other = free();
        ports.take("a", &[port(None, other), port(None, number)]).unwrap_err();
        ports.take("b", &[port(None, other)]).unwrap();
        let third = free();
        ports.take("b", &[port(None, third), port(None, number)]).unwrap_err();
        assert!(ports.take("c", &[port(None, other)]).is_err(), "it still has its earlier port");
        ports.take("c", &[port(None, third)]).unwrap();
    }

    #[test]
    fn concurrent_holders_get_different_ports() {
        let ports = Ports::default();
        let take = &|holder: String| ports.take(&holder, &vec![port(None, 0); 40]).unwrap();
        let all: Vec<Published> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|number| scope.spawn(move || take(number.to_string()))).collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        let unique: std::collections::BTreeSet<u16> = all.iter().map(|port| port.host_port).collect();
        assert_eq!((all.len(), unique.len()), (320, 320));
    }
}
