//! The kernel's tables of interfaces, addresses and routes, of the network namespace that the calling thread is in. A
//! few messages of rtnetlink are put together and read by hand: it is less than a library would bring.

mod wire;

use std::io;
use std::net::{IpAddr, Ipv4Addr};

use nix::errno::Errno;

use super::subnet::Subnet;
use wire::{CREATE, ask, attributes, dump, malformed, put, request, terminated, u32_at};

const RTM_NEWLINK: u16 = 16;
const RTM_DELLINK: u16 = 17;
const RTM_GETLINK: u16 = 18;
const RTM_NEWADDR: u16 = 20;
const RTM_GETADDR: u16 = 22;
const RTM_GETROUTE: u16 = 26;
const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MASTER: u16 = 10;
const IFLA_LINKINFO: u16 = 18;
const IFLA_INFO_KIND: u16 = 1;
/// Bytes of an interface's name.
const NAME_LIMIT: usize = 15;
const IFA_LOCAL: u16 = 2;
const IFA_ADDRESS: u16 = 1;
const RTA_DST: u16 = 1;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
const RT_TABLE_LOCAL: u8 = 255;

/// An interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    pub index: u32,
    pub name: String,
    /// The bridge that it is a port of.
    pub master: Option<u32>,
}

/// The namespace's interfaces.
pub fn links() -> io::Result<Vec<Link>> {
    let mut links = Vec::new();
    // struct ifinfomsg
    dump(RTM_GETLINK, &[0; 16], |body| {
        let index = u32_at(body, 4)?;
        let (mut name, mut master) = (String::new(), None);
        for (kind, value) in attributes(body.get(16..)?) {
            match kind {
                IFLA_IFNAME => name = String::from_utf8_lossy(value.strip_suffix(&[0]).unwrap_or(value)).into_owned(),
                IFLA_MASTER => master = u32_at(value, 0),
                _ => {}
            }
        }
        links.push(Link { index, name, master });
        Some(())
    })?;
    Ok(links)
}

pub type Mac = [u8; 6];

/// A bridge of the kernel's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bridge {
    pub index: u32,
    pub mac: Mac,
}

/// The bridge of this name; `None` when there is no interface of this name, or it is something else.
pub fn bridge(name: &str) -> io::Result<Option<Bridge>> {
    if name.is_empty() || name.len() > NAME_LIMIT {
        return Ok(None);
    }
    // struct ifinfomsg
    let mut body = vec![0; 16];
    put(&mut body, IFLA_IFNAME, &terminated(name));
    let answer = match ask(RTM_GETLINK, 0, &body) {
        Err(error) if error.raw_os_error() == Some(Errno::ENODEV as i32) => return Ok(None),
        answer => answer?,
    };
    let index = u32_at(&answer, 4).ok_or_else(malformed)?;
    let (mut mac, mut kind) = (None, None);
    for (attribute, value) in attributes(answer.get(16..).unwrap_or_default()) {
        match attribute {
            IFLA_ADDRESS => mac = value.try_into().ok(),
            IFLA_LINKINFO => kind = attributes(value).find(|(kind, _)| *kind == IFLA_INFO_KIND).map(|(_, kind)| kind),
            _ => {}
        }
    }
    let is_bridge = kind.is_some_and(|kind| kind.strip_suffix(&[0]).unwrap_or(kind) == b"bridge");
    Ok(mac.filter(|_| is_bridge).map(|mac| Bridge { index, mac }))
}

/// Sets an interface's address, which from then on does not change by itself.
pub fn set_mac(index: u32, mac: Mac) -> io::Result<()> {
    let mut body = link(index).to_vec();
    put(&mut body, IFLA_ADDRESS, &mac);
    request(RTM_NEWLINK, &body)
}

pub fn has_link(name: &str) -> io::Result<bool> {
    Ok(links()?.iter().any(|link| link.name == name))
}

/// Makes an interface that leads nowhere, with those of the addresses that it can have.
pub fn add_blind(name: &str, addresses: &[(IpAddr, u8)]) -> io::Result<()> {
    let mut body = link(0).to_vec();
    put(&mut body, IFLA_IFNAME, &terminated(name));
    let mut info = Vec::new();
    put(&mut info, IFLA_INFO_KIND, b"veth");
    put(&mut body, IFLA_LINKINFO, &info);
    ask(RTM_NEWLINK, CREATE, &body)?;
    let links = links()?;
    let made = links.iter().find(|link| link.name == name).ok_or_else(malformed)?;
    for (address, prefix) in addresses {
        let (family, octets) = match address {
            IpAddr::V4(ip) => (AF_INET, ip.octets().to_vec()),
            IpAddr::V6(ip) => (AF_INET6, ip.octets().to_vec()),
        };
        // struct ifaddrmsg
        let mut body = vec![family, *prefix, 0, 0];
        body.extend(made.index.to_ne_bytes());
        put(&mut body, IFA_LOCAL, &octets);
        put(&mut body, IFA_ADDRESS, &octets);
        match ask(RTM_NEWADDR, CREATE, &body) {
            // Where IPv6 is turned off, nothing has such an address.
            Err(_) if address.is_ipv6() => {}
            added => drop(added?),
        }
    }
    Ok(())
}

/// A subnet that something of the host is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InUse {
    pub subnet: Subnet,
    /// Otherwise, an address.
    pub route: bool,
}

/// The IPv4 subnets that addresses and routes of this namespace lie in. The default route is none.
pub fn subnets_in_use() -> io::Result<Vec<InUse>> {
    let mut found = Vec::new();
    let mut put = |address: &[u8], prefix: u8, route: bool| {
        let octets: Option<[u8; 4]> = address.try_into().ok();
        let subnet = octets.and_then(|octets| Subnet::around(Ipv4Addr::from(octets), prefix));
        let subnet = subnet.filter(|subnet| subnet.prefix() > 0 && !subnet.base().is_loopback());
        found.extend(subnet.map(|subnet| InUse { subnet, route }));
    };
    let mut family = [0; 8];
    family[0] = AF_INET;
    // struct ifaddrmsg
    dump(RTM_GETADDR, &family, |body| {
        let prefix = *body.get(1)?;
        let attributes: Vec<_> = attributes(body.get(8..)?).collect();
        let of = |wanted| attributes.iter().find(|(kind, _)| *kind == wanted);
        put(of(IFA_LOCAL).or_else(|| of(IFA_ADDRESS))?.1, prefix, false);
        Some(())
    })?;
    // struct rtmsg
    let mut request = [0; 12];
    request[0] = AF_INET;
    dump(RTM_GETROUTE, &request, |body| {
        let (prefix, table) = (*body.get(1)?, *body.get(4)?);
        let destination = attributes(body.get(12..)?).find(|(kind, _)| *kind == RTA_DST);
        if let Some((_, address)) = destination.filter(|_| table != RT_TABLE_LOCAL) {
            put(address, prefix, true);
        }
        Some(())
    })?;
    Ok(found)
}

/// Brings an interface up.
pub fn set_up(index: u32) -> io::Result<()> {
    let mut body = link(index);
    let up = 1_u32.to_ne_bytes();
    body[8..12].copy_from_slice(&up);
    body[12..16].copy_from_slice(&up);
    request(RTM_NEWLINK, &body)
}

/// Removes an interface. One that is gone is fine.
pub fn delete(index: u32) -> io::Result<()> {
    match request(RTM_DELLINK, &link(index)) {
        Err(error) if error.raw_os_error() == Some(Errno::ENODEV as i32) => Ok(()),
        done => done,
    }
}

fn link(index: u32) -> [u8; 16] {
    let mut body = [0; 16];
    body[4..8].copy_from_slice(&index.to_ne_bytes());
    body
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_is_among_the_interfaces() {
        let links = links().unwrap();
        assert!(links.iter().any(|link| link.name == "lo" && link.index == 1 && link.master.is_none()), "{links:?}");
        assert!(subnets_in_use().unwrap().iter().all(|used| !used.subnet.base().is_loopback()));
    }

    #[test]
    fn removing_a_missing_interface_is_fine() {
        delete(i32::MAX as u32).unwrap();
    }

    /// In a namespace of its own, which goes with its thread.
    fn alone<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
        let thread = std::thread::spawn(move || {
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
            work()
        });
        thread.join().unwrap()
    }

    fn ip(words: &[&str]) -> String {
        let output = std::process::Command::new("ip").args(words).output().unwrap();
        assert!(output.status.success(), "{words:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    #[test]
    fn a_bridge_is_recognised_and_keeps_the_address_that_is_set() {
        alone(|| {
            assert_eq!(bridge("br0").unwrap(), None);
            assert_eq!(bridge("lo").unwrap(), None);
            assert_eq!(bridge("").unwrap(), None);
            assert_eq!(bridge("a-name-that-no-interface-can-have").unwrap(), None);
            ip(&["link", "add", "br0", "type", "bridge"]);
            ip(&["link", "add", "port", "address", "02:00:00:00:00:01", "type", "veth"]);
            ip(&["link", "set", "port", "master", "br0"]);
            let found = bridge("br0").unwrap().unwrap();
            assert_eq!(found.mac, [2, 0, 0, 0, 0, 1], "the kernel gives it that of its port");
            set_mac(found.index, found.mac).unwrap();
            ip(&["link", "del", "port"]);
            assert_eq!(bridge("br0").unwrap(), Some(found));
        });
    }

    #[test]
    fn an_interface_that_leads_nowhere_has_its_addresses() {
        alone(|| {
            let addresses = [("10.7.0.2".parse().unwrap(), 24), ("fd07::2".parse().unwrap(), 64)];
            add_blind("eth0", &addresses).unwrap();
            let shown = ip(&["-o", "addr", "show", "eth0"]);
            assert!(shown.contains("inet 10.7.0.2/24") && shown.contains("inet6 fd07::2/64"), "{shown}");
            assert!(add_blind("eth0", &[]).is_err());
        });
    }
}
