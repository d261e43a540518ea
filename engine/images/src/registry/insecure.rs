//! Which registries may be talked to without verified TLS.

use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;

use reqwest::Url;

use super::settings::{InvalidSetting, Settings};
use crate::reference::check_host;

/// An entry of `insecure-registries`: `host`, `host:port`, or a range of addresses such as `10.1.0.0/16`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InsecureRule {
    Host { name: String, port: Option<u16> },
    Range { network: IpAddr, bits: u8 },
}

impl std::fmt::Display for InsecureRule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Host { name, port: Some(port) } => write!(f, "{name}:{port}"),
            Self::Host { name, port: None } => f.write_str(name),
            Self::Range { network, bits } => write!(f, "{network}/{bits}"),
        }
    }
}

impl FromStr for InsecureRule {
    type Err = InvalidSetting;

    fn from_str(text: &str) -> Result<Self, InvalidSetting> {
        let invalid = |problem: &str| InvalidSetting { text: text.to_owned(), problem: problem.to_owned() };
        if text.contains("://") {
            return Err(invalid("write a host, without http:// or https://"));
        }
        if let Some((network, bits)) = text.split_once('/') {
            let network: IpAddr = network.parse().map_err(|_| invalid("it is neither a host nor a range"))?;
            let most = if network.is_ipv4() { 32 } else { 128 };
            let bits = bits.parse().ok().filter(|bits| *bits <= most);
            return Ok(Self::Range { network, bits: bits.ok_or_else(|| invalid("it is not a range of addresses"))? });
        }
        check_host(text).map_err(|problem| invalid(&problem))?;
        let (name, port) = split_port(text);
        Ok(Self::Host { name: name.to_ascii_lowercase(), port })
    }
}

/// Whether unverified TLS, or none, may be used with this server: a rule allows it, or the server is this machine. A
/// name is resolved only where ranges must be compared.
pub(super) async fn is_insecure(url: &Url, settings: &Settings) -> bool {
    if settings.insecure_loopback && is_loopback(url) {
        return true;
    }
    let rules = &settings.insecure;
    let Some(host) = url.host_str().map(str::to_ascii_lowercase) else { return false };
    let port = url.port_or_known_default();
    let named = rules.iter().any(|rule| match rule {
        InsecureRule::Host { name, port: wanted } => *name == host && (wanted.is_none() || *wanted == port),
        InsecureRule::Range { .. } => false,
    });
    let ranges = || rules.iter().any(|rule| matches!(rule, InsecureRule::Range { .. }));
    if named || !ranges() {
        return named;
    }
    let addresses = match literal(&host) {
        Some(address) => vec![address],
        None => lookup(&host, port.unwrap_or(443)).await,
    };
    addresses.iter().any(|address| rules.iter().any(|rule| rule.contains(address)))
}

/// `localhost`, 127.0.0.0/8, ::1.
pub(super) fn is_loopback(url: &Url) -> bool {
    let Some(host) = url.host_str() else { return false };
    host.eq_ignore_ascii_case("localhost") || literal(host).is_some_and(|address| address.is_loopback())
}

impl InsecureRule {
    fn contains(&self, address: &IpAddr) -> bool {
        match self {
            Self::Host { .. } => false,
            Self::Range { network, bits } => match (network, address) {
                (IpAddr::V4(network), IpAddr::V4(address)) => {
                    let mask = u32::MAX.checked_shl(32 - u32::from(*bits)).unwrap_or(0);
                    (network.to_bits() ^ address.to_bits()) & mask == 0
                }
                (IpAddr::V6(network), IpAddr::V6(address)) => {
                    let mask = u128::MAX.checked_shl(128 - u32::from(*bits)).unwrap_or(0);
                    (network.to_bits() ^ address.to_bits()) & mask == 0
                }
                (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
            },
        }
    }
}

fn literal(host: &str) -> Option<IpAddr> {
    host.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

/// A valid host apart from its port.
fn split_port(host: &str) -> (&str, Option<u16>) {
    match host.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => (name, port.parse().ok()),
        Some(_) | None => (host, None),
    }
}

/// No addresses when the name is unknown: the connection will report it.
async fn lookup(host: &str, port: u16) -> Vec<IpAddr> {
    const DEADLINE: Duration = Duration::from_secs(5);
    match tokio::time::timeout(DEADLINE, tokio::net::lookup_host((host, port))).await {
        Ok(Ok(addresses)) => addresses.map(|address| address.ip()).collect(),
        Ok(Err(_)) | Err(_) => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(texts: &[&str]) -> Settings {
        let mut settings = Settings::new("/certs".into(), "/auth".into());
        settings.insecure = texts.iter().map(|text| text.parse().unwrap()).collect();
        settings
    }

    #[tokio::test]
    async fn hosts_ports_and_ranges_are_distinguished() {
        let rules = rules(&["a.example", "b.example:5000", "10.1.0.0/16", "fd00::/8", "[2001:db8::1]:5000"]);
        for (url, expected) in [
            ("https://a.example", true),
            ("https://A.example:5000", true),
            ("https://b.example:5000", true),
            ("https://b.example", false),
            ("https://x.a.example", false),
            ("https://10.1.2.3:5000", true),
            ("https://10.2.0.1", false),
            ("https://[fd12::1]", true),
            ("https://[2001:db8::1]:5000", true),
            ("https://[2001:db8::1]:5001", false),
            ("https://127.3.2.1:5000", true),
            ("https://[::1]", true),
            ("https://localhost:443", true),
            ("https://localhost.example", false),
        ] {
            assert_eq!(is_insecure(&url.parse().unwrap(), &rules).await, expected, "{url}");
        }
        assert!(!is_insecure(&"https://10.1.2.3".parse().unwrap(), &self::rules(&[])).await);
        assert!(is_insecure(&"https://9.9.9.9".parse().unwrap(), &self::rules(&["0.0.0.0/0"])).await);
        let strict = Settings { insecure_loopback: false, ..self::rules(&["127.0.0.2"]) };
        assert!(!is_insecure(&"https://127.0.0.1".parse().unwrap(), &strict).await);
        assert!(is_insecure(&"https://127.0.0.2".parse().unwrap(), &strict).await);
    }

    #[test]
    fn wrong_entries_are_refused() {
        for text in ["http://a.example", "10.0.0.0/33", "a/b", "", "a:0", "10.0.0.0/x", "a b"] {
            assert!(text.parse::<InsecureRule>().is_err(), "{text}");
        }
    }
}
