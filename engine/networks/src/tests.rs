//! Attaching with plugins that are scripts: each notes its call and behaves as its test needs.

mod detach;
mod pending;
mod plugin;
mod together;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use super::attach::{Order, Place, Wanted, attach};
use super::detach::{detach, detach_again};
use super::first::FirstRuns;
use super::port::{Protocol, Published};
use super::record::Record;
use super::{NetworkConf, NetworkError, Settings, bridge, netns};
use engine_host::cause::chain;

const RESULT: &str = r#"{"cniVersion":"0.4.0","ips":[{"version":"4","address":"10.7.0.2/24","gateway":"10.7.0.1"}]}"#;

/// A longer step hangs, on the slowest of machines.
const PATIENCE: Duration = Duration::from_secs(300);

struct Stand {
    dir: tempfile::TempDir,
    first_runs: FirstRuns,
}

impl Stand {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        for name in ["bin", "conf", "bundle"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        Self { dir, first_runs: FirstRuns::patient(PATIENCE) }
    }

    fn at(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    /// A plugin that notes its call and its input, then runs `body`.
    fn plugin(&self, name: &str, body: &str) {
        let log = self.at("log").display().to_string();
        let text = format!(
            "#!/bin/sh\ninput=$(cat)\nns=gone; [ -e \"$CNI_NETNS\" ] && ns=there\necho \"{name} $CNI_COMMAND $CNI_IFNAME $ns $CNI_ARGS\" >>{log}\nprintf %s \"$input\" >{log}.{name}.$CNI_COMMAND\n{body}\n"
        );
        write_program(&self.at("bin").join(name), &text);
    }

    fn good(&self, name: &str) {
        self.plugin(name, &format!("[ $CNI_COMMAND = ADD ] && echo '{RESULT}'; exit 0"));
    }

    fn settings(&self) -> Settings {
        Settings {
            conf_dir: self.at("conf"),
            bin_dirs: vec![self.at("bin")],
            deadline: PATIENCE,
            netns_dir: self.at("netns"),
        }
    }

    fn place(&self) -> Place {
        Place {
            prefix: "abc-".to_owned(),
            record: self.at("bundle/network.json"),
            busy: self.at("bundle/network-call"),
        }
    }

    fn order(&self, plugins: &[&str]) -> Order {
        let plugins: Vec<_> = plugins
            .iter()
            .map(|kind| json!({"type": kind, "capabilities": {"portMappings": *kind == "ports"}}))
            .collect();
        let conf = NetworkConf::of_list(json!({"cniVersion":"0.4.0","name":"net","plugins":plugins})).unwrap();
        Order {
            owner: "container abc".to_owned(),
            container: "abc-1".to_owned(),
            netns: self.at("netns/isula-abc-1"),
            networks: vec![Wanted { conf, ifname: "eth0".to_owned(), ip: None }],
            ports: vec![],
        }
    }

    async fn attach(&self, plugins: &[&str]) -> Result<Record, NetworkError> {
        attach(&self.settings(), &self.first_runs, &self.place(), self.order(plugins)).await
    }

    async fn fails(&self, plugins: &[&str]) -> String {
        chain(&self.attach(plugins).await.unwrap_err())
    }

    fn log(&self) -> Vec<String> {
        let log = fs::read_to_string(self.at("log")).unwrap_or_default();
        let _ = fs::remove_file(self.at("log"));
        log.lines().map(|line| line.trim().to_owned()).collect()
    }

    fn input(&self, plugin: &str, verb: &str) -> Value {
        serde_json::from_slice(&fs::read(self.at(&format!("log.{plugin}.{verb}"))).unwrap()).unwrap()
    }

    fn assert_nothing_left(&self) {
        assert_eq!(fs::read_dir(self.at("bundle")).unwrap().count(), 0);
        assert_eq!(fs::read_dir(self.at("netns")).map_or(0, Iterator::count), 0);
    }
}

/// Polls until it holds; `words` is the message of a failure.
async fn until(words: &str, mut holds: impl FnMut() -> bool) {
    let end = tokio::time::Instant::now() + PATIENCE;
    while !holds() {
        assert!(tokio::time::Instant::now() < end, "{words}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// By a process of its own: a program that another test starts at this moment would inherit a descriptor of this one,
/// and a file that is open for writing cannot be run ("text file busy"). Replaced, since it may be running.
fn write_program(path: &Path, text: &str) {
    let script = r#"cat >"$1.new" && chmod 755 "$1.new" && mv "$1.new" "$1""#;
    let mut writer = Command::new("sh").args(["-c", script, "sh"]).arg(path).stdin(Stdio::piped()).spawn().unwrap();
    writer.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    assert!(writer.wait().unwrap().success());
}

impl Drop for Stand {
    fn drop(&mut self) {
        for entry in fs::read_dir(self.at("netns")).into_iter().flatten().flatten() {
            let _ = netns::remove(&entry.path());
        }
    }
}

#[tokio::test]
async fn plugins_run_in_order_and_back_with_their_results() {
    let stand = Stand::new();
    stand.good("one");
    stand.good("ports");
    let mut order = stand.order(&["one", "ports"]);
    let port = Published { host_ip: None, host_port: 8080, container_port: 80, protocol: Protocol::Tcp };
    order.ports = vec![port];
    let record = attach(&stand.settings(), &stand.first_runs, &stand.place(), order).await.unwrap();
    assert_eq!(record.networks[0].attached().addresses[0].ip.to_string(), "10.7.0.2");
    assert!(netns::is_pinned(&record.netns));
    assert_eq!(Record::read(&stand.place().record).unwrap().unwrap(), record);
    assert_eq!(stand.log(), ["one ADD eth0 there", "ports ADD eth0 there"]);
    let first = stand.input("one", "ADD");
    assert_eq!((&first["name"], &first["cniVersion"]), (&json!("net"), &json!("0.4.0")));
    assert!(first.get("prevResult").is_none() && first.get("runtimeConfig").is_none());
    let second = stand.input("ports", "ADD");
    assert_eq!(second["prevResult"]["ips"][0]["address"], "10.7.0.2/24");
    assert_eq!(second["runtimeConfig"]["portMappings"], json!([port.mapping()]));

    detach(&stand.settings(), &stand.place(), None).await.unwrap();
    assert_eq!(stand.log(), ["ports DEL eth0 there", "one DEL eth0 there"]);
    assert_eq!(stand.input("one", "DEL")["prevResult"], stand.input("ports", "DEL")["prevResult"]);
    assert_eq!(stand.input("ports", "DEL")["runtimeConfig"], second["runtimeConfig"]);
    stand.assert_nothing_left();
    detach(&stand.settings(), &stand.place(), None).await.unwrap();
    assert!(stand.log().is_empty(), "a detached container is not detached again");
}

#[tokio::test]
async fn a_failed_attachment_is_undone_as_far_as_it_went() {
    let stand = Stand::new();
    stand.good("one");
    stand.plugin(
        "two",
        r#"[ $CNI_COMMAND = ADD ] && { echo '{"cniVersion":"0.4.0","code":11,"msg":"no room","details":"in here"}'; exit 1; }; exit 0"#,
    );
    let problem = stand.fails(&["one", "two"]).await;
    assert_eq!(problem, "network net: plugin `two`: ADD failed: no room; in here (code 11)");
    detach(&stand.settings(), &stand.place(), None).await.unwrap();
    assert_eq!(stand.log(), ["one ADD eth0 there", "two ADD eth0 there", "two DEL eth0 there", "one DEL eth0 there"]);
    assert_eq!(stand.input("one", "DEL")["prevResult"]["ips"][0]["address"], "10.7.0.2/24");
    stand.assert_nothing_left();
}

#[tokio::test]
async fn a_missing_plugin_is_named_before_anything_is_done() {
    let stand = Stand::new();
    stand.good("one");
    let problem = stand.fails(&["one", "gone"]).await;
    assert!(problem.starts_with("network net: cannot find the CNI plugin `gone` in"), "{problem}");
    assert!(problem.contains("containernetworking-plugins") && stand.log().is_empty());
    stand.assert_nothing_left();
}

#[tokio::test]
async fn a_missing_plugin_for_addresses_is_named_too() {
    let stand = Stand::new();
    stand.good("bridge");
    let mut order = stand.order(&["bridge"]);
    let list = json!({"cniVersion":"0.4.0","name":"net","plugins":[{"type":"bridge","ipam":{"type":"host-lokal"}}]});
    order.networks[0].conf = NetworkConf::of_list(list).unwrap();
    let error = attach(&stand.settings(), &stand.first_runs, &stand.place(), order).await.unwrap_err();
    assert!(chain(&error).starts_with("network net: cannot find the CNI plugin `host-lokal` in"), "{}", chain(&error));
    assert!(stand.log().is_empty());
    stand.assert_nothing_left();
}

#[tokio::test]
async fn a_port_that_no_address_serves_is_refused() {
    let stand = Stand::new();
    stand.good("ports");
    let mut order = stand.order(&["ports"]);
    let host_ip = Some("::1".parse().unwrap());
    order.ports = vec![Published { host_ip, host_port: 8080, container_port: 80, protocol: Protocol::Tcp }];
    let error = attach(&stand.settings(), &stand.first_runs, &stand.place(), order).await.unwrap_err();
    let problem =
        "host port [::1]:8080/tcp cannot be published: network net gives no IPv6 address that it could lead to";
    assert_eq!(error.to_string(), problem);
    detach(&stand.settings(), &stand.place(), None).await.unwrap();
    stand.assert_nothing_left();
}

#[tokio::test]
async fn an_address_that_was_asked_for_is_given_or_it_is_a_failure() {
    let stand = Stand::new();
    stand.good("one");
    let mut order = stand.order(&["one"]);
    order.networks[0].ip = Some("10.7.0.9".parse().unwrap());
    let error = attach(&stand.settings(), &stand.first_runs, &stand.place(), order).await.unwrap_err();
    assert_eq!(error.to_string(), "network net: plugin `one` gave 10.7.0.2 instead of the address 10.7.0.9");
    assert_eq!(stand.log(), ["one ADD eth0 there IgnoreUnknown=1;IP=10.7.0.9"]);
}

#[tokio::test]
async fn detaching_needs_neither_namespace_nor_conflist_and_every_plugin_is_asked() {
    let stand = Stand::new();
    stand.good("one");
    stand.good("two");
    let record = stand.attach(&["one", "two"]).await.unwrap();
    netns::remove(&record.netns).unwrap();
    stand.plugin("two", "exit 1");
    stand.log();
    let problem = chain(&detach(&stand.settings(), &stand.place(), None).await.unwrap_err());
    assert_eq!(problem, "network net: plugin `two`: DEL ended with exit status: 1 and said nothing");
    assert_eq!(stand.log(), ["two DEL eth0 gone", "one DEL eth0 gone"]);
    assert!(stand.place().record.exists(), "it is to be tried again");
    stand.good("two");
    detach(&stand.settings(), &stand.place(), None).await.unwrap();
    stand.assert_nothing_left();
}

#[tokio::test]
async fn plugins_that_hang_leave_time_to_the_others() {
    let stand = Stand::new();
    for kind in ["one", "two", "three"] {
        stand.good(kind);
    }
    stand.attach(&["one", "two", "three"]).await.unwrap();
    stand.log();
    stand.plugin("two", "sleep 1000");
    stand.plugin("three", "sleep 1000");
    // Nothing but the shares ends them, and each has the time to begin.
    let settings = Settings { deadline: Duration::from_secs(1000), ..stand.settings() };
    let budget = Some(Duration::from_secs(30));
    let problem = chain(&detach(&settings, &stand.place(), budget).await.unwrap_err());
    assert!(problem.starts_with("network net: plugin `three`: DEL did not finish within "), "{problem}");
    assert_eq!(stand.log(), ["three DEL eth0 there", "two DEL eth0 there", "one DEL eth0 there"]);
}

fn request(name: &str) -> bridge::Request {
    bridge::Request { name: name.to_owned(), ..bridge::Request::default() }
}

#[test]
fn a_network_is_made_with_a_free_subnet_and_removed() {
    let stand = Stand::new();
    for kind in ["bridge", "host-local", "portmap"] {
        stand.good(kind);
    }
    let (settings, addresses) = (stand.settings(), stand.at("addresses"));
    assert_eq!(bridge::create(&settings, &addresses, &request("one")).unwrap(), "one");
    let made = bridge::create(&settings, &addresses, &request("")).unwrap();
    assert!(made.starts_with("net-"), "{made}");
    let confs = super::conf::Confs::read(&settings.conf_dir);
    let list = &confs.by_name["one"].conf.list;
    let subnet = list["plugins"][0]["ipam"]["ranges"][0][0]["subnet"].as_str().unwrap().to_owned();
    assert_ne!(confs.by_name[&made].conf.list["plugins"][0]["bridge"], list["plugins"][0]["bridge"]);
    assert_eq!(confs.by_name["one"].conf.plugins.len(), 2, "there is no firewall plugin");
    for (request, words) in [
        (request("one"), "network one exists already"),
        (request("../x"), "Invalid network name (../x)"),
        (request("host"), "Invalid network name (host)"),
        (bridge::Request { driver: "macvlan".to_owned(), ..request("x") }, "`macvlan` is unknown"),
        (bridge::Request { subnet: subnet.clone(), ..request("x") }, "overlaps with network one"),
        (bridge::Request { subnet: "10.1.2.3/16".to_owned(), ..request("x") }, "the subnet is 10.1.0.0/16"),
        (bridge::Request { gateway: "10.1.2.3".to_owned(), ..request("x") }, "give --subnet too"),
        (
            bridge::Request { subnet: "10.231.0.0/24".to_owned(), gateway: "10.232.0.1".to_owned(), ..request("x") },
            "is not an address of a host in 10.231.0.0/24",
        ),
    ] {
        let problem = chain(&bridge::create(&settings, &addresses, &request).unwrap_err());
        assert!(problem.contains(words), "{problem}");
    }
    bridge::remove(&settings, &addresses, "one").unwrap();
    bridge::remove(&settings, &addresses, &made).unwrap();
    let problem = bridge::remove(&settings, &addresses, "one").unwrap_err().to_string();
    assert_eq!(problem, "No such network: one; there is none");
    assert_eq!(fs::read_dir(&settings.conf_dir).unwrap().count(), 0);
}

#[test]
fn an_internal_network_has_no_way_out() {
    let stand = Stand::new();
    for kind in ["bridge", "host-local", "portmap", "firewall"] {
        stand.good(kind);
    }
    let settings = stand.settings();
    let internal = bridge::Request { internal: true, ..request("in") };
    bridge::create(&settings, Path::new("/a"), &internal).unwrap();
    let other = bridge::remove(&settings, Path::new("/b"), "in").unwrap_err();
    assert!(matches!(other, NetworkError::NotOurs { .. }), "another daemon has made it");
    let confs = super::conf::Confs::read(&settings.conf_dir);
    let plugins = &confs.by_name["in"].conf.list["plugins"];
    assert_eq!((&plugins[0]["isGateway"], &plugins[0]["ipMasq"]), (&json!(false), &json!(false)));
    assert!(plugins[0]["ipam"].get("routes").is_none());
    assert_eq!(plugins[1]["type"], "firewall");
    assert!(!confs.by_name["in"].conf.takes("portMappings"), "an unreachable port cannot be published");
}

#[test]
fn missing_plugins_of_a_network_are_named() {
    let stand = Stand::new();
    let problem = chain(&bridge::create(&stand.settings(), Path::new("/a"), &request("x")).unwrap_err());
    assert!(problem.contains("cannot find the CNI plugin `bridge`") && problem.contains("Debian"), "{problem}");
    assert!(fs::read_dir(stand.at("conf")).unwrap().next().is_none());
}

#[test]
fn a_network_of_the_operators_is_not_removed() {
    let stand = Stand::new();
    let path = stand.at("conf/10-mine.conflist");
    fs::write(&path, r#"{"cniVersion":"0.4.0","name":"mine","plugins":[{"type":"bridge"}]}"#).unwrap();
    let problem = bridge::remove(&stand.settings(), Path::new("/a"), "mine").unwrap_err().to_string();
    assert!(problem.contains("was not made by `isula network create`") && path.exists(), "{problem}");
}
