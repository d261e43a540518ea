//! IPv4 subnets: reading, comparing, and choosing a free one.

use std::fmt;
use std::net::Ipv4Addr;

/// Subnets are chosen from this range, which is not another engine's default.
pub const POOL: &str = "10.187.0.0/16";
const POOL_BASE: [u8; 2] = [10, 187];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subnet {
    base: u32,
    prefix: u8,
}

impl Subnet {
    /// The subnet that an address lies in.
    pub fn around(address: Ipv4Addr, prefix: u8) -> Option<Self> {
        (prefix <= 32).then(|| Self { base: address.to_bits() & mask(prefix), prefix })
    }

    /// `10.1.0.0/16`, for a network with room for containers. An `Err` is the fault in the text.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("subnet `{}` is not an IPv4 address and a prefix, like 10.1.0.0/16", text.escape_default());
        let (address, prefix) = text.split_once('/').ok_or_else(wrong)?;
        let address: Ipv4Addr = address.parse().map_err(|_| wrong())?;
        let prefix: u8 = prefix.parse().map_err(|_| wrong())?;
        let subnet = Self::around(address, prefix).ok_or_else(wrong)?;
        if !(8..=29).contains(&prefix) {
            return Err(format!("subnet {text} has a prefix of {prefix}; 8 to 29 leave room for containers"));
        }
        if subnet.base() != address {
            return Err(format!("subnet {text} is the address of a host; the subnet is {subnet}"));
        }
        let first = subnet.base();
        if first.is_loopback()
            || first.is_multicast()
            || first.is_link_local()
            || first.octets()[0] == 0
            || first >= Ipv4Addr::new(240, 0, 0, 0)
        {
            return Err(format!("subnet {text} cannot be used by containers"));
        }
        Ok(subnet)
    }

    pub fn base(self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.base)
    }

    pub fn prefix(self) -> u8 {
        self.prefix
    }

    /// The usual gateway.
    pub fn first(self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.base + 1)
    }

    pub fn contains(self, address: Ipv4Addr) -> bool {
        address.to_bits() & mask(self.prefix) == self.base
    }

    /// Whether a host may have this address.
    pub fn is_host(self, address: Ipv4Addr) -> bool {
        let broadcast = self.base | !mask(self.prefix);
        self.contains(address) && address.to_bits() != self.base && address.to_bits() != broadcast
    }

    pub fn overlaps(self, other: Self) -> bool {
        let shorter = mask(self.prefix.min(other.prefix));
        self.base & shorter == other.base & shorter
    }

    /// The first /24 of the pool that overlaps with none of these.
    pub fn choose(used: &[Self]) -> Option<Self> {
        let candidates = (0..=255)
            .map(|third| Self { base: Ipv4Addr::new(POOL_BASE[0], POOL_BASE[1], third, 0).to_bits(), prefix: 24 });
        candidates.into_iter().find(|candidate| !used.iter().any(|other| candidate.overlaps(*other)))
    }
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.base(), self.prefix)
    }
}

fn mask(prefix: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subnet(text: &str) -> Subnet {
        Subnet::parse(text).unwrap()
    }

    #[test]
    fn only_subnets_with_room_for_containers_are_taken() {
        assert_eq!(subnet("10.1.0.0/16").to_string(), "10.1.0.0/16");
        for (text, words) in [
            ("10.1.0.0", "like 10.1.0.0/16"),
            ("10.1.0.0/33", "like 10.1.0.0/16"),
            ("fd00::/64", "like 10.1.0.0/16"),
            ("10.1.0.0/-1", "like 10.1.0.0/16"),
            ("10.1.0.0/30", "8 to 29"),
            ("0.0.0.0/0", "8 to 29"),
            ("10.1.2.3/16", "the subnet is 10.1.0.0/16"),
            ("127.0.0.0/8", "cannot be used"),
            ("224.0.0.0/8", "cannot be used"),
            ("255.0.0.0/8", "cannot be used"),
        ] {
            let problem = Subnet::parse(text).unwrap_err();
            assert!(problem.contains(words), "{text}: {problem}");
        }
    }

    #[test]
    fn overlapping_is_mutual() {
        let (large, small, other) = (subnet("10.187.0.0/16"), subnet("10.187.4.0/24"), subnet("10.188.0.0/16"));
        assert!(large.overlaps(small) && small.overlaps(large) && !large.overlaps(other) && !small.overlaps(other));
        assert_eq!(Subnet::choose(&[]).unwrap(), subnet("10.187.0.0/24"));
        assert_eq!(Subnet::choose(&[subnet("10.187.0.0/23")]).unwrap(), subnet("10.187.2.0/24"));
        assert_eq!(Subnet::choose(&[subnet("10.0.0.0/8")]), None);
    }

    #[test]
    fn edges_are_no_hosts() {
        let it = subnet("10.1.0.0/24");
        assert!(it.is_host(it.first()) && it.is_host(Ipv4Addr::new(10, 1, 0, 254)));
        for address in ["10.1.0.0", "10.1.0.255", "10.1.1.1"] {
            assert!(!it.is_host(address.parse().unwrap()), "{address}");
        }
    }
}
