//! Precedence of the request and the image, key by key.

use crate::image::manifest::{Execution, Healthcheck as OfImage};

use super::*;

fn texts(list: &[&str]) -> Vec<String> {
    list.iter().map(|text| (*text).to_owned()).collect()
}

fn image(execution: Execution) -> ImageForCreate {
    let config = ImageConfig { execution, ..ImageConfig::default() };
    ImageForCreate { id: Digest([1; 32]), name: "app".to_owned(), config: Arc::new(config), layers: vec![] }
}

fn merged(mut spec: ContainerSpec, execution: Execution) -> (ContainerSpec, FromImage, Vec<String>) {
    let mut warnings = Vec::new();
    let from_image = merge(&mut spec, Some(&image(execution)), &mut warnings).unwrap();
    (spec, from_image, warnings)
}

#[test]
fn long_requests_are_merged_in_linear_time() {
    let growth = crate::latest::cost::growth(40_000, |count| {
        let env = |from: usize| (from..from + count).map(|n| format!("NAME{n}=x")).collect::<Vec<_>>();
        let labels = (0..count).map(|n| (format!("l{n}"), String::new())).collect();
        let ports = (0..count).map(|n| format!("{}/tcp", n % 65_000 + 1));
        let spec = ContainerSpec { env: env(0), labels, expose: ports.collect(), ..ContainerSpec::default() };
        let (spec, from_image, _) = merged(spec, Execution { env: env(count / 2), ..Execution::default() });
        assert_eq!((spec.env.len(), from_image.exposed.len()), (count + count / 2, count.min(65_000)));
    });
    assert!(growth < 10.0, "{growth}");
}

/// All combinations of entry points and commands of image and request.
#[test]
fn entry_point_and_command() {
    // (image's entry point, image's command, request's entry point, request's command, without): executed
    type Case<'a> = (Option<&'a [&'a str]>, Option<&'a [&'a str]>, &'a [&'a str], &'a [&'a str], bool, &'a [&'a str]);
    let cases: &[Case<'_>] = &[
        (None, Some(&["sh"]), &[], &[], false, &["sh"]),
        (Some(&["e"]), Some(&["c"]), &[], &[], false, &["e", "c"]),
        (Some(&["e"]), Some(&["c"]), &[], &["mine"], false, &["e", "mine"]),
        (Some(&["e"]), Some(&["c"]), &["own"], &[], false, &["own"]),
        (Some(&["e"]), Some(&["c"]), &["own"], &["mine"], false, &["own", "mine"]),
        (Some(&["e"]), Some(&["c"]), &[], &["mine"], true, &["mine"]),
        (Some(&["e"]), Some(&["c"]), &[], &[], true, &[]),
        (Some(&[]), Some(&["c"]), &[], &[], false, &["c"]),
        (Some(&["e"]), None, &[], &[], false, &["e"]),
        (None, None, &[], &[], false, &[]),
    ];
    for (entrypoint, cmd, own_entrypoint, own_command, without, expected) in cases {
        let execution = Execution { entrypoint: entrypoint.map(texts), cmd: cmd.map(texts), ..Execution::default() };
        let spec = ContainerSpec {
            entrypoint: texts(own_entrypoint),
            command: texts(own_command),
            no_entrypoint: *without,
            ..ContainerSpec::default()
        };
        let (spec, ..) = merged(spec, execution);
        let executed = [spec.entrypoint, spec.command].concat();
        assert_eq!(executed, texts(expected), "{own_entrypoint:?} {own_command:?} {without}");
    }
}

#[test]
fn the_requests_settings_override_the_images() {
    let execution = Execution {
        user: "web".to_owned(),
        working_dir: "app".to_owned(),
        stop_signal: Some("SIGQUIT".to_owned()),
        env: texts(&["PATH=/bin", "A=image", "=x", "BROKEN"]),
        labels: [("a".to_owned(), "image".to_owned()), ("b".to_owned(), "image".to_owned())].into(),
        ..Execution::default()
    };
    let (spec, _, warnings) = merged(ContainerSpec::default(), execution.clone());
    assert_eq!((spec.user.as_str(), spec.workdir.as_str()), ("web", "/app"));
    assert_eq!(spec.stop_signal, "SIGQUIT");
    assert_eq!(spec.env, texts(&["PATH=/bin", "A=image"]));
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert!(warnings[0].contains("image app: environment variable `=x` is not KEY=VALUE"), "{warnings:?}");
    let own = ContainerSpec {
        user: "me".to_owned(),
        workdir: "/mine".to_owned(),
        stop_signal: "9".to_owned(),
        env: texts(&["B=1", "A=own"]),
        labels: [("a".to_owned(), "own".to_owned())].into(),
        ..ContainerSpec::default()
    };
    let (spec, ..) = merged(own, execution);
    assert_eq!((spec.user.as_str(), spec.workdir.as_str()), ("me", "/mine"));
    assert_eq!((spec.stop_signal.as_str(), spec.env), ("9", texts(&["PATH=/bin", "A=own", "B=1"])));
    assert_eq!((spec.labels["a"].as_str(), spec.labels["b"].as_str()), ("own", "image"));
}

#[test]
fn an_unknown_stop_signal_is_left_out() {
    let execution = Execution { stop_signal: Some("SIGNOPE".to_owned()), ..Execution::default() };
    let (spec, _, warnings) = merged(ContainerSpec::default(), execution);
    assert_eq!(spec.stop_signal, "");
    assert_eq!(warnings, ["image app: stop signal `SIGNOPE` is unknown; it is ignored"]);
}

#[test]
fn ports() {
    for (text, expected) in [
        ("80", Some("80/tcp")),
        ("53/udp", Some("53/udp")),
        ("9/SCTP", Some("9/sctp")),
        ("7000-7010", Some("7000-7010/tcp")),
        ("5-5/udp", Some("5/udp")),
        ("10-9", None),
        ("0", None),
        ("65536", None),
        ("+80", None),
        ("80/icmp", None),
        ("", None),
        ("-", None),
        ("1-2-3", None),
    ] {
        assert_eq!(port(text).as_deref(), expected, "{text:?}");
    }
    let execution = Execution { exposed_ports: ["80/tcp", "bad"].map(str::to_owned).into(), ..Execution::default() };
    let spec = ContainerSpec { expose: texts(&["80", "81"]), ..ContainerSpec::default() };
    let (_, from_image, warnings) = merged(spec, execution);
    assert_eq!(from_image.exposed, ["80/tcp", "81/tcp"]);
    assert_eq!(warnings.len(), 1);
    let mut spec = ContainerSpec { expose: texts(&["x"]), ..ContainerSpec::default() };
    assert!(merge(&mut spec, None, &mut vec![]).unwrap_err().to_string().contains("exposed port `x`"));
}

#[test]
fn volumes_are_plain_paths_and_never_the_root() {
    let volumes = |paths: &[&str]| Execution {
        volumes: paths.iter().map(|path| (*path).to_owned()).collect(),
        ..Execution::default()
    };
    let (_, from_image, _) =
        merged(ContainerSpec::default(), volumes(&["/data/", "/data", "var//lib/../db", "/a/./b"]));
    assert_eq!(from_image.volumes, ["/a/b", "/data", "/var/db"]);
    for root in ["/", "", "/..", "a/.."] {
        let error = merge(&mut ContainerSpec::default(), Some(&image(volumes(&[root]))), &mut vec![]).unwrap_err();
        assert!(error.to_string().contains("image app wants a volume at `/`"), "{error}");
    }
}

#[test]
fn an_images_health_check_is_kept_unless_disabled() {
    let check = |test: &[&str]| Execution {
        healthcheck: Some(OfImage { test: texts(test), interval: 5, timeout: 6, start_period: 7, retries: 8 }),
        ..Execution::default()
    };
    let (_, from_image, _) = merged(ContainerSpec::default(), check(&["CMD", "true"]));
    let expected = Healthcheck { test: texts(&["CMD", "true"]), interval: 5, timeout: 6, start_period: 7, retries: 8 };
    assert_eq!(from_image.healthcheck, Some(expected));
    let unwanted = ContainerSpec { no_healthcheck: true, ..ContainerSpec::default() };
    assert_eq!(merged(unwanted, check(&["CMD", "true"])).1.healthcheck, None);
    for none in [&["NONE"][..], &[]] {
        assert_eq!(merged(ContainerSpec::default(), check(none)).1.healthcheck, None);
    }
}
