//! Containers in networks, through Debian's plugins and through plugins that misbehave. Each node has a network
//! namespace of its own, so that routes and firewall of the machine are left alone.

mod attached;
mod bridges;
mod conflicts;
mod crash;
mod ends;
mod plugins;

use std::path::PathBuf;

use cri_api::isula::v1::Event;
use integration::{Node, NodeBuilder, Runtime, command, deadline};

pub(crate) use crash::points;

const SERVE: [&str; 7] = ["httpd", "-f", "-p", "80", "-h", "/etc", "-v"];

fn builder(runtime: Runtime) -> NodeBuilder {
    Node::builder(runtime).own_network()
}

/// With a network `net`.
fn node(runtime: Runtime) -> Node {
    let node = builder(runtime).start();
    node.ok(&["network", "create", "net"]);
    node
}

/// A container with a web server on port 80.
fn server(node: &Node, name: &str, flags: &[&str]) -> String {
    node.run_detached(&[&["--net", "net", "--name", name], flags].concat(), &SERVE)
}

/// A program in the daemon's network namespace.
fn on_host(node: &Node, words: &[&str]) -> command::Output {
    let words = node.inside(words);
    command::run(std::process::Command::new(&words[0]).args(&words[1..]), deadline::PATIENCE)
}

/// Asks the server at `address:port` for a file. (busybox's own wget crashes where it is linked statically.)
fn fetched(node: &Node, place: &str) -> bool {
    let script = get(place, "passwd");
    on_host(node, &["busybox", "sh", "-c", &script]).text().contains("guest:x:1000")
}

/// The same as a script.
fn get(place: &str, file: &str) -> String {
    let (address, port) = place.split_once(':').unwrap_or((place, "80"));
    format!("printf 'GET /{file} HTTP/1.0\\r\\n\\r\\n' | busybox nc -w 5 {address} {port}")
}

/// The server may still be on its way.
#[track_caller]
fn serves(node: &Node, place: &str) {
    deadline::until(&format!("{place} serves"), || fetched(node, place));
}

fn settings(node: &Node, container: &str) -> serde_json::Value {
    node.inspect(container)["NetworkSettings"].take()
}

fn address(node: &Node, container: &str) -> String {
    settings(node, container)["IPAddress"].as_str().expect("an address is text").to_owned()
}

/// The networks' traces in the world beside their files: interfaces and rules of the firewall.
#[derive(Debug, PartialEq, Eq)]
struct World {
    links: Vec<String>,
    rules: Vec<String>,
    files: Vec<PathBuf>,
}

fn world(node: &Node) -> World {
    let links = on_host(node, &["ip", "-o", "link"]).ok();
    // Their state changes by itself.
    let names = links.lines().filter_map(|line| line.split_whitespace().nth(1));
    let mut rules: Vec<String> = Vec::new();
    for table in ["nat", "filter"] {
        let text = on_host(node, &["iptables", "-t", table, "-S"]).ok();
        rules.extend(text.lines().map(|rule| format!("{table} {rule}")));
    }
    // Chains that all containers share are made once.
    rules.retain(|rule| rule.contains("id: ") || rule.contains("CNI-DN-"));
    let (mut links, mut files): (Vec<String>, _) = (names.map(str::to_owned).collect(), node.networks());
    links.sort();
    rules.sort();
    files.sort();
    World { links, rules, files }
}

/// The bridge is there from the first container on, until its network is removed.
fn nothing_of(mut world: World) -> bool {
    world.links.retain(|link| !link.starts_with("isula-br") && link != "lo:");
    world == World { links: vec![], rules: vec![], files: vec![] }
}

#[track_caller]
fn all_given_back(node: &Node) {
    let mut last = None;
    let holds = || {
        let now = world(node);
        let done =
            now.files.is_empty() && now.rules.is_empty() && now.links.iter().all(|link| !link.starts_with("veth"));
        last = Some(now);
        done
    };
    deadline::until("all is given back", holds);
    let last = last.expect("it was looked at");
    assert!(nothing_of(last), "left behind: {:?}", world(node));
}

fn verbs(events: &[Event], id: &str) -> Vec<String> {
    let of = events.iter().filter(|event| event.id == id && event.name.starts_with("Network"));
    of.map(|event| event.name.clone()).collect()
}

/// Everything is removed, also the network, and its bridge with it.
#[track_caller]
fn clean_end(node: &Node) {
    node.verified();
    node.remove_all();
    // A network that a plugin has not given back yet is refused; foreign networks always are.
    deadline::until("only the links of others are left", || {
        for network in node.ok(&["network", "ls", "-q"]).lines() {
            let _ = node.isula(&["network", "rm", network]);
        }
        world(node).links == ["lo:"]
    });
    all_given_back(node);
    node.assert_clean_end();
}
