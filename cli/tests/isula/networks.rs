//! Networks: requests and output.

use cri_api::isula::v1::*;

use super::daemon::Script;
use super::{Outcome, play};

#[test]
fn requests_about_networks() {
    let filter = |key: &str, value: &str| Filter { key: key.into(), value: value.into() };
    let full = CreateNetworkRequest {
        name: "n".into(),
        driver: "bridge".into(),
        subnet: "10.1.0.0/16".into(),
        gateway: "10.1.0.9".into(),
        internal: true,
    };
    let cases: Vec<(&[&str], String, &str)> = vec![
        (
            &["network", "create", "-d", "bridge", "--subnet=10.1.0.0/16", "--gateway", "10.1.0.9", "--internal", "n"],
            format!("CreateNetwork {full:?}"),
            "n\n",
        ),
        (&["network", "create"], format!("CreateNetwork {:?}", CreateNetworkRequest::default()), "net-1\n"),
        (
            &["network", "ls", "-qf", "plugin=bridge"],
            format!("ListNetworks {:?}", ListNetworksRequest { filters: vec![filter("plugin", "bridge")] }),
            "",
        ),
        (&["network", "rm", "n"], format!("RemoveNetwork {:?}", NetworkRequest { name: "n".into() }), "n\n"),
    ];
    for (words, wanted, stdout) in cases {
        let (ended, asked) = play(Script::default(), words);
        assert_eq!((ended, asked), (Outcome::of(0, stdout, ""), vec![wanted]), "{words:?}");
    }
    for words in [
        &["network", "create", "a", "b"][..],
        &["network", "create", "--gateway=x", "a"],
        &["network", "ls", "-f", "driver=x"],
        &["network", "rm"],
        &["port"],
        &["port", "a", "x"],
    ] {
        let (ended, asked) = play(Script::default(), words);
        assert_eq!((ended.code, asked.len()), (Some(125), 0), "{words:?}: {ended:?}");
    }
}

#[test]
fn a_table_of_networks_has_the_unusable_ones() {
    let network = |name: &str, plugins: &[&str]| Network {
        name: name.into(),
        version: "0.4.0".into(),
        plugins: plugins.iter().map(|plugin| (*plugin).to_owned()).collect(),
    };
    let networks = ListNetworksResponse {
        networks: vec![network("b", &["macvlan"]), network("a", &["bridge", "portmap"])],
        warnings: vec!["x is broken".to_owned()],
    };
    let script = Script { networks, ..Script::default() };
    let wanted = "NAME\tVERSION\tPLUGIN        \na   \t0.4.0  \tbridge,portmap\nb   \t0.4.0  \tmacvlan       \n";
    let warning = "WARNING: x is broken\n";
    assert_eq!(play(script.clone(), &["network", "ls"]).0, Outcome::of(0, wanted, warning));
    assert_eq!(play(script, &["network", "ls", "-q"]).0, Outcome::of(0, "a\nb\n", warning));
}

#[test]
fn removing_goes_on_after_a_failure() {
    let script = Script { refused: [("a".to_owned(), "in use".to_owned())].into(), ..Script::default() };
    let (ended, asked) = play(script, &["network", "rm", "a", "b"]);
    assert_eq!((ended.code, ended.stdout.as_str(), asked.len()), (Some(1), "b\n", 2), "{ended:?}");
}

#[test]
fn a_network_is_inspected_as_it_is() {
    let details = [("n".to_owned(), r#"{"name":"n","plugins":[{"type":"bridge"}]}"#.to_owned())].into();
    let script = Script { network_details: details, ..Script::default() };
    let (ended, _) = play(script.clone(), &["network", "inspect", "-f", "{{.name}} {{json .plugins}}", "n"]);
    assert_eq!(ended, Outcome::of(0, "n [{\"type\":\"bridge\"}]\n", ""));
    let (ended, _) = play(script, &["network", "inspect", "m"]);
    assert_eq!(ended.code, Some(1));
}

#[test]
fn published_ports_are_shown_in_their_order() {
    let json = r#"{"NetworkSettings":{"Ports":{"90/tcp":[{"HostIp":"0.0.0.0","HostPort":"9090"}],"7/udp":null,
        "80/tcp":[{"HostIp":"0.0.0.0","HostPort":"8080"},{"HostIp":"::1","HostPort":"8081"}]}}}"#;
    let script = Script { details: [("c".to_owned(), json.to_owned())].into(), ..Script::default() };
    let all = "80/tcp -> 0.0.0.0:8080\n80/tcp -> [::1]:8081\n90/tcp -> 0.0.0.0:9090\n";
    assert_eq!(play(script.clone(), &["port", "c"]).0, Outcome::of(0, all, ""));
    assert_eq!(play(script.clone(), &["port", "c", "90"]).0, Outcome::of(0, "0.0.0.0:9090\n", ""));
    let (ended, _) = play(script, &["port", "c", "90/udp"]);
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains("No public port '90/udp' published for c"), "{ended:?}");
}
