//! The kernel's tables of interfaces, addresses and routes, of the network namespace that the calling thread is in. A few
//! messages of rtnetlink are put together and read by hand: it is less than a library would bring.

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, send, setsockopt, socket,
    sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};

use super::subnet::Subnet;

const HEADER: usize = 16;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const RTM_NEWLINK: u16 = 16;
const RTM_DELLINK: u16 = 17;
const RTM_GETLINK: u16 = 18;
const RTM_GETADDR: u16 = 22;
const RTM_GETROUTE: u16 = 26;
const NLM_F_REQUEST: u16 = 0x1;
const NLM_F_ACK: u16 = 0x4;
const NLM_F_DUMP: u16 = 0x300;
const IFLA_IFNAME: u16 = 3;
const IFLA_MASTER: u16 = 10;
const IFA_LOCAL: u16 = 2;
const IFA_ADDRESS: u16 = 1;
const RTA_DST: u16 = 1;
const AF_INET: u8 = 2;
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
        Err(error) if error.raw_os_error() == Some(nix::errno::Errno::ENODEV as i32) => Ok(()),
        done => done,
    }
}

fn link(index: u32) -> [u8; 16] {
    let mut body = [0; 16];
    body[4..8].copy_from_slice(&index.to_ne_bytes());
    body
}

/// A message that is answered with an acknowledgement.
fn request(kind: u16, body: &[u8]) -> io::Result<()> {
    let socket = open()?;
    transmit(&socket, kind, NLM_F_REQUEST | NLM_F_ACK, body)?;
    let mut buffer = vec![0; 16 << 10];
    let count = recv(socket.as_raw_fd(), &mut buffer, MsgFlags::empty())?;
    for (kind, body) in messages(&buffer[..count]) {
        if kind == NLMSG_ERROR {
            return acknowledged(body);
        }
    }
    Err(malformed())
}

/// A message that is answered with many; `each` answers `None` for one that it cannot read.
fn dump(kind: u16, body: &[u8], mut each: impl FnMut(&[u8]) -> Option<()>) -> io::Result<()> {
    let socket = open()?;
    transmit(&socket, kind, NLM_F_REQUEST | NLM_F_DUMP, body)?;
    let mut buffer = vec![0; 64 << 10];
    loop {
        let count = recv(socket.as_raw_fd(), &mut buffer, MsgFlags::empty())?;
        if count == 0 {
            return Err(malformed());
        }
        for (kind, body) in messages(&buffer[..count]) {
            match kind {
                NLMSG_DONE => return Ok(()),
                NLMSG_ERROR => return acknowledged(body),
                _ => each(body).ok_or_else(malformed)?,
            }
        }
    }
}

fn open() -> io::Result<OwnedFd> {
    let socket = socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::NetlinkRoute)?;
    bind(socket.as_raw_fd(), &NetlinkAddr::new(0, 0))?;
    setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::seconds(5))?;
    Ok(socket)
}

fn transmit(socket: &OwnedFd, kind: u16, flags: u16, body: &[u8]) -> io::Result<()> {
    let length = u32::try_from(HEADER + body.len()).map_err(io::Error::other)?;
    let mut message = Vec::with_capacity(HEADER + body.len());
    message.extend(length.to_ne_bytes());
    message.extend(kind.to_ne_bytes());
    message.extend(flags.to_ne_bytes());
    message.extend(1_u32.to_ne_bytes());
    message.extend(0_u32.to_ne_bytes());
    message.extend(body);
    send(socket.as_raw_fd(), &message, MsgFlags::empty())?;
    Ok(())
}

/// Kind and body of each message.
fn messages(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = u32_at(bytes, 0)? as usize;
        let kind = u16_at(bytes, 4)?;
        let body = bytes.get(HEADER..length)?;
        bytes = bytes.get(aligned(length)..).unwrap_or_default();
        Some((kind, body))
    })
}

/// Kind and value of each attribute.
fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(u16_at(bytes, 0)?);
        let kind = u16_at(bytes, 2)?;
        let value = bytes.get(4..length)?;
        bytes = bytes.get(aligned(length)..).unwrap_or_default();
        // The upper two bits are flags.
        Some((kind & 0x3fff, value))
    })
}

fn acknowledged(body: &[u8]) -> io::Result<()> {
    match u32_at(body, 0).ok_or_else(malformed)?.cast_signed() {
        0 => Ok(()),
        errno => Err(io::Error::from_raw_os_error(-errno)),
    }
}

fn aligned(length: usize) -> usize {
    length.next_multiple_of(4)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.try_into().ok().map(u32::from_ne_bytes)
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at + 2)?.try_into().ok().map(u16::from_ne_bytes)
}

fn malformed() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the kernel's answer cannot be read")
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
    fn what_is_cut_off_ends_the_reading() {
        assert_eq!(messages(&[1, 2, 3]).count(), 0);
        assert_eq!(messages(&[0; 16]).count(), 0);
        assert_eq!(attributes(&[200, 0, 3, 0, 1]).count(), 0);
        assert_eq!(attributes(&[8, 0, 3, 0, 1, 2, 3, 4]).collect::<Vec<_>>(), [(3, [1, 2, 3, 4].as_slice())]);
    }

    #[test]
    fn removing_what_is_not_there_is_fine() {
        delete(i32::MAX as u32).unwrap();
    }
}
