//! The first process: its words, user, directory and terminal.

use clap::{Arg, ArgMatches, value_parser};
use cri_api::isula::v1::CreateRequest;

use crate::flag;

pub(super) fn flags() -> Vec<Arg> {
    vec![
        flag::value("hostname", "NAME", "Host name of the container").short('h'),
        flag::value(
            "entrypoint",
            "PROGRAM",
            "Program instead of the image's, whose command is not used then either; \"\" for none",
        ),
        flag::value("user", "USER[:GROUP]", "Name or uid, and group or gid").short('u'),
        flag::list("group-add", "GROUP", "Further groups of the process"),
        flag::value("workdir", "DIR", "Working directory in the container").short('w'),
        flag::value("stop-signal", "SIGNAL", "Signal that asks the container to stop [default: SIGTERM]"),
        flag::value("stop-timeout", "SECONDS", "Grace after the stop signal [default: 10]")
            .value_parser(value_parser!(u32)),
        flag::switch("tty", "Give it a terminal").short('t'),
        flag::switch("interactive", "Keep its stdin open").short('i'),
        flag::switch("init", "Run an init as its first process, which passes signals on and reaps zombies"),
        flag::switch("rm", "Remove the container when it exits"),
    ]
}

pub(super) fn apply(matches: &ArgMatches, request: &mut CreateRequest) {
    request.hostname = flag::text_or_empty(matches, "hostname");
    request.entrypoint = flag::owned(matches, "entrypoint");
    // An empty one is no program, but the wish for none.
    request.no_entrypoint = request.entrypoint.iter().any(String::is_empty);
    request.entrypoint.retain(|program| !program.is_empty());
    request.user = flag::text_or_empty(matches, "user");
    request.group_add = flag::owned(matches, "group-add");
    request.workdir = flag::text_or_empty(matches, "workdir");
    request.stop_signal = flag::text_or_empty(matches, "stop-signal");
    request.stop_timeout = matches.get_one::<u32>("stop-timeout").copied();
    request.tty = flag::is_on(matches, "tty");
    request.open_stdin = flag::is_on(matches, "interactive");
    // The first client that attaches and leaves ends the input, as a closed pipe would.
    request.stdin_once = request.open_stdin;
    request.init = flag::is_on(matches, "init");
    request.auto_remove = flag::is_on(matches, "rm");
}

#[cfg(test)]
mod tests {
    use crate::container::parse;

    #[test]
    fn switches_come_alone_in_clusters_and_with_values() {
        for words in [&["-ti", "x"][..], &["-t", "-i", "x"], &["--tty", "--interactive=true", "x"], &["-it=true", "x"]]
        {
            let request = parse(words).unwrap();
            assert!(request.tty && request.open_stdin, "{words:?}");
        }
        let request = parse(&["-ti", "--tty=false", "x"]).unwrap();
        assert!(!request.tty && request.open_stdin);
    }

    #[test]
    fn values_are_attached_or_follow() {
        for words in
            [&["-h", "box", "x"][..], &["-hbox", "x"], &["-h=box", "x"], &["--hostname=box", "x"], &["-tihbox", "x"]]
        {
            assert_eq!(parse(words).unwrap().hostname, "box", "{words:?}");
        }
    }

    #[test]
    fn an_empty_entrypoint_is_none() {
        for words in [&["--entrypoint", "", "x"][..], &["--entrypoint=", "x"]] {
            let request = parse(words).unwrap();
            assert!(request.no_entrypoint && request.entrypoint.is_empty(), "{words:?}");
        }
        let request = parse(&["--no-healthcheck", "--entrypoint=/e", "x"]).unwrap();
        assert!(!request.no_entrypoint && request.no_healthcheck);
        assert!(!parse(&["x"]).unwrap().no_entrypoint);
    }

    #[test]
    fn all_of_it() {
        let request = parse(&[
            "-u",
            "app:staff",
            "--group-add",
            "1",
            "--group-add=video",
            "--workdir",
            "/w",
            "--entrypoint",
            "/e",
            "--stop-signal",
            "INT",
            "--stop-timeout",
            "3",
            "--rm",
            "x",
            "a",
            "-b",
        ])
        .unwrap();
        assert_eq!(request.user, "app:staff");
        assert_eq!(request.group_add, ["1", "video"]);
        assert_eq!((request.workdir.as_str(), request.stop_signal.as_str()), ("/w", "INT"));
        assert_eq!(
            (request.entrypoint, request.command),
            (vec!["/e".to_owned()], vec!["a".to_owned(), "-b".to_owned()])
        );
        assert_eq!(request.stop_timeout, Some(3));
        assert!(request.auto_remove);
    }
}
