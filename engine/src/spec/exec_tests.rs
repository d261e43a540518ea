use std::fs;

use super::*;
use crate::spec::tests::definition;

const SPEC: &str = r#"{"ociVersion":"1.0.2","root":{"path":"/r"},"process":{"terminal":true,
    "user":{"uid":1000,"gid":1000,"additionalGids":[5]},"args":["sh"],"cwd":"/srv",
    "env":["PATH=/bin","TERM=xterm","HOME=/home/a","A=1","B=2"],
    "capabilities":{"bounding":["CAP_CHOWN","CAP_KILL"],"effective":[],"permitted":[]},
    "rlimits":[{"type":"RLIMIT_NOFILE","soft":5,"hard":6}],"noNewPrivileges":true,"oomScoreAdj":7}}"#;

fn root() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir_all(root.path().join("etc")).unwrap();
    fs::create_dir_all(root.path().join("work")).unwrap();
    fs::write(root.path().join("etc/passwd"), "root:x:0:0::/root:\nweb:x:33:34::/var/www:\n").unwrap();
    fs::write(root.path().join("etc/group"), "web:x:34:\nlog:x:40:web\n").unwrap();
    root
}

fn program() -> Program {
    Program { args: vec!["/bin/true".into()], ..Program::default() }
}

fn made(program: &Program, size: Option<(u16, u16)>) -> Result<Value, SpecError> {
    let host = Host::probe().unwrap();
    let json = exec(SPEC.as_bytes(), &definition(), &host, root().path(), program, size)?;
    Ok(serde_json::from_slice(&json).unwrap())
}

#[test]
fn unset_values_are_the_containers_own() {
    let process = made(&program(), None).unwrap();
    assert_eq!(process["args"], json!(["/bin/true"]));
    assert_eq!(process["terminal"], json!(false));
    assert_eq!(process.get("consoleSize"), None);
    assert_eq!(process["cwd"], "/srv");
    assert_eq!(process["user"], json!({"uid": 1000, "gid": 1000, "additionalGids": [5]}));
    assert_eq!(process["env"], json!(["PATH=/bin", "HOME=/home/a", "A=1", "B=2"]), "no terminal, no TERM");
    let bound = ["CAP_CHOWN", "CAP_KILL"];
    let sets = json!({"bounding": bound, "effective": [], "permitted": bound});
    assert_eq!(process["capabilities"], sets);
    assert_eq!(process["rlimits"][0]["hard"], 6);
    assert_eq!((&process["noNewPrivileges"], &process["oomScoreAdj"]), (&json!(true), &json!(7)));
}

#[test]
fn a_long_environment_is_merged_in_linear_time() {
    let growth = crate::latest::cost::growth(40_000, |count| {
        let env = (0..count).map(|n| format!("NAME{n}=x")).collect();
        let process = made(&Program { env, ..program() }, None).unwrap();
        assert_eq!(process["env"].as_array().unwrap().len(), count + 4);
    });
    assert!(growth < 10.0, "{growth}");
}

#[test]
fn given_values_replace_in_place() {
    let program = Program {
        env: vec!["A=9".into(), "C=3".into(), "A=10".into()],
        user: "web".into(),
        workdir: "/work".into(),
        tty: true,
        ..program()
    };
    let process = made(&program, Some((80, 24))).unwrap();
    assert_eq!(process["env"], json!(["PATH=/bin", "HOME=/var/www", "A=10", "B=2", "TERM=xterm", "C=3"]));
    assert_eq!(process["user"], json!({"uid": 33, "gid": 34, "additionalGids": [34, 40]}));
    assert_eq!(process["cwd"], "/work");
    assert_eq!(process["consoleSize"], json!({"width": 80, "height": 24}));
}

#[test]
fn root_holds_its_bounding_set_and_privileged_holds_all() {
    let root = made(&Program { user: "0".into(), ..program() }, None).unwrap();
    assert_eq!(root["capabilities"]["effective"], json!(["CAP_CHOWN", "CAP_KILL"]));
    let privileged = made(&Program { user: "root".into(), privileged: true, ..program() }, None).unwrap();
    let host = Host::probe().unwrap();
    let all: Vec<_> = (host.known_capabilities & host.capabilities).names().collect();
    assert_eq!(privileged["capabilities"]["permitted"], json!(all));
    let other = made(&Program { privileged: true, ..program() }, None).unwrap();
    assert_eq!(other["capabilities"]["effective"], json!([]));
    assert_eq!(other["capabilities"]["bounding"], json!(all));
}

#[test]
fn a_home_that_the_container_was_made_with_stays() {
    let mut definition = definition();
    definition.process.env = vec!["HOME=/opt".into(), "TERM=dumb".into()];
    let spec = SPEC.replace("HOME=/home/a", "HOME=/opt").replace("TERM=xterm", "TERM=dumb");
    let program = Program { user: "web".into(), ..program() };
    let host = Host::probe().unwrap();
    let json = exec(spec.as_bytes(), &definition, &host, root().path(), &program, None).unwrap();
    let process: Value = serde_json::from_slice(&json).unwrap();
    assert_eq!(process["env"], json!(["PATH=/bin", "TERM=dumb", "HOME=/opt", "A=1", "B=2"]));
}

#[test]
fn invalid_programs_are_refused() {
    let refused = |program: Program| crate::cause::chain(&made(&program, None).unwrap_err());
    assert_eq!(refused(Program::default()), "no command specified");
    assert_eq!(refused(Program { args: vec![String::new()], ..program() }), "no command specified");
    assert!(refused(Program { user: "nobody".into(), ..program() }).contains("no user `nobody`"));
    assert!(refused(Program { workdir: "work".into(), ..program() }).contains("needs to be an absolute path"));
    for workdir in ["/none", "/etc/passwd"] {
        let text = refused(Program { workdir: workdir.into(), ..program() });
        assert!(text.starts_with(&format!("cannot use the working directory `{workdir}` of the container")), "{text}");
    }
}
