//! Giving back where a network, its configuration or the namespace is not as it was.

use std::sync::Arc;

use super::*;
use crate::pending::{Patience, Pending};
use crate::record::Attachment;

/// A network of one plugin, with more of its configuration.
fn wanted(name: &str, ifname: &str, plugin: Value) -> Wanted {
    let conf = NetworkConf::of_list(json!({"cniVersion":"0.4.0","name":name,"plugins":[plugin]})).unwrap();
    Wanted { conf, ifname: ifname.to_owned(), ip: None }
}

fn order_of(stand: &Stand, networks: Vec<Wanted>) -> Order {
    Order { networks, ..stand.order(&["any"]) }
}

/// Writes the network's present configuration.
fn present(stand: &Stand, name: &str, plugin: Value) {
    let list = json!({"cniVersion":"0.4.0","name":name,"plugins":[plugin]});
    fs::write(stand.at(&format!("conf/{name}.conflist")), list.to_string()).unwrap();
}

/// Refuses a configuration with `wrong` in it.
fn particular(stand: &Stand, name: &str) {
    let body = format!(
        r#"case "$input" in *wrong*) echo '{{"cniVersion":"0.4.0","code":7,"msg":"it is wrong"}}'; exit 1;; esac
[ $CNI_COMMAND = ADD ] && echo '{RESULT}'; exit 0"#
    );
    stand.plugin(name, &body);
}

#[tokio::test]
async fn a_network_that_is_not_given_back_keeps_only_itself() {
    let stand = Stand::new();
    stand.good("good");
    stand.plugin("bad", &format!("[ $CNI_COMMAND = ADD ] && echo '{RESULT}'"));
    let networks = [("one", "good"), ("two", "bad"), ("three", "good")];
    let networks = networks
        .iter()
        .enumerate()
        .map(|(index, (name, kind))| wanted(name, &format!("eth{index}"), json!({"type":kind})));
    let order = order_of(&stand, networks.collect());
    attach(&stand.settings(), &stand.first_runs, &stand.place(), order).await.unwrap();
    stand.log();
    let error = detach(&stand.settings(), &stand.place(), None).await.unwrap_err();
    assert!(chain(&error).starts_with("network two: plugin `bad`: DEL ended"), "{}", chain(&error));
    assert_eq!(stand.log(), ["good DEL eth2 there", "bad DEL eth1 there", "good DEL eth0 there"]);
    let left = Record::read(&stand.place().record).unwrap().unwrap();
    assert_eq!(left.networks.iter().map(|it| it.network.as_str()).collect::<Vec<_>>(), ["two"]);
    let pending = Arc::new(Pending::new(stand.at("pending"), Arc::default()));
    pending.put_off(&stand.settings(), &stand.place(), "abc", chain(&error)).await.unwrap();
    assert!(pending.users("one").is_empty() && pending.users("three").is_empty(), "they can be removed");
    assert_eq!(pending.users("two").len(), 1);
    // A network that is given back is not given back again.
    stand.good("bad");
    until("it is not tried again", || pending.warnings().is_empty()).await;
    assert!(stand.log().iter().all(|call| call.starts_with("bad DEL eth1")));
    stand.assert_nothing_left();
}

#[tokio::test]
async fn a_failed_attachment_is_given_back_by_the_mended_configuration() {
    let stand = Stand::new();
    particular(&stand, "one");
    let order = order_of(&stand, vec![wanted("net", "eth0", json!({"type":"one","ipam":{"type":"wrong"}}))]);
    attach(&stand.settings(), &stand.first_runs, &stand.place(), order).await.unwrap_err();
    detach(&stand.settings(), &stand.place(), None).await.unwrap_err();
    // Another network, another plugin, and the unchanged configuration are of no use.
    present(&stand, "net", json!({"type":"one","ipam":{"type":"wrong"}}));
    present(&stand, "other", json!({"type":"one"}));
    stand.log();
    let problem = chain(&detach_again(&stand.settings(), &stand.place(), 1).await.unwrap_err());
    assert_eq!(problem, "network net: plugin `one`: DEL failed: it is wrong (code 7)");
    present(&stand, "net", json!({"type":"two"}));
    detach_again(&stand.settings(), &stand.place(), 1).await.unwrap_err();
    assert_eq!(stand.log().len(), 2, "nothing else was tried");
    present(&stand, "net", json!({"type":"one","ipam":{"type":"right"}}));
    // A caller that waits gets the outcome by the configuration of the attachment alone.
    detach(&stand.settings(), &stand.place(), None).await.unwrap_err();
    stand.log();
    detach_again(&stand.settings(), &stand.place(), 1).await.unwrap();
    assert_eq!(stand.log(), ["one DEL eth0 there", "one DEL eth0 there"]);
    assert_eq!(stand.input("one", "DEL")["ipam"]["type"], "right");
    stand.assert_nothing_left();
}

/// Nothing is tried again by itself while the test looks.
const LONG: Patience =
    Patience { first_pause: Duration::from_secs(10_000), longest_pause: Duration::from_secs(10_000), attempts: 3 };

#[tokio::test]
async fn a_mended_configuration_that_works_is_tried_at_once() {
    let stand = Stand::new();
    particular(&stand, "one");
    let plugin = |ipam: &str| json!({"type":"one","ipam":{"type":ipam}});
    let order = order_of(&stand, vec![wanted("net", "eth0", plugin("wrong"))]);
    attach(&stand.settings(), &stand.first_runs, &stand.place(), order).await.unwrap_err();
    let error = detach(&stand.settings(), &stand.place(), None).await.unwrap_err();
    let pending = Arc::new(Pending::new(stand.at("pending"), Arc::default()).patient(LONG));
    pending.put_off(&stand.settings(), &stand.place(), "abc", chain(&error)).await.unwrap();
    stand.log();
    // Attachments by the known configuration, and to another network, cause no attempt.
    let mut other = Record::new("x".into(), "x".into(), stand.at("netns/isula-x"), vec![]);
    let attachment = |name: &str, ipam: &str| Attachment {
        network: name.to_owned(),
        ifname: "eth0".to_owned(),
        list: json!({"cniVersion":"0.4.0","name":name,"plugins":[plugin(ipam)]}),
        args: String::new(),
        capability_args: serde_json::Map::new(),
        result: None,
        seen: vec![],
    };
    other.networks = vec![attachment("net", "wrong"), attachment("other", "right")];
    pending.retry_changed(&other);
    present(&stand, "net", plugin("right"));
    other.networks = vec![attachment("net", "right")];
    pending.retry_changed(&other);
    until("it is not tried again", || pending.warnings().is_empty()).await;
    assert_eq!(stand.log(), ["one DEL eth0 there", "one DEL eth0 there"], "once by each configuration");
    stand.assert_nothing_left();
}

#[tokio::test]
async fn an_address_is_given_back_where_it_was_taken() {
    let stand = Stand::new();
    stand.good("one");
    let recorded = |more: &str| json!({"type":"one","ipam":{"type":"x","dataDir":"/a"},"more":more});
    let order = order_of(&stand, vec![wanted("net", "eth0", recorded("wrong"))]);
    attach(&stand.settings(), &stand.first_runs, &stand.place(), order).await.unwrap();
    particular(&stand, "one");
    let attempt = async |attempt| detach_again(&stand.settings(), &stand.place(), attempt).await;
    // Elsewhere there is no such address: a plugin would answer with success.
    present(&stand, "net", json!({"type":"one","ipam":{"type":"x","dataDir":"/b"},"more":"right"}));
    attempt(1000).await.unwrap_err();
    present(&stand, "net", recorded("right"));
    attempt(1).await.unwrap_err();
    assert!(stand.place().record.exists(), "it may be a passing trouble");
    attempt(1000).await.unwrap();
    assert_eq!(stand.input("one", "DEL")["more"], "right");
    stand.assert_nothing_left();
}

#[tokio::test]
async fn a_namespace_that_is_gone_is_replaced_for_plugins_that_masquerade() {
    let stand = Stand::new();
    stand.good("other");
    // Looks up the addresses to take back as `bridge` does.
    let body = format!(
        r#"[ $CNI_COMMAND = ADD ] && {{ echo '{RESULT}'; exit 0; }}
nsenter --net=$CNI_NETNS ip -o addr show $CNI_IFNAME >>{} 2>&1; nsenter --net=$CNI_NETNS ip link del $CNI_IFNAME; exit 0"#,
        stand.at("found").display()
    );
    stand.plugin("masq", &body);
    let networks = vec![
        wanted("one", "eth0", json!({"type":"other"})),
        wanted("two", "eth1", json!({"type":"masq","ipMasq":true})),
    ];
    let order = order_of(&stand, networks);
    let record = attach(&stand.settings(), &stand.first_runs, &stand.place(), order).await.unwrap();
    netns::remove(&record.netns).unwrap();
    stand.log();
    detach(&stand.settings(), &stand.place(), None).await.unwrap();
    assert_eq!(stand.log(), ["masq DEL eth1 there", "other DEL eth0 gone"].map(str::to_owned).to_vec());
    let found = fs::read_to_string(stand.at("found")).unwrap();
    assert!(found.contains("inet 10.7.0.2/24"), "{found}");
    stand.assert_nothing_left();
}

/// As of an ADD that has left no result, and of a DEL that ends between the interface and the rules.
#[tokio::test]
async fn an_interface_without_a_result_is_there_again_for_the_next_attempt() {
    let stand = Stand::new();
    let body = format!(
        r#"ns="nsenter --net=$CNI_NETNS"
[ $CNI_COMMAND = ADD ] && {{ $ns ip link add $CNI_IFNAME type bridge; $ns ip addr add 10.7.0.9/24 dev $CNI_IFNAME; exit 1; }}
$ns ip -o -4 addr show $CNI_IFNAME >>{0} 2>&1; $ns ip link del $CNI_IFNAME; [ $(wc -l <{0}) = 2 ]"#,
        stand.at("found").display()
    );
    stand.plugin("masq", &body);
    let order = order_of(&stand, vec![wanted("net", "eth0", json!({"type":"masq","ipMasq":true}))]);
    attach(&stand.settings(), &stand.first_runs, &stand.place(), order).await.unwrap_err();
    detach(&stand.settings(), &stand.place(), None).await.unwrap_err();
    detach_again(&stand.settings(), &stand.place(), 1).await.unwrap();
    let found = fs::read_to_string(stand.at("found")).unwrap();
    assert_eq!(found.matches("inet 10.7.0.9/24").count(), 2, "{found}");
    stand.assert_nothing_left();
}

#[tokio::test]
async fn a_plugin_that_cannot_use_the_replaced_namespace_is_asked_without_one() {
    let stand = Stand::new();
    stand.plugin("masq", &format!("[ $CNI_COMMAND = ADD ] && {{ echo '{RESULT}'; exit 0; }}; [ $ns = gone ]"));
    let order = order_of(&stand, vec![wanted("net", "eth0", json!({"type":"masq","ipMasq":true}))]);
    let record = attach(&stand.settings(), &stand.first_runs, &stand.place(), order).await.unwrap();
    netns::remove(&record.netns).unwrap();
    stand.log();
    detach(&stand.settings(), &stand.place(), None).await.unwrap();
    assert_eq!(stand.log(), ["masq DEL eth0 there", "masq DEL eth0 gone"]);
    stand.assert_nothing_left();
    // One that fails either way leaves no namespace behind, and has another one the next time.
    let order = order_of(&stand, vec![wanted("net", "eth0", json!({"type":"masq","ipMasq":true}))]);
    let record = attach(&stand.settings(), &stand.first_runs, &stand.place(), order).await.unwrap();
    netns::remove(&record.netns).unwrap();
    stand.plugin("masq", "exit 1");
    detach(&stand.settings(), &stand.place(), None).await.unwrap_err();
    assert!(!record.netns.exists());
    stand.plugin("masq", "[ $ns = there ]");
    stand.log();
    detach(&stand.settings(), &stand.place(), None).await.unwrap();
    assert_eq!(stand.log(), ["masq DEL eth0 there"]);
    stand.assert_nothing_left();
}

#[tokio::test]
async fn a_namespace_outside_of_the_configured_directory_is_neither_used_nor_unmounted() {
    let stand = Stand::new();
    stand.good("one");
    let netns = stand.attach(&["one"]).await.unwrap().netns;
    stand.log();
    let moved = Settings { netns_dir: stand.at("other"), ..stand.settings() };
    // First a DEL that fails and is given up, then one that succeeds.
    stand.plugin("one", "exit 1");
    let error = detach(&moved, &stand.place(), None).await.unwrap_err();
    assert!(netns::is_pinned(&netns), "a failed DEL");
    let patience =
        Patience { first_pause: Duration::from_millis(1), longest_pause: Duration::from_millis(2), attempts: 1 };
    let pending = Arc::new(Pending::new(stand.at("pending"), Arc::default()).patient(patience));
    pending.put_off(&moved, &stand.place(), "abc", chain(&error)).await.unwrap();
    until("it is tried for ever", || pending.warnings().iter().any(|it| it.contains("not tried again"))).await;
    until("it is still pending", || !pending.needs(&netns)).await;
    assert!(netns::is_pinned(&netns), "given up");
    fs::rename(stand.at("pending/abc-1.given-up"), stand.place().record).unwrap();
    stand.good("one");
    stand.log();
    detach(&moved, &stand.place(), None).await.unwrap();
    assert_eq!(stand.log(), ["one DEL eth0 gone"]);
    assert!(netns::is_pinned(&netns) && !stand.place().record.exists());
}

#[tokio::test]
async fn a_namespace_is_found_below_another_spelling_of_its_directory() {
    let stand = Stand::new();
    stand.good("one");
    stand.attach(&["one"]).await.unwrap();
    stand.log();
    std::os::unix::fs::symlink(stand.at("netns"), stand.at("spelled")).unwrap();
    let spelled = Settings { netns_dir: stand.at("spelled"), ..stand.settings() };
    detach(&spelled, &stand.place(), None).await.unwrap();
    assert_eq!(stand.log(), ["one DEL eth0 there"]);
    stand.assert_nothing_left();
    assert!(!spelled.may_pin(&stand.at("netns/deeper/isula-abc-1")) && !spelled.may_pin(Path::new("/")));
}
