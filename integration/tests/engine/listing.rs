//! `ps` and `inspect`: the states and details of containers.

use integration::{Node, Runtime};

#[test]
fn filters() {
    let node = Node::start(Runtime::Runc);
    node.create(&["--name", "old", "--label", "tier=db"], &["true"]);
    node.run_detached(&["--name", "dead", "--label", "tier=web"], &["sh", "-c", "exit 3"]);
    assert_eq!(node.wait("dead"), Some(3));
    node.run_detached(&["--name", "live", "--label", "tier=web", "--label", "mark"], &["sleep", "100000"]);
    let names = |words: &[&str]| {
        let mut names: Vec<String> =
            node.ok(&[&["ps", "--format", "{{.Names}}"], words].concat()).lines().map(str::to_owned).collect();
        names.sort();
        names.join(" ")
    };
    for (words, wanted) in [
        (&[][..], "live"),
        (&["-a"], "dead live old"),
        (&["-a", "-f", "label=tier=web"], "dead live"),
        (&["-a", "-f", "label=mark"], "live"),
        (&["-a", "-f", "label=tier=web", "-f", "label=tier=db"], "dead live old"),
        (&["-a", "-f", "label=tier=web", "-f", "name=dea"], "dead"),
        (&["-f", "status=exited"], "dead"),
        (&["-f", "status=created"], "old"),
        (&["-f", "status=inited", "-f", "status=running"], "live old"),
        (&["-f", "exited=3"], "dead"),
        (&["-f", "exited=4"], ""),
        (&["-a", "-f", "before=live"], "dead old"),
        (&["-a", "-f", "since=old"], "dead live"),
        (&["-n", "2"], "dead live"),
        (&["-l"], "live"),
    ] {
        assert_eq!(names(words), wanted, "ps {words:?}");
    }
    let id = node.inspect("dead")["Id"].as_str().expect("an id is text").to_owned();
    assert_eq!(names(&["-a", "-f", &format!("id={}", &id[..12])]), "dead");
    assert_eq!(node.ok(&["ps", "-aq", "-f", "name=dead"]), id[..12]);
    assert_eq!(node.ok(&["ps", "-aq", "--no-trunc", "-f", "name=dead"]), id);
    for (flag, complaint) in [("bogus=1", "unknown key 'bogus'"), ("status", "want KEY=VALUE")] {
        assert!(node.isula(&["ps", "-f", flag]).refused(125).contains(complaint));
    }
    assert!(node.isula(&["ps", "-f", "status=bogus"]).refused(1).contains("status: bogus"));
    let table = node.ok(&["ps", "-a"]);
    assert!(table.starts_with("CONTAINER ID\tIMAGE"), "{table}");
    assert!(table.contains("Exited (3)") && table.contains("Up "), "{table}");
    node.assert_clean_end();
}

#[test]
fn inspected() {
    let node = Node::start(Runtime::Runc);
    let flags = ["--name", "i", "-e", "A=b", "-h", "box", "-m", "64m", "--label", "k=v", "-v", "/tmp:/host:ro"];
    let id = node.run_detached(&flags, &["sleep", "100000"]);
    let found = node.inspect("i");
    for key in [
        "Id",
        "Created",
        "Path",
        "Args",
        "State",
        "Resources",
        "Image",
        "ResolvConfPath",
        "HostnamePath",
        "HostsPath",
        "LogPath",
        "Name",
        "RestartCount",
        "MountLabel",
        "ProcessLabel",
        "SeccompProfile",
        "NoNewPrivileges",
        "HostConfig",
        "GraphDriver",
        "Mounts",
        "Config",
        "NetworkSettings",
    ] {
        assert!(!found[key].is_null(), "key {key} is missing");
    }
    for key in [
        "Status",
        "Running",
        "Paused",
        "Restarting",
        "OOMKilled",
        "Pid",
        "ExitCode",
        "Error",
        "StartedAt",
        "FinishedAt",
    ] {
        assert!(!found["State"][key].is_null(), "key State.{key} is missing");
    }
    assert_eq!(found["Id"], id.as_str());
    assert_eq!((&found["Path"], &found["Args"][0]), (&"sleep".into(), &"100000".into()));
    assert_eq!(found["State"]["FinishedAt"], "0001-01-01T00:00:00Z");
    assert_eq!(found["HostConfig"]["Memory"], 64 << 20);
    assert_eq!(found["Config"]["Hostname"], "box");
    assert_eq!(found["Config"]["Labels"]["k"], "v");
    assert!(found["Config"]["Env"].as_array().is_some_and(|env| env.iter().any(|it| it == "A=b")));
    let mount = &found["Mounts"][0];
    assert_eq!(
        (&mount["Source"], &mount["Destination"], &mount["RW"]),
        (&"/tmp".into(), &"/host".into(), &false.into())
    );
    assert_eq!(node.ok(&["inspect", "-f", "{{.State.Status}} {{json .Config.Hostname}}", "i"]), "running \"box\"");
    assert_eq!(node.ok(&["inspect", "-f", "{{.Name}}", "i", "i"]), "i\ni");
    assert_eq!(node.isula(&["inspect", "i", "nobody"]).code(), 1);
    node.assert_clean_end();
}
