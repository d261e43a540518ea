//! The three files for each kind of network.

use super::super::tests::{definition, strings};
use super::*;

fn host(resolv_conf: &str) -> HostNames {
    HostNames {
        hosts: "10.0.0.1 machine".to_owned(),
        resolv_conf: resolv_conf.to_owned(),
        upstream_resolv_conf: String::new(),
    }
}

#[test]
fn hosts_of_an_own_network() {
    let mut definition = definition();
    definition.extra_hosts = strings(&["db:10.1.2.3", "six:fd00::1", "bracket:[fd00::2]"]);
    let text = hosts(&definition, &host(""), &[]).unwrap();
    assert!(text.starts_with("127.0.0.1\tlocalhost\n::1\tlocalhost "));
    assert!(text.contains("127.0.1.1\tbox\n"));
    assert!(text.ends_with("10.1.2.3\tdb\nfd00::1\tsix\nfd00::2\tbracket\n"));
    assert!(!text.contains("machine"));
}

#[test]
fn hosts_of_the_hosts_network() {
    let mut definition = definition();
    definition.namespaces.network = Network::Host;
    definition.extra_hosts = strings(&["db:10.1.2.3"]);
    assert_eq!(hosts(&definition, &host(""), &[]).unwrap(), "10.0.0.1 machine\n10.1.2.3\tdb\n");
}

#[test]
fn an_invalid_extra_host_is_refused() {
    for entry in [
        "",
        "db",
        "db:",
        ":10.0.0.1",
        "db:10.0.0",
        "db:host-gateway",
        "a b:10.0.0.1",
        "a\n127.0.0.1 b:10.0.0.1",
        "a:[10.0.0.1]",
        "a:[::1",
    ] {
        let mut definition = definition();
        definition.extra_hosts = strings(&[entry]);
        let error = hosts(&definition, &host(""), &[]).unwrap_err();
        assert!(error.to_string().contains(entry), "{entry:?}");
    }
}

#[test]
fn resolvers() {
    let plain = "# comment\nnameserver 10.0.0.53\nnameserver fd00::53\ndomain old.example\nsearch a.example b.example\n\
                 options ndots:2\nsortlist x\n";
    let ours = "nameserver 10.0.0.53\nnameserver fd00::53\nsearch a.example b.example\noptions ndots:2\n";
    let stub = "nameserver 127.0.0.53\nnameserver ::1\nnameserver 10.0.0.9\noptions edns0\n";
    let asked = |servers: &[&str], search: &[&str], options: &[&str]| Dns {
        servers: strings(servers),
        search: strings(search),
        options: strings(options),
    };
    let (own, hosts) = (Network::None, Network::Host);
    let cases = [
        (&own, plain, asked(&[], &[], &[]), ours),
        (&hosts, plain, asked(&[], &[], &[]), plain),
        (&own, stub, asked(&[], &[], &[]), "nameserver 10.0.0.9\noptions edns0\n"),
        (&hosts, stub, asked(&[], &[], &[]), stub),
        (
            &hosts,
            stub,
            asked(&[], &["x"], &[]),
            "nameserver 127.0.0.53\nnameserver ::1\nnameserver 10.0.0.9\nsearch x\noptions edns0\n",
        ),
        (
            &own,
            plain,
            asked(&["1.2.3.4"], &[], &[]),
            "nameserver 1.2.3.4\nsearch a.example b.example\noptions ndots:2\n",
        ),
        (&own, plain, asked(&["1.2.3.4"], &["."], &["rotate"]), "nameserver 1.2.3.4\noptions rotate\n"),
        (&own, "", asked(&[], &[], &[]), ""),
        // A user's loopback server is kept.
        (&own, "", asked(&["127.0.0.1"], &[], &[]), "nameserver 127.0.0.1\n"),
    ];
    for (network, resolv, dns, expected) in cases {
        let mut definition = definition();
        definition.namespaces.network = network.clone();
        definition.dns = dns;
        assert_eq!(
            resolv_conf(&definition, &host(resolv), &Default::default()),
            expected,
            "{network:?} {:?}",
            definition.dns
        );
    }
}

#[test]
fn a_resolver_stub_is_replaced_by_its_upstream_servers() {
    let mut names = host("nameserver 127.0.0.53\nsearch a.example\n");
    assert_eq!(resolv_conf(&definition(), &names, &Default::default()), "search a.example\n");
    names.upstream_resolv_conf = "nameserver 10.0.0.1\nsearch other.example\n".to_owned();
    assert_eq!(resolv_conf(&definition(), &names, &Default::default()), "nameserver 10.0.0.1\nsearch a.example\n");
    names.resolv_conf = "nameserver 10.0.0.2\n".to_owned();
    assert_eq!(resolv_conf(&definition(), &names, &Default::default()), "nameserver 10.0.0.2\n");
}

#[test]
fn all_three_are_written_and_may_be_written_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut definition = definition();
    write(dir.path(), &definition, &host("nameserver 10.0.0.2\n"), &NetworkSettings::default()).unwrap();
    let inode = |name: &str| std::os::unix::fs::MetadataExt::ino(&fs::metadata(dir.path().join(name)).unwrap());
    let before = inode("hosts");
    write(dir.path(), &definition, &host("nameserver 10.0.0.2\n"), &NetworkSettings::default()).unwrap();
    assert_eq!(inode("hosts"), before, "the same text is not written again");
    definition.hostname = "other".to_owned();
    write(dir.path(), &definition, &host("nameserver 10.0.0.3\n"), &NetworkSettings::default()).unwrap();
    let read = |name: &str| fs::read_to_string(dir.path().join(name)).unwrap();
    assert_eq!(read("hostname"), "other\n");
    assert!(read("hosts").contains("127.0.1.1\tother\n"));
    assert_eq!(read("resolv.conf"), "nameserver 10.0.0.3\n");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 3);
}

#[test]
fn resolver_settings_of_networks_rank_between_the_users_and_the_hosts() {
    let networks = NetworkSettings {
        addresses: vec!["10.1.0.2".parse().unwrap(), "fd00::2".parse().unwrap()],
        dns: network::Dns { nameservers: vec!["10.1.0.1".to_owned()], search: vec!["net".to_owned()], options: vec![] },
    };
    let mut definition = definition();
    definition.hostname = "web".to_owned();
    let text = hosts(&definition, &host(""), &networks.addresses).unwrap();
    assert!(text.contains("10.1.0.2\tweb\nfd00::2\tweb\n") && !text.contains("127.0.1.1"), "{text}");
    let host = host("nameserver 9.9.9.9\nsearch lan\noptions ndots:1\n");
    let text = resolv_conf(&definition, &host, &networks.dns);
    assert_eq!(text, "nameserver 10.1.0.1\nsearch net\noptions ndots:1\n");
    definition.dns.servers = vec!["8.8.8.8".to_owned()];
    let text = resolv_conf(&definition, &host, &networks.dns);
    assert_eq!(text, "nameserver 8.8.8.8\nsearch net\noptions ndots:1\n");
}

#[test]
fn missing_files_are_made_anew_and_others_stay() {
    let bundle = tempfile::tempdir().unwrap();
    let mut definition = definition();
    definition.extra_hosts = strings(&["db:10.1.2.3"]);
    write_missing(bundle.path(), &definition).unwrap();
    let read = |name: &str| fs::read_to_string(bundle.path().join(name)).unwrap();
    assert!(read("hosts").ends_with("10.1.2.3\tdb\n"));
    assert_eq!(read("hostname"), "box\n");
    fs::remove_file(bundle.path().join("hostname")).unwrap();
    fs::write(bundle.path().join("hosts"), "written to from inside\n").unwrap();
    write_missing(bundle.path(), &definition).unwrap();
    assert_eq!((read("hosts"), read("hostname")), ("written to from inside\n".to_owned(), "box\n".to_owned()));
}

#[test]
fn only_files_emptied_by_a_power_cut_are_made_again() {
    let dir = tempfile::tempdir().unwrap();
    let definition = definition();
    let read = |name: &str| fs::read_to_string(dir.path().join(name)).unwrap();
    write_missing(dir.path(), &definition).unwrap();
    let (hosts, hostname) = (read("hosts"), read("hostname"));
    assert!(hosts.contains("127.0.1.1\tbox\n") && hostname == "box\n");
    fs::write(dir.path().join("hosts"), "").unwrap();
    fs::write(dir.path().join("hostname"), [0; 4]).unwrap();
    fs::write(dir.path().join("resolv.conf"), "# as the container has it\n").unwrap();
    write_missing(dir.path(), &definition).unwrap();
    assert_eq!((read("hosts"), read("hostname")), (hosts, hostname));
    assert_eq!(read("resolv.conf"), "# as the container has it\n");
}
