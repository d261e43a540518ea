//! The result of a plugin's ADD, in the shapes of all versions that are spoken.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The parts of a result that the engine reads; the rest is passed on as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Attached {
    pub addresses: Vec<Address>,
    /// The addresses of the interface in the namespace.
    pub mac: Option<String>,
    pub dns: Dns,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    pub ip: IpAddr,
    pub prefix: u8,
    pub gateway: Option<IpAddr>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dns {
    #[serde(default)]
    pub nameservers: Vec<String>,
    #[serde(default)]
    pub search: Vec<String>,
    #[serde(default)]
    pub options: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wire {
    #[serde(default)]
    interfaces: Option<Vec<Interface>>,
    #[serde(default)]
    ips: Option<Vec<Ip>>,
    #[serde(default)]
    dns: Option<Dns>,
}

#[derive(Debug, Deserialize)]
struct Interface {
    #[serde(default)]
    name: String,
    #[serde(default)]
    mac: String,
    #[serde(default)]
    sandbox: String,
}

#[derive(Debug, Deserialize)]
struct Ip {
    address: String,
    #[serde(default)]
    gateway: Option<String>,
    #[serde(default)]
    interface: Option<usize>,
}

/// More addresses or interfaces than this are nonsense.
const LIMIT: usize = 256;

impl Attached {
    /// Parses a result. An `Err` is the fault in it.
    pub fn of(result: &Value, ifname: &str) -> Result<Self, String> {
        if !result.is_object() {
            return Err("it is not an object".to_owned());
        }
        let wire = Wire::deserialize(result).map_err(|error| error.to_string())?;
        let interfaces = wire.interfaces.unwrap_or_default();
        let ips = wire.ips.unwrap_or_default();
        if ips.len() > LIMIT || interfaces.len() > LIMIT {
            return Err(format!("it has more than {LIMIT} addresses or interfaces"));
        }
        let inside = |interface: &Interface| !interface.sandbox.is_empty();
        let mut addresses = Vec::new();
        for ip in ips {
            // An address of the host's side is not the container's.
            if ip.interface.and_then(|index| interfaces.get(index)).is_some_and(|interface| !inside(interface)) {
                continue;
            }
            addresses.push(address(&ip)?);
        }
        let own = interfaces.iter().filter(|interface| inside(interface)).find(|interface| interface.name == ifname);
        let mac = own.map(|interface| interface.mac.clone()).filter(|mac| is_mac(mac));
        let mut dns = wire.dns.unwrap_or_default();
        dns.nameservers.retain(|server| server.parse::<IpAddr>().is_ok());
        for words in [&mut dns.search, &mut dns.options] {
            words.retain(|word| is_word(word));
        }
        Ok(Self { addresses, mac, dns })
    }
}

fn address(ip: &Ip) -> Result<Address, String> {
    let wrong = || format!("`{}` is not an address with a prefix", ip.address.escape_default());
    let (text, prefix) = ip.address.split_once('/').ok_or_else(wrong)?;
    let parsed: IpAddr = text.parse().map_err(|_| wrong())?;
    let longest = if parsed.is_ipv4() { 32 } else { 128 };
    let prefix = prefix.parse::<u8>().ok().filter(|prefix| *prefix <= longest).ok_or_else(wrong)?;
    let gateway = match ip.gateway.as_deref() {
        None | Some("") => None,
        Some(text) => {
            Some(text.parse().map_err(|_| format!("the gateway `{}` is not an address", text.escape_default()))?)
        }
    };
    Ok(Address { ip: parsed, prefix, gateway })
}

fn is_mac(text: &str) -> bool {
    !text.is_empty() && text.len() <= 64 && text.bytes().all(|b| b.is_ascii_hexdigit() || b == b':')
}

/// Whether the text can be a word of a line in resolv.conf.
fn is_word(text: &str) -> bool {
    !text.is_empty() && text.len() <= 255 && !text.contains(|c: char| c.is_whitespace() || c.is_control())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn results_of_old_and_new_versions_parse_to_the_same() {
        let interfaces =
            json!([{"name":"br","mac":"aa:bb"},{"name":"eth0","mac":"02:42:0a","sandbox":"/var/run/netns/x"}]);
        for ip in [
            json!({"version":"4","interface":1,"address":"10.1.0.2/16","gateway":"10.1.0.1"}),
            json!({"interface":1,"address":"10.1.0.2/16","gateway":"10.1.0.1"}),
        ] {
            let result = json!({"cniVersion":"1.0.0","interfaces":interfaces,"ips":[ip],"dns":{}});
            let attached = Attached::of(&result, "eth0").unwrap();
            let address =
                Address { ip: "10.1.0.2".parse().unwrap(), prefix: 16, gateway: Some("10.1.0.1".parse().unwrap()) };
            assert_eq!((attached.addresses, attached.mac.as_deref()), (vec![address], Some("02:42:0a")));
        }
    }

    #[test]
    fn a_result_may_be_empty_but_not_wrong() {
        assert_eq!(Attached::of(&json!({}), "eth0").unwrap(), Attached::default());
        assert_eq!(Attached::of(&json!({"ips":null,"interfaces":null}), "eth0").unwrap(), Attached::default());
        for result in [
            json!([]),
            json!("x"),
            json!({"ips":7}),
            json!({"ips":[{}]}),
            json!({"ips":[{"address":"10.1.0.2"}]}),
            json!({"ips":[{"address":"10.1.0.2/99"}]}),
            json!({"ips":[{"address":"x/16"}]}),
            json!({"ips":[{"address":"10.1.0.2/16","gateway":"x"}]}),
            json!({"ips": vec![json!({"address":"10.1.0.2/16"}); 300]}),
        ] {
            assert!(Attached::of(&result, "eth0").is_err(), "{result}");
        }
    }

    #[test]
    fn lines_that_could_break_a_file_are_left_out() {
        let result = json!({"dns":{"nameservers":["10.0.0.1","x\ny"],"search":["a.b","a b"],"options":["ndots:1"]}});
        let dns = Attached::of(&result, "eth0").unwrap().dns;
        assert_eq!((dns.nameservers.len(), dns.search.len(), dns.options.len()), (1, 1, 1));
    }
}
