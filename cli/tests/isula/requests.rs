//! Which request a command line becomes.

use cri_api::isula::v1::*;

use super::daemon::{Daemon, ID, Script};
use super::{Outcome, bare, isula, outcome, play};

fn asked(words: &[&str]) -> Vec<String> {
    play(Script::default(), words).1
}

#[test]
fn commands_on_containers() {
    let container = || "c".to_owned();
    let cases: Vec<(&[&str], String)> = vec![
        (&["start", "c"], format!("Start {:?}", StartRequest { container: container() })),
        (&["stop", "c"], format!("Stop {:?}", StopRequest { container: container(), timeout: None, force: false })),
        (
            &["stop", "-ft3", "c"],
            format!("Stop {:?}", StopRequest { container: container(), timeout: Some(3), force: true }),
        ),
        (
            &["stop", "c", "-t", "0"],
            format!("Stop {:?}", StopRequest { container: container(), timeout: Some(0), force: false }),
        ),
        (
            &["restart", "--time=5", "c"],
            format!("Restart {:?}", RestartRequest { container: container(), timeout: Some(5) }),
        ),
        (&["kill", "c"], format!("Kill {:?}", KillRequest { container: container(), signal: String::new() })),
        (
            &["kill", "-s", "TERM", "c"],
            format!("Kill {:?}", KillRequest { container: container(), signal: "TERM".into() }),
        ),
        (&["pause", "c"], format!("Pause {:?}", ContainerRequest { container: container() })),
        (&["unpause", "c"], format!("Unpause {:?}", ContainerRequest { container: container() })),
        (
            &["rm", "-fv", "c"],
            format!("Remove {:?}", RemoveRequest { container: container(), force: true, volumes: true }),
        ),
        (&["rename", "c", "d"], format!("Rename {:?}", RenameRequest { container: container(), name: "d".into() })),
        (&["wait", "c"], format!("Wait {:?}", ContainerRequest { container: container() })),
    ];
    for (words, wanted) in cases {
        assert_eq!(asked(words), [wanted], "{words:?}");
    }
}

#[test]
fn listings() {
    let filter = |key: &str, value: &str| Filter { key: key.into(), value: value.into() };
    let list = |all, last, filters| format!("List {:?}", ListRequest { all, last, filters, labels: false });
    assert_eq!(asked(&["ps"]), [list(false, 0, vec![])]);
    assert_eq!(asked(&["ps", "-a"]), [list(true, 0, vec![])]);
    assert_eq!(asked(&["ps", "-l"]), [list(false, 1, vec![])]);
    assert_eq!(asked(&["ps", "-n", "-1"]), [list(false, 0, vec![])]);
    assert_eq!(
        asked(&["ps", "-n", "3", "-f", "name=x", "--filter=label=a=b"]),
        [list(false, 3, vec![filter("name", "x"), filter("label", "a=b")])]
    );
    for (format, labels) in [("{{.ID}} {{.Labels}}", true), ("json", true), ("{{.ID}}", false)] {
        let request = ListRequest { labels, ..ListRequest::default() };
        assert_eq!(asked(&["ps", "--format", format]), [format!("List {request:?}")], "{format}");
    }
    let request = |since_time, since_seq, until_seq, filters| EventsRequest {
        follow: true,
        since_time,
        since_seq,
        until_seq,
        filters,
        ..EventsRequest::default()
    };
    assert_eq!(
        asked(&["events", "-f", "-S", "seq:7", "-U=seq:9", "-n", "web", "--filter", "event=die"]),
        [format!("Events {:?}", request(0, 7, 9, vec![filter("container", "web"), filter("event", "die")]))]
    );
    assert_eq!(
        asked(&["events", "-f", "--since", "2"]),
        [format!("Events {:?}", request(2_000_000_000, 0, 0, vec![]))]
    );
    let logs = |follow, tail, since, until| {
        let timestamps = follow;
        format!("Logs {:?}", LogsRequest { container: "c".into(), follow, tail, since, until, timestamps })
    };
    assert_eq!(asked(&["logs", "c"]), [logs(false, None, 0, 0)]);
    assert_eq!(
        asked(&["logs", "-ft", "--tail", "5", "--since=1", "--until=2.5", "c"]),
        [logs(true, Some(5), 1_000_000_000, 2_500_000_000)]
    );
    assert_eq!(asked(&["logs", "--tail=all", "c"]), [logs(false, None, 0, 0)]);
}

#[test]
fn run_and_create_send_the_same() {
    let flags = ["-tid", "--name", "web", "-e", "A=1", "--external-rootfs=/r", "none", "ls", "-l", "--name"];
    let wanted = CreateRequest {
        name: "web".into(),
        rootfs: "/r".into(),
        command: vec!["ls".into(), "-l".into(), "--name".into()],
        env: vec!["A=1".into()],
        tty: true,
        open_stdin: true,
        resources: Some(Resources::default()),
        ..CreateRequest::default()
    };
    let run: Vec<&str> = [&["run"], &flags[..]].concat();
    let (ended, asked) = play(Script::default(), &run);
    assert_eq!(ended, Outcome::of(0, &format!("{ID}\n"), ""));
    assert_eq!(asked, [format!("Run {wanted:?}")]);

    let create: Vec<&str> = [&["create", "-ti"], &flags[1..]].concat();
    let (ended, asked) = play(Script { warnings: vec!["careful".into()], ..Script::default() }, &create);
    assert_eq!(ended, Outcome::of(0, &format!("{ID}\n"), "WARNING: careful\n"));
    assert_eq!(asked, [format!("Create {:?}", CreateRequest { stdin_once: true, ..wanted })]);
}

#[test]
fn the_host_is_taken_from_anywhere() {
    let daemon = Daemon::start(Script::default());
    let host = daemon.host();
    for words in [
        &["-H", &host, "ps", "-q"][..],
        &["ps", "-q", "-H", &host],
        &["ps", &format!("--host={host}"), "-q"],
        &[&format!("-H={host}"), "ps", "-q"],
    ] {
        assert_eq!(outcome(bare().args(words)), Outcome::of(0, "", ""), "{words:?}");
    }
    let elsewhere = outcome(isula(&daemon).args(["ps", "-H", "unix:///no/such/socket"]));
    assert_eq!(elsewhere.code, Some(1));
    // After the image the words are the container's.
    assert_eq!(outcome(isula(&daemon).args(["run", "-d", "x", "curl", "-H", "a"])).code, Some(0));
}
