//! Ports of the host that lead to the container: `-p` and `-P`, and the address that the container asks for.

use std::net::IpAddr;
use std::ops::RangeInclusive;

use clap::{Arg, ArgMatches};
use cri_api::isula::v1::{CreateRequest, PortMapping};

use super::invalid;
use crate::failure::Failure;
use crate::flag;

const WANT: &str = "want [[ADDRESS:]HOST-PORT:]PORT[/PROTOCOL], with ports or ranges of them from 1 to 65535";

pub(super) fn flags() -> Vec<Arg> {
    vec![
        flag::list(
            "publish",
            "[[ADDRESS:]HOST-PORT:]PORT",
            "Lead a port of the host, or any that is free, to one of the container",
        )
        .short('p'),
        flag::switch("publish-all", "Lead free ports of the host to all that the container exposes").short('P'),
        flag::value("ip", "ADDRESS", "Address of the container in its network"),
    ]
}

pub(super) fn apply(matches: &ArgMatches, request: &mut CreateRequest) -> Result<(), Failure> {
    for given in flag::texts(matches, "publish") {
        request.ports.extend(ports(given).map_err(|reason| invalid(given, "publish", reason))?);
    }
    request.publish_all = flag::is_on(matches, "publish-all");
    let ip = flag::text_or_empty(matches, "ip");
    if !ip.is_empty() && ip.parse::<IpAddr>().is_err() {
        return Err(invalid(&ip, "ip", "it is not an IP address"));
    }
    request.ip = ip;
    Ok(())
}

/// One mapping for each port of a range.
fn ports(text: &str) -> Result<Vec<PortMapping>, &'static str> {
    let (text, protocol) = text.rsplit_once('/').unwrap_or((text, "tcp"));
    let protocol = protocol.to_ascii_lowercase();
    if !["tcp", "udp", "sctp"].contains(&protocol.as_str()) {
        return Err("protocols are tcp, udp and sctp");
    }
    let (before, container) = match text.rsplit_once(':') {
        Some((before, container)) => (Some(before), container),
        None => (None, text),
    };
    // An address of version 6 has colons itself, and is in brackets then.
    let (host_ip, host) = match before {
        None => ("", ""),
        Some(before) => before.rsplit_once(':').unwrap_or(("", before)),
    };
    let host_ip = host_ip.strip_prefix('[').and_then(|ip| ip.strip_suffix(']')).unwrap_or(host_ip);
    if !host_ip.is_empty() && host_ip.parse::<IpAddr>().is_err() {
        return Err("the address is not an IP address");
    }
    let container = range(container)?;
    let host = if host.is_empty() { None } else { Some(range(host)?) };
    if host.as_ref().is_some_and(|host| host.clone().count() != container.clone().count()) {
        return Err("the ranges are not of the same length");
    }
    let mapping = |(index, container_port): (usize, u16)| PortMapping {
        host_ip: host_ip.to_owned(),
        host_port: host.clone().and_then(|mut host| host.nth(index)).map_or(0, u32::from),
        container_port: u32::from(container_port),
        protocol: protocol.clone(),
    };
    Ok(container.enumerate().map(mapping).collect())
}

fn range(text: &str) -> Result<RangeInclusive<u16>, &'static str> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let port = |text: &str| {
        let port = text.parse::<u16>().ok().filter(|port| *port > 0 && text.bytes().all(|byte| byte.is_ascii_digit()));
        port.ok_or(WANT)
    };
    let (first, last) = (port(first)?, port(last)?);
    if first > last { Err("the first port is above the last") } else { Ok(first..=last) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::parse;

    fn mapping(host_ip: &str, host_port: u32, container_port: u32, protocol: &str) -> PortMapping {
        PortMapping { host_ip: host_ip.into(), host_port, container_port, protocol: protocol.into() }
    }

    #[test]
    fn ports_are_mapped_one_by_one() {
        for (text, wanted) in [
            ("80", vec![mapping("", 0, 80, "tcp")]),
            ("8080:80", vec![mapping("", 8080, 80, "tcp")]),
            (":80/udp", vec![mapping("", 0, 80, "udp")]),
            ("127.0.0.1:8080:80", vec![mapping("127.0.0.1", 8080, 80, "tcp")]),
            ("127.0.0.1::80/SCTP", vec![mapping("127.0.0.1", 0, 80, "sctp")]),
            ("[::1]:8080:80", vec![mapping("::1", 8080, 80, "tcp")]),
            ("8080-8081:80-81", vec![mapping("", 8080, 80, "tcp"), mapping("", 8081, 81, "tcp")]),
            ("80-81", vec![mapping("", 0, 80, "tcp"), mapping("", 0, 81, "tcp")]),
        ] {
            assert_eq!(parse(&["-p", text, "x"]).unwrap().ports, wanted, "{text}");
        }
        let several = parse(&["-p", "1", "--publish=2:2", "-P", "--ip=10.0.0.1", "--net=a", "--network", "b", "x"]);
        let several = several.unwrap();
        assert_eq!((several.ports.len(), several.publish_all, several.ip.as_str()), (2, true, "10.0.0.1"));
        assert_eq!(several.network, "a,b");
    }

    #[test]
    fn nonsense() {
        for bad in ["", "x", "0", "80:0", "65536", "1:2:3:4", "x:1:2", "1/icmp", "2-1", "1-2:1", "1-:1", "+1"] {
            assert!(parse(&["-p", bad, "x"]).is_err(), "{bad}");
        }
        assert!(parse(&["--ip=x", "x"]).is_err());
    }
}
