//! Containers that are attached: reached, shown, stopped, started, and given back.

use std::fs::File;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use integration::{Runtime, command, deadline};

use super::{
    SERVE, address, all_given_back, clean_end, fetched, get, node, nothing_of, on_host, server, serves, settings,
    verbs, world,
};

on_each_runtime!(
    containers_reach_each_other_and_the_host_reaches_them,
    every_end_gives_the_network_back,
    the_daemon_may_die_and_the_network_stays,
    an_exit_while_the_daemon_is_away_gives_all_back,
    a_store_that_is_gone_takes_no_network_along,
    new_attachments_wait_for_recovered_ones,
    many_at_once_have_addresses_of_their_own,
    several_networks_and_an_address_that_is_asked_for,
);

fn containers_reach_each_other_and_the_host_reaches_them(runtime: Runtime) {
    let node = node(runtime);
    let before = world(&node);
    let id = server(&node, "a", &["-p", "8080:80", "-p", "127.0.0.1::80/udp", "--hostname", "web"]);
    let ip = address(&node, "a");
    serves(&node, &ip);
    assert!(fetched(&node, "127.0.0.1:8080"), "published on the loopback");
    let gateway = settings(&node, "a")["Gateway"].as_str().expect("text").to_owned();
    assert!(fetched(&node, &format!("{gateway}:8080")), "published on every address");

    // From another container, by the address and by the port of the host.
    let (direct, published) = (get(&ip, "group"), get(&format!("{gateway}:8080"), "group"));
    let script = format!("ping -c 1 -W 5 {ip}; {direct}; {published}; cat /etc/hosts");
    let output = node.run(&["--rm", "--net", "net", "--hostname", "other"], &["sh", "-c", &script]).ok();
    assert_eq!(output.matches("extra:x:2000").count(), 2, "{output}");
    assert!(output.contains("1 packets received") && output.contains("\tother"), "{output}");

    // The shown settings are the real ones.
    let pid = node.process_of("a").pid.to_string();
    let inside = command::tool(&["nsenter", "-t", &pid, "-n", "ip", "-o", "addr", "show", "eth0"]);
    let shown = settings(&node, "a");
    assert!(inside.contains(&format!("inet {ip}/{}", shown["IPPrefixLen"])), "{inside} {shown}");
    let link = command::tool(&["nsenter", "-t", &pid, "-n", "ip", "-o", "link", "show", "eth0"]);
    assert!(link.contains(shown["MacAddress"].as_str().expect("text")), "{link} {shown}");
    assert_eq!(shown["Networks"]["net"]["IPAddress"], shown["IPAddress"]);
    assert!(on_host(&node, &["ls", shown["SandboxKey"].as_str().expect("text")]).code() == 0);
    assert_eq!(node.ok(&["port", "a", "80"]), "0.0.0.0:8080");
    let udp = node.ok(&["port", "a", "80/udp"]);
    assert!(udp.starts_with("127.0.0.1:") && udp != "127.0.0.1:0", "{udp}");
    let listed = node.list().into_iter().find(|it| it.id == id).expect("it is listed");
    assert_eq!(listed.ports, format!("0.0.0.0:8080->80/tcp, {udp}->80/udp"));
    let attached = node.events().into_iter().find(|event| event.id == id && event.name == "NetworkAttached");
    let attached = attached.expect("there is an event");
    assert_eq!(attached.attributes["network"], "net");
    assert_eq!(attached.attributes["addresses"], format!("{ip}/{}", shown["IPPrefixLen"]));

    node.ok(&["stop", "-t", "0", "a"]);
    // The stop is answered when all is given back.
    assert!(nothing_of(world(&node)), "left behind: {:?}", world(&node));
    node.event_after(0, |event| event.id == id && event.name == "NetworkDetached");
    assert!(!fetched(&node, "127.0.0.1:8080"));
    let shown = settings(&node, "a");
    assert_eq!((shown["IPAddress"].as_str(), shown["SandboxKey"].as_str()), (Some(""), Some("")));
    assert_eq!(verbs(&node.events(), &id), ["NetworkAttached", "NetworkDetached"]);
    node.ok(&["rm", "a"]);
    let mut after = world(&node);
    after.links.retain(|link| !link.starts_with("isula-br"));
    assert_eq!(after, before);
    clean_end(&node);
}

fn every_end_gives_the_network_back(runtime: Runtime) {
    let node = node(runtime);
    server(&node, "first", &["-p", "8080:80"]);
    node.ok(&["rm", "-f", "first"]);
    let descriptors = node.daemon().descriptors();
    let flags = ["--net", "net", "-p", "8080:80"];
    for round in 0..3 {
        node.run(&[&["--rm"], flags.as_slice()].concat(), &["true"]).ok();
        deadline::until("it is removed", || node.list().is_empty());
        all_given_back(&node);
        server(&node, "a", &["-p", "8080:80"]);
        serves(&node, "127.0.0.1:8080");
        node.ok(&["restart", "-t", "0", "a"]);
        serves(&node, "127.0.0.1:8080");
        assert_eq!(world(&node).files.len(), 2, "round {round}: one namespace, one address");
        node.ok(&["stop", "-t", "0", "a"]);
        all_given_back(&node);
        node.ok(&["start", "a"]);
        node.ok(&["kill", "a"]);
        node.wait("a");
        all_given_back(&node);
        node.ok(&["start", "a"]);
        node.ok(&["rm", "-f", "a"]);
        all_given_back(&node);
        // A start that fails after its network was there.
        let words = node.words("run", &[&["-d", "--name", "bad"], flags.as_slice()].concat(), &["no-such-command"]);
        node.isula(&words).refused(127);
        all_given_back(&node);
        node.ok(&["rm", "bad"]);
    }
    deadline::until("no descriptors are left", || node.daemon().descriptors() <= descriptors);
    clean_end(&node);
}

fn the_daemon_may_die_and_the_network_stays(runtime: Runtime) {
    let mut node = node(runtime);
    server(&node, "a", &["-p", "8080:80"]);
    serves(&node, "127.0.0.1:8080");
    let before = (settings(&node, "a"), world(&node));
    node.kill9();
    assert!(fetched(&node, "127.0.0.1:8080"), "published ports work without the daemon");
    node.launch();
    node.verified();
    assert_eq!((settings(&node, "a"), world(&node)), before);
    assert_eq!(node.ok(&["port", "a"]), "80/tcp -> 0.0.0.0:8080");
    let words = node.words("run", &["-d", "--name", "b", "--net", "net", "-p", "8080:80"], &SERVE);
    let refused = node.isula(&words).refused(125);
    assert!(refused.contains("host port 0.0.0.0:8080/tcp is already published by container"), "{refused}");
    node.ok(&["restart", "-t", "0", "a"]);
    serves(&node, "127.0.0.1:8080");
    node.kill9();
    node.launch();
    node.ok(&["rm", "-f", "a"]);
    all_given_back(&node);
    clean_end(&node);
}

fn an_exit_while_the_daemon_is_away_gives_all_back(runtime: Runtime) {
    let mut node = node(runtime);
    let id = server(&node, "a", &["-p", "8080:80"]);
    let process = node.process_of("a");
    node.kill9();
    process.signal(integration::process::Signal::KILL);
    assert!(process.wait_gone(deadline::PATIENCE));
    node.launch();
    node.verified();
    assert_eq!(node.wait("a"), Some(137));
    all_given_back(&node);
    let both = || verbs(&node.events(), &id) == ["NetworkAttached", "NetworkDetached"];
    integration::deadline::until("the journal has both events", both);
    clean_end(&node);
}

fn a_store_that_is_gone_takes_no_network_along(runtime: Runtime) {
    let mut node = node(runtime);
    let id = server(&node, "a", &["-p", "8080:80"]);
    let before = (settings(&node, "a"), world(&node));
    let attached = |node: &integration::Node| {
        let events = node.events().into_iter();
        let attached = events.filter(|event| event.id == id && event.name == "NetworkAttached");
        attached.map(|event| event.attributes).collect::<Vec<_>>()
    };
    let recorded = attached(&node);
    assert_eq!(recorded.len(), 1);
    node.kill9();
    std::fs::remove_dir_all(node.graph().join("journal")).expect("it is there");
    node.launch();
    deadline::until("it is put together again", || node.list().len() == 1);
    node.verified();
    assert_eq!((settings(&node, "a"), world(&node)), before);
    assert_eq!(node.ok(&["port", "a"]), "80/tcp -> 0.0.0.0:8080");
    assert_eq!(attached(&node), recorded);
    let words = node.words("run", &["-d", "--name", "b", "--net", "net", "-p", "8080:80"], &SERVE);
    let refused = node.isula(&words).refused(125);
    assert!(refused.contains("is already published by container"), "{refused}");
    node.ok(&["stop", "-t", "0", "a"]);
    all_given_back(&node);
    deadline::until("the journal has both events", || {
        verbs(&node.events(), &id) == ["NetworkAttached", "NetworkDetached"]
    });
    node.ok(&["start", "b"]);
    clean_end(&node);
}

fn new_attachments_wait_for_recovered_ones(runtime: Runtime) {
    let mut node = node(runtime);
    let id = server(&node, "a", &["-p", "8080:80"]);
    let record = node.bundle(&id).join("network.json");
    node.kill9();
    // A slow disk: each reader of the record waits until it is written.
    let bytes = std::fs::read(&record).expect("it is attached");
    let aside = node.dir().join("record");
    std::fs::rename(&record, &aside).expect("the node's directory is ours");
    command::tool(&["mkfifo", record.to_str().expect("text")]);
    node.launch();
    let caller = node.spawn(&node.words("run", &["-d", "--name", "b", "--net", "net", "-p", "8080:80"], &SERVE));
    deadline::until("its start is under way", || {
        node.events().iter().any(|event| event.name == "StartRequested" && event.id != id)
    });
    // Other starts are not delayed; and a start that did not wait would be done by then.
    node.run(&["--rm"], &["true"]).ok();
    let mut reader = reader_of(&record);
    std::fs::rename(&aside, &record).expect("the node's directory is ours");
    std::io::Write::write_all(&mut reader, &bytes).expect("somebody reads");
    drop(reader);
    let refused = command::finish(caller, deadline::PATIENCE).expect("it does not hang").refused(125);
    assert!(refused.contains("is already published by container"), "{refused}");
    node.verified();
    serves(&node, "127.0.0.1:8080");
    clean_end(&node);
}

/// A FIFO opened for writing, once it has a reader.
fn reader_of(fifo: &Path) -> File {
    let mut opened = None;
    let mut open = || match File::options().write(true).custom_flags(libc::O_NONBLOCK).open(fifo) {
        Err(error) if error.raw_os_error() == Some(libc::ENXIO) => false,
        file => {
            opened = Some(file.expect("the node's directory is ours"));
            true
        }
    };
    deadline::until("somebody reads", &mut open);
    opened.expect("it was opened")
}

fn many_at_once_have_addresses_of_their_own(runtime: Runtime) {
    let node = node(runtime);
    let words: Vec<_> = (0..12)
        .map(|number| {
            let name = format!("c{number}");
            node.words("run", &["-d", "--net", "net", "--name", &name, "-p", "80"], &["sleep", "100000"])
        })
        .collect();
    let callers: Vec<_> = words.iter().map(|words| node.spawn(words)).collect();
    for caller in callers {
        command::finish(caller, deadline::PATIENCE).expect("it does not hang").ok();
    }
    let unique = |of: &dyn Fn(&str) -> String| {
        let all: std::collections::BTreeSet<_> = (0..12).map(|number| of(&format!("c{number}"))).collect();
        all.len()
    };
    assert_eq!(unique(&|name| address(&node, name)), 12);
    assert_eq!(unique(&|name| node.ok(&["port", name, "80"])), 12);
    node.remove_all();
    all_given_back(&node);
    clean_end(&node);
}

fn several_networks_and_an_address_that_is_asked_for(runtime: Runtime) {
    let node = node(runtime);
    node.ok(&["network", "create", "--internal", "--subnet", "10.200.7.0/24", "inner"]);
    node.run_detached(&["--net", "inner", "--ip", "10.200.7.77", "--name", "a"], &SERVE);
    assert_eq!(address(&node, "a"), "10.200.7.77");
    assert!(!fetched(&node, "10.200.7.77"), "the host has no address in it");
    let script = format!("ip -o -4 addr; {}", get("10.200.7.77", "group"));
    node.run_detached(&["--net", "net,inner", "--name", "b", "-p", "8080:80"], &SERVE);
    let output = node.run(&["--rm", "--net", "net", "--net", "inner"], &["sh", "-c", &script]).ok();
    assert!(output.contains("eth0") && output.contains("eth1") && output.contains("extra:x:2000"), "{output}");
    serves(&node, "127.0.0.1:8080");
    let shown = settings(&node, "b");
    assert_eq!(shown["Networks"]["inner"]["Interface"], "eth1");
    assert_ne!(shown["Networks"]["inner"]["IPAddress"], shown["IPAddress"]);
    let words = node.words("run", &["-d", "--net", "inner", "--ip", "10.200.7.77"], &SERVE);
    let refused = node.isula(&words).refused(125);
    assert!(refused.contains("network inner: plugin `bridge`: ADD failed"), "{refused}");
    assert_eq!(node.run(&["--net", "inner", "--ip", "10.9.9.9"], &SERVE).code(), 125);
    clean_end(&node);
}
