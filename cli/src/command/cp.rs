//! `isula cp`: files from and to containers. A colon marks the container's end. The destination follows the rules of
//! `cp -r`; a slash or `/.` at an end stands for a directory or only its contents.

use clap::Command;

use super::{Invocation, Verb};
use crate::archive::STDIN;
use crate::failure::{Failure, GENERAL};
use crate::interrupt::unless_interrupted;
use crate::{flag, targets};

mod from;
mod pack;
mod to;
mod unpack;

pub(super) const VERB: Verb = Verb {
    name: "cp",
    about: "Copy files from or to a container",
    usage: "cp [OPTIONS] CONTAINER:SRC DEST|- | SRC|- CONTAINER:DEST",
    refusal: GENERAL,
    hidden: false,
    flags,
    run: |invocation| Box::pin(run(invocation)),
};

fn flags(command: Command) -> Command {
    command
        .arg(flag::switch("archive", "Keep owners and all mode bits").short('a'))
        .arg(flag::switch("follow-link", "Copy what SRC leads to if it is a link").short('L'))
        .arg(flag::words("SRC DEST"))
}

/// As asked for.
#[derive(Debug, Clone, Copy)]
struct CopyOptions {
    archive: bool,
    follow: bool,
}

/// One end of a copy.
#[derive(Debug, PartialEq, Eq)]
enum End {
    Local(String),
    /// Standard input or output.
    Stream,
    Container {
        container: String,
        path: String,
    },
}

async fn run(Invocation { name: verb, matches, daemon }: Invocation) -> Result<u8, Failure> {
    let [source, destination] = targets::exactly::<2>(&matches, &verb)?.map(|word| End::parse(&word));
    let options =
        CopyOptions { archive: flag::is_on(&matches, "archive"), follow: flag::is_on(&matches, "follow-link") };
    let both = |what: &str| Err(Failure::usage(format!("{what}: want CONTAINER:PATH on one side")));
    match (source?, destination?) {
        (End::Container { container, path }, local @ (End::Local(_) | End::Stream)) => {
            let client = daemon.connect().await?;
            unless_interrupted(from::copy(&client, &container, &path, local, options)).await
        }
        (local @ (End::Local(_) | End::Stream), End::Container { container, path }) => {
            let client = daemon.connect().await?;
            unless_interrupted(to::copy(&client, local, &container, &path, options)).await
        }
        (End::Container { .. }, End::Container { .. }) => both("Copying between containers is not supported"),
        (End::Local(_) | End::Stream, End::Local(_) | End::Stream) => both("Neither end is in a container"),
    }
}

impl End {
    /// A word that begins with a slash or a dot is a path of the host, also with colons in it.
    fn parse(word: &str) -> Result<Self, Failure> {
        if word == STDIN {
            return Ok(Self::Stream);
        }
        match word.split_once(':') {
            Some((container, path)) if !word.starts_with(['/', '.']) => {
                if container.is_empty() || path.is_empty() {
                    return Err(Failure::usage(format!("Invalid argument \"{word}\": want CONTAINER:PATH")));
                }
                Ok(Self::Container { container: container.to_owned(), path: path.to_owned() })
            }
            _ if word.is_empty() => Err(Failure::usage("A path to copy cannot be empty")),
            _ => Ok(Self::Local(word.to_owned())),
        }
    }
}

/// Whether the path stands for a directory's contents only: `dir/.`, `.`, `..`, `/`.
fn only_contents(path: &str) -> bool {
    let last = path.rsplit('/').next().unwrap_or_default();
    matches!(last, "." | "..") || path.bytes().all(|byte| byte == b'/')
}

/// Whether the path's spelling requires a directory.
fn requires_directory(path: &str) -> bool {
    path.ends_with('/') || only_contents(path)
}

/// The last part, without slashes.
fn base(path: &str) -> &str {
    path.trim_end_matches('/').rsplit('/').next().unwrap_or_default()
}

/// The directory of a path and the name in it.
fn split(path: &str) -> (&str, &str) {
    let path = path.trim_end_matches('/');
    match path.rsplit_once('/') {
        Some(("", name)) => ("/", name),
        Some((dir, name)) => (dir, name),
        None => (".", path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_colon_makes_a_container() {
        let container = |container: &str, path: &str| End::Container { container: container.into(), path: path.into() };
        for (word, end) in [
            ("c:/etc", container("c", "/etc")),
            ("c:relative:x", container("c", "relative:x")),
            ("-", End::Stream),
            ("file", End::Local("file".into())),
            ("./c:x", End::Local("./c:x".into())),
            ("/a:b", End::Local("/a:b".into())),
        ] {
            assert_eq!(End::parse(word).unwrap(), end, "{word}");
        }
        for word in ["", ":x", "c:"] {
            assert!(End::parse(word).is_err(), "{word}");
        }
    }

    #[test]
    fn ends_of_paths() {
        for path in ["a/.", ".", "/", "//", "..", "a/.."] {
            assert!(only_contents(path) && requires_directory(path), "{path}");
        }
        assert!(!only_contents("a/") && requires_directory("a/"));
        assert!(!requires_directory("a/.b") && !requires_directory("a"));
        assert_eq!((base("/a/b/"), base("b"), base("/")), ("b", "b", ""));
        assert_eq!((split("/a/b"), split("/b/"), split("b")), (("/a", "b"), ("/", "b"), (".", "b")));
    }
}
