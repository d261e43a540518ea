//! The hardware address of a bridge, which containers know their gateway by.

use integration::{Node, Runtime};

use super::{SERVE, address, all_given_back, clean_end, node, on_host, server, serves, settings};

on_each_runtime!(a_bridge_keeps_its_address_after_failures);

fn hardware_address(node: &Node, bridge: &str) -> String {
    let link = on_host(node, &["ip", "-o", "link", "show", bridge]).ok();
    link.split("link/ether ").nth(1).and_then(|rest| rest.split(' ').next()).expect("it has one").to_owned()
}

fn a_bridge_keeps_its_address_after_failures(runtime: Runtime) {
    let node = node(runtime);
    // The first ADD of all makes the bridge, and then there is no such address.
    let words = node.words("run", &["-d", "--rm", "--net", "net", "--ip", "10.9.9.9"], &SERVE);
    let refused = node.isula(&words).refused(125);
    assert!(refused.contains("network net: plugin `bridge`: ADD failed"), "{refused}");
    all_given_back(&node);
    let set = hardware_address(&node, "isula-br0");
    server(&node, "a", &[]);
    serves(&node, &address(&node, "a"));
    assert_eq!(hardware_address(&node, "isula-br0"), set);
    let ping = |gateway: &str| node.ok(&["exec", "a", "ping", "-c", "1", "-W", "5", gateway]);
    let gateway = settings(&node, "a")["Gateway"].as_str().expect("text").to_owned();
    // Among so many random ones are lower ones.
    for round in 0..6 {
        node.run(&["--rm", "--net", "net"], &["true"]).ok();
        assert_eq!(hardware_address(&node, "isula-br0"), set, "round {round}");
        ping(&gateway);
    }
    // A bridge of a foreign maker follows its ports until it is seen here.
    let made = "ip link add other type bridge && ip link set other up && ip link add port type veth && ip link set port master other";
    on_host(&node, &["sh", "-c", made]).ok();
    let list = std::fs::read_to_string(node.dir().join("cni/isulacni-net.conflist")).expect("it was made");
    let list = list.replace("isula-br0", "other").replace(r#""name": "net""#, r#""name": "theirs""#);
    let list = list.replace("10.187.0.", "10.210.0.");
    std::fs::write(node.dir().join("cni/20-theirs.conflist"), list).expect("the node's directory is ours");
    let before = hardware_address(&node, "other");
    node.run_detached(&["--net", "theirs", "--name", "b"], &SERVE);
    on_host(&node, &["ip", "link", "del", "port"]).ok();
    assert_eq!(hardware_address(&node, "other"), before);
    serves(&node, &address(&node, "b"));
    node.ok(&["rm", "-f", "b"]);
    assert_eq!(hardware_address(&node, "other"), before);
    on_host(&node, &["ip", "link", "del", "other"]).ok();
    std::fs::remove_file(node.dir().join("cni/20-theirs.conflist")).expect("it is there");
    clean_end(&node);
}
