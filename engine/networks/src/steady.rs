//! The hardware address of a bridge. Unless it was set, a bridge has the lowest one of its ports and changes it when
//! ports come and go; then every container that has it as its gateway loses the way out until it asks again. The plugin
//! `bridge` sets it, but only with the gateway's address, and fails where the bridge has none at the moment: after an
//! ADD that has failed, the next one fails for it, and no later one tries again.

use std::path::Path;

use super::NetworkError;
use super::attach::blocking;
use super::conf::PluginConf;
use super::netlink::{self, Bridge, Mac};
use engine_host::cause::chain;

/// The plugin's default name of the bridge.
const DEFAULT: &str = "cni0";
/// NET_ADDR_SET
const SET: &str = "3";

/// Makes the bridge of this plugin, if there is one, keep the address that it has, or one that it gets here.
/// A failure is only logged: the plugin may do without.
pub(crate) async fn keep(plugin: &PluginConf) {
    let Some(name) = bridge_of(plugin).map(str::to_owned) else { return };
    let bridge = name.clone();
    if let Err(error) = blocking(move |_| set(&name).map_err(|source| NetworkError::Netlink { source })).await {
        tracing::warn!(bridge, error = chain(&error), "its hardware address may change with its ports");
    }
}

fn bridge_of(plugin: &PluginConf) -> Option<&str> {
    let given = plugin.raw.get("bridge").and_then(serde_json::Value::as_str).filter(|name| !name.is_empty());
    (plugin.kind == "bridge").then(|| given.unwrap_or(DEFAULT))
}

/// Blocks.
fn set(name: &str) -> std::io::Result<()> {
    let Some(bridge) = netlink::bridge(name)? else { return Ok(()) };
    if is_set(name, bridge) {
        return Ok(());
    }
    let mac = if bridge.mac == [0; 6] { random()? } else { bridge.mac };
    netlink::set_mac(bridge.index, mac)
}

/// Whether the address was set, as far as that can be known: `/sys` may be another namespace's.
fn is_set(name: &str, bridge: Bridge) -> bool {
    let read = |file: &str| std::fs::read_to_string(Path::new("/sys/class/net").join(name).join(file));
    let is = |file: &str, value: &str| read(file).is_ok_and(|text| text.trim() == value);
    is("ifindex", &bridge.index.to_string()) && is("addr_assign_type", SET)
}

/// A locally administered address of a single interface, which is no vendor's.
fn random() -> std::io::Result<Mac> {
    let mut mac = [0; 6];
    getrandom::fill(&mut mac).map_err(std::io::Error::other)?;
    mac[0] = (mac[0] & 0xfc) | 0x02;
    Ok(mac)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use serde_json::json;

    use super::*;

    fn ip(words: &str) {
        let output = Command::new("ip").args(words.split(' ')).output().unwrap();
        assert!(output.status.success(), "{words}: {output:?}");
    }

    fn mac() -> Mac {
        netlink::bridge("br0").unwrap().unwrap().mac
    }

    #[test]
    fn a_bridge_keeps_its_address_from_when_it_is_seen() {
        // A namespace of its own, which goes with its thread.
        let thread = std::thread::spawn(|| {
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
            set("br0").unwrap();
            ip("link add br0 type bridge");
            ip("link add port address 02:00:00:00:00:01 type veth");
            ip("link set port master br0");
            ip("link del port");
            assert_eq!(mac(), [0; 6], "as a failed ADD leaves it");
            set("br0").unwrap();
            let given = mac();
            assert_eq!(given[0] & 3, 2, "{given:?} is one of a single interface, and administered locally");
            ip("link add port address 02:00:00:00:00:01 type veth");
            ip("link set port master br0");
            set("br0").unwrap();
            assert_eq!(mac(), given);
            ip("link del port");
            assert_eq!(mac(), given);
            // A foreign bridge that follows its ports: containers know it by the address that it has.
            ip("link add br1 type bridge");
            ip("link add port address 02:00:00:00:00:02 type veth");
            ip("link set port master br1");
            set("br1").unwrap();
            ip("link del port");
            assert_eq!(netlink::bridge("br1").unwrap().unwrap().mac, [2, 0, 0, 0, 0, 2]);
        });
        thread.join().unwrap();
    }

    #[test]
    fn only_bridges_of_the_plugin_are_meant() {
        let plugin = |raw: serde_json::Value| PluginConf {
            kind: raw["type"].as_str().unwrap().to_owned(),
            capabilities: vec![],
            raw: raw.as_object().unwrap().clone(),
        };
        for (raw, name) in [
            (json!({"type":"bridge","bridge":"br7"}), Some("br7")),
            (json!({"type":"bridge"}), Some("cni0")),
            (json!({"type":"bridge","bridge":""}), Some("cni0")),
            (json!({"type":"macvlan","bridge":"br7"}), None),
        ] {
            assert_eq!(bridge_of(&plugin(raw)), name);
        }
    }
}
