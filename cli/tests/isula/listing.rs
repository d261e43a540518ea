//! The output of lists, byte by byte.

use std::time::{SystemTime, UNIX_EPOCH};

use cri_api::isula::v1::*;

use super::daemon::Script;
use super::{Outcome, play};

fn nanos_ago(seconds: i64) -> i64 {
    let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos()).unwrap();
    now - seconds * 1_000_000_000
}

fn containers() -> Script {
    // Ages in the middle of their unit: the words do not depend on how long the test takes.
    let hours = |count: i64| nanos_ago(count * 3600 + 1800);
    let web = ContainerSummary {
        id: "a".repeat(64),
        name: "web".into(),
        image: "none".into(),
        command: "/bin/httpd -f -p 80 --verbose".into(),
        runtime: "runc".into(),
        state: "running".into(),
        created_at: hours(5),
        started_at: hours(3),
        pid: 4242,
        labels: [("b".into(), "2".into()), ("a".into(), "1".into())].into(),
        ..ContainerSummary::default()
    };
    let job = ContainerSummary {
        id: "b".repeat(64),
        name: "job".into(),
        image: "busybox".into(),
        command: "true".into(),
        state: "exited".into(),
        created_at: hours(6),
        started_at: hours(2),
        finished_at: hours(2),
        exit: Some(ExitStatus { code: Some(7), ..ExitStatus::default() }),
        ..ContainerSummary::default()
    };
    Script { containers: vec![web, job], ..Script::default() }
}

#[test]
fn ps() {
    let wanted = "CONTAINER ID\tIMAGE  \tCOMMAND               \tCREATED    \tSTATUS                \tPORTS\tNAMES\n\
                  bbbbbbbbbbbb\tbusybox\t\"true\"                \t6 hours ago\tExited (7) 2 hours ago\t     \tjob  \n\
                  aaaaaaaaaaaa\tnone   \t\"/bin/httpd -f -p ...\"\t5 hours ago\tUp 3 hours            \t     \tweb  \n";
    assert_eq!(play(containers(), &["ps", "-a"]).0, Outcome::of(0, wanted, ""));
    // The daemon's order stays where it was asked for one.
    assert_eq!(play(containers(), &["ps", "-n", "2", "--format", "{{.Names}}"]).0, Outcome::of(0, "web\njob\n", ""));
    assert_eq!(play(containers(), &["ps", "-q"]).0, Outcome::of(0, "bbbbbbbbbbbb\naaaaaaaaaaaa\n", ""));
    let format = r"table {{.Names}}\t{{.Pid}}\t{{.ExitCode}}\t{{.Labels}}\t{{.Runtime}}";
    let wanted = "NAMES\tPID \tEXIT_CODE\tLABELS \tRUNTIME\njob  \t-   \t7        \t       \t-      \nweb  \t4242\t0        \ta=1,b=2\trunc   \n";
    assert_eq!(play(containers(), &["ps", "--format", format]).0, Outcome::of(0, wanted, ""));
    let empty = "CONTAINER ID\tIMAGE\tCOMMAND\tCREATED\tSTATUS\tPORTS\tNAMES\n";
    assert_eq!(play(Script::default(), &["ps"]).0, Outcome::of(0, empty, ""));
}

#[test]
fn inspect() {
    let details = [
        ("web".to_owned(), r#"{"Id":"aa","State":{"Pid":42,"Running":true},"Name":"web"}"#.to_owned()),
        ("job".to_owned(), r#"{"Id":"bb","State":{"Pid":0,"Running":false},"Name":"job"}"#.to_owned()),
    ];
    let script = Script { details: details.into(), ..Script::default() };
    let missing = "Error response from daemon: No such image or container or accelerator:gone\n";
    let (ended, _) =
        play(script.clone(), &["inspect", "-f", "{{.State.Pid}} {{.Name}} {{json .State}}", "web", "gone", "job"]);
    let wanted = "42 web {\"Pid\":42,\"Running\":true}\n0 job {\"Pid\":0,\"Running\":false}\n";
    assert_eq!(ended, Outcome::of(1, wanted, missing));
    let wanted = "[\n    {\n        \"Id\": \"bb\",\n        \"State\": {\n            \"Pid\": 0,\n            \"Running\": false\n        },\n        \"Name\": \"job\"\n    }\n]\n";
    assert_eq!(play(script.clone(), &["inspect", "job"]).0, Outcome::of(0, wanted, ""));
    assert_eq!(play(script.clone(), &["inspect", "gone"]).0, Outcome::of(1, "", missing));
    let unknown = "web: template error: there is no field .State.Bogus\n";
    assert_eq!(play(script, &["inspect", "-f={{.State.Bogus}}", "web"]).0, Outcome::of(1, "", unknown));
}

#[test]
fn logs_keep_streams_and_bytes() {
    let piece = |stderr, text: &[u8]| LogPiece { stderr, text: text.into() };
    let logs = vec![piece(false, b"out\r\n"), piece(true, b"err\n"), piece(false, b"no newline")];
    let script = Script { logs, ..Script::default() };
    assert_eq!(play(script, &["logs", "c"]).0, Outcome::of(0, "out\r\nno newline", "err\n"));
}

#[test]
fn events() {
    let event = Event {
        seq: 3,
        time: 1_136_214_245_000_000_000,
        kind: "container".into(),
        verb: "start".into(),
        id: "aa".into(),
        attributes: [("pid".into(), "42".into()), ("image".into(), "none".into())].into(),
        ..Event::default()
    };
    let script = Script { events: vec![event], ..Script::default() };
    let wanted = "2006-01-02T15:04:05.000000000Z container start aa (image=none, pid=42)\n";
    assert_eq!(play(script.clone(), &["events"]).0, Outcome::of(0, wanted, ""));
    let json = play(script, &["events", "--format", "json"]).0.stdout;
    assert!(json.starts_with("{\"seq\":3,\"time\":\"2006-01-02T15:04:05.000000000Z\""), "{json}");
    assert_eq!(json.lines().count(), 1);
}

#[test]
fn confirmations() {
    for verb in ["stop", "kill", "restart", "pause", "unpause", "rm"] {
        assert_eq!(play(Script::default(), &[verb, "a", "b"]).0, Outcome::of(0, "a\nb\n", ""), "{verb}");
    }
    assert_eq!(play(Script::default(), &["start", "a", "b"]).0, Outcome::of(0, "", ""));
    assert_eq!(play(Script::default(), &["rename", "a", "b"]).0, Outcome::of(0, "", ""));
    let waited = |code| Script { waited: ExitStatus { code, ..ExitStatus::default() }, ..Script::default() };
    assert_eq!(play(waited(Some(7)), &["wait", "a"]).0, Outcome::of(0, "7\n", ""));
    assert_eq!(play(waited(None), &["wait", "a"]).0, Outcome::of(0, "unknown\n", ""));
}

#[test]
fn info_and_version() {
    let info = InfoResponse {
        containers: 3,
        running: 1,
        paused: 0,
        stopped: 2,
        server_version: "1.2.3".into(),
        storage_driver: "overlay2".into(),
        logging_driver: "json-file".into(),
        cgroup_driver: "cgroupfs".into(),
        cgroup_version: "2".into(),
        kernel_version: "6.18.0".into(),
        operating_system: "Debian".into(),
        architecture: "x86_64".into(),
        cpus: 2,
        total_memory: 8 << 30,
        name: "box".into(),
        root_dir: "/var/lib/isulad".into(),
        state_dir: "/var/run/isulad".into(),
        default_runtime: "runc".into(),
        runtimes: vec!["crun".into(), "runc".into()],
        journal_seq: 77,
        images: 3,
        image_bytes: 3 << 29,
        volumes: 2,
        registry_mirrors: vec!["https://m".into(), "http://n".into()],
        insecure_registries: vec!["10.0.0.0/8".into()],
        warnings: vec!["no swap limit".into()],
        ..InfoResponse::default()
    };
    let wanted = "Containers: 3\n Running: 1\n Paused: 0\n Stopped: 2\nImages: 3\n Size: 1.500GB\nVolumes: 2\nServer Version: 1.2.3\n\
                  Storage Driver: overlay2\nLogging Driver: json-file\nCgroup Driver: cgroupfs\nCgroup Version: 2\n\
                  Runtimes: crun runc\nDefault Runtime: runc\nKernel Version: 6.18.0\nOperating System: Debian\n\
                  OSType: Linux\nArchitecture: x86_64\nCPUs: 2\nTotal Memory: 8 GB\nName: box\n\
                  iSulad Root Dir: /var/lib/isulad\niSulad State Dir: /var/run/isulad\nJournal Sequence: 77\n\
                  Registry Mirrors:\n https://m\n http://n\nInsecure Registries:\n 10.0.0.0/8\n";
    assert_eq!(
        play(Script { info, ..Script::default() }, &["info"]).0,
        Outcome::of(0, wanted, "WARNING: no swap limit\n")
    );

    let version = play(Script::default(), &["version"]).0;
    let own = env!("CARGO_PKG_VERSION");
    assert!(version.stdout.starts_with(&format!("Client:\n  Version:\t{own}\n  Git commit:\t")), "{version:?}");
    let server = "\nOCI config:\n  Version:\t1.0.1\n  Default file:\t/etc/default/isulad/config.json\n\n\
                  Server:\n  Version:\t9.8.7\n  Git commit:\tabc\n  Built:\tunknown\n  API version:\tv1\n";
    assert!(version.stdout.ends_with(server), "{version:?}");
}
