//! Namespaces, names and addresses: the namespaces the container shares and the hosts it can look up.

use std::net::IpAddr;

use clap::{Arg, ArgMatches};
use cri_api::isula::v1::CreateRequest;

use super::invalid;
use crate::failure::Failure;
use crate::flag;

pub(super) fn flags() -> Vec<Arg> {
    vec![
        flag::list("network", "NETWORK", "none, host, container:NAME or a network; several are taken").alias("net"),
        flag::value("pid", "MODE", "Own (default), host or container:NAME"),
        flag::value("ipc", "MODE", "Own (default), host or container:NAME"),
        flag::value("uts", "MODE", "Own (default) or host"),
        flag::value("cgroupns", "MODE", "Own (default) or host"),
        flag::value("cgroup-parent", "PATH", "Cgroup to be under"),
        flag::list("expose", "PORT[-PORT][/PROTOCOL]", "Port that the container listens on, beside the image's"),
        flag::list("add-host", "NAME:ADDRESS", "Line for the container's hosts file"),
        flag::list("dns", "ADDRESS", "Name server"),
        flag::list("dns-search", "DOMAIN", "Search domain"),
        flag::list("dns-opt", "OPTION", "Resolver option").alias("dns-option"),
    ]
}

pub(super) fn apply(matches: &ArgMatches, request: &mut CreateRequest) -> Result<(), Failure> {
    request.network = network(matches);
    request.pid = own_or(matches, "pid");
    request.ipc = own_or(matches, "ipc");
    request.uts = own_or(matches, "uts");
    request.cgroupns = own_or(matches, "cgroupns");
    request.cgroup_parent = flag::text_or_empty(matches, "cgroup-parent");
    request.dns_search = flag::owned(matches, "dns-search");
    request.dns_options = flag::owned(matches, "dns-opt");
    for given in flag::texts(matches, "expose") {
        ports(given).map_err(|reason| invalid(given, "expose", reason))?;
        request.expose.push(given.to_owned());
    }
    for given in flag::texts(matches, "dns") {
        let address = given.parse::<IpAddr>().map_err(|_| invalid(given, "dns", "it is not an IP address"))?;
        request.dns.push(address.to_string());
    }
    for given in flag::texts(matches, "add-host") {
        // The address may have colons itself.
        let entry = given.split_once(':').filter(|(name, _)| !name.is_empty());
        let Some((name, address)) = entry.and_then(|(name, address)| Some((name, address_of(address)?))) else {
            return Err(invalid(given, "add-host", "want NAME:ADDRESS"));
        };
        request.extra_hosts.push(format!("{name}:{address}"));
    }
    Ok(())
}

/// Several networks are one list. A mode given twice is the mode.
fn network(matches: &ArgMatches) -> String {
    let mut given: Vec<&str> = Vec::new();
    for name in flag::texts(matches, "network") {
        if !given.contains(&name) {
            given.push(name);
        }
    }
    given.join(",")
}

/// Checks `PORT[-PORT][/PROTOCOL]`.
fn ports(text: &str) -> Result<(), &'static str> {
    let (range, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    let port = |text: &str| {
        let port = text.parse::<u16>().ok().filter(|port| *port > 0 && text.bytes().all(|byte| byte.is_ascii_digit()));
        port.ok_or("want PORT[-PORT][/PROTOCOL], with ports from 1 to 65535")
    };
    if port(first)? > port(last)? {
        return Err("the first port is above the last");
    }
    if !["tcp", "udp", "sctp"].contains(&protocol) {
        return Err("protocols are tcp, udp and sctp");
    }
    Ok(())
}

/// Brackets are for version 6 alone.
fn address_of(text: &str) -> Option<IpAddr> {
    let inner = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    inner.map_or_else(|| text.parse().ok(), |inner| inner.parse().ok().map(IpAddr::V6))
}

/// Without the flag the container has a namespace of its own.
fn own_or(matches: &ArgMatches, long: &str) -> String {
    flag::text(matches, long).filter(|mode| *mode != "private").unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use crate::container::parse;

    #[test]
    fn namespaces_and_names() {
        let request = parse(&[
            "--net=host",
            "--pid",
            "container:a",
            "--ipc=private",
            "--uts=host",
            "--cgroupns=host",
            "--cgroup-parent=/x",
            "--dns=1.1.1.1",
            "--dns-search=lan",
            "--dns-opt=ndots:2",
            "--expose=80",
            "--expose=8000-8010/udp",
            "--add-host=a:1.2.3.4",
            "--add-host",
            "b:::1",
            "--add-host=c:[fd00::1]",
            "x",
        ])
        .unwrap();
        assert_eq!((request.network.as_str(), request.pid.as_str(), request.ipc.as_str()), ("host", "container:a", ""));
        assert_eq!((request.uts.as_str(), request.cgroupns.as_str()), ("host", "host"));
        assert_eq!(request.cgroup_parent, "/x");
        assert_eq!(
            (request.dns, request.dns_search, request.dns_options),
            (vec!["1.1.1.1".to_owned()], vec!["lan".to_owned()], vec!["ndots:2".to_owned()])
        );
        assert_eq!(request.expose, ["80", "8000-8010/udp"]);
        assert_eq!(request.extra_hosts, ["a:1.2.3.4", "b:::1", "c:fd00::1"]);
        assert_eq!(parse(&["--network=none", "x"]).unwrap().network, "none");
    }

    #[test]
    fn nonsense() {
        for bad in ["", "0", "x", "+1", "65536", "2-1", "1-", "1/", "1/icmp"] {
            assert!(parse(&["--expose", bad, "x"]).is_err(), "{bad}");
        }
        for bad in ["--dns=x", "--add-host=a", "--add-host=:1.2.3.4", "--add-host=a:b"] {
            assert!(parse(&[bad, "x"]).is_err(), "{bad}");
        }
        for bad in ["a:[::1", "a:::1]", "a:[]", "a:[[::1]]", "a:[1.2.3.4]", "a:[::1]x"] {
            assert!(parse(&["--add-host", bad, "x"]).is_err(), "{bad}");
        }
    }
}
