//! Where the root filesystem comes from, and the command: the words after the flags.

use std::path;

use clap::{Arg, ArgMatches};
use cri_api::isula::v1::CreateRequest;

use super::invalid;
use crate::failure::Failure;
use crate::flag;

/// The word that stands in an image's place when there is none.
const NO_IMAGE: &str = "none";

pub(super) fn flags() -> Vec<Arg> {
    vec![
        flag::value("external-rootfs", "DIR", "A directory as root filesystem; it is not changed"),
        flag::switch("rootfs-direct", "Let the container write into the directory of --external-rootfs itself"),
        flag::switch("read-only", "Mount the root filesystem read-only"),
    ]
}

/// With `--external-rootfs` the first word is the command, unless it is `none`.
pub(super) fn apply(matches: &ArgMatches, verb: &str, request: &mut CreateRequest) -> Result<(), Failure> {
    let mut words = flag::given_words(matches);
    request.read_only_rootfs = flag::is_on(matches, "read-only");
    request.rootfs_direct = flag::is_on(matches, "rootfs-direct");
    match flag::text(matches, "external-rootfs") {
        Some(directory) => {
            request.rootfs = absolute(directory, "external-rootfs")?;
            if words.first().is_some_and(|word| word == NO_IMAGE) {
                words.remove(0);
            }
        }
        None if words.is_empty() => {
            return Err(Failure::usage(format!(
                "\"{verb}\" requires a minimum of 1 argument.\nSee 'isula {verb} --help'."
            )));
        }
        None if request.rootfs_direct => return Err(Failure::usage("--rootfs-direct requires --external-rootfs")),
        None => request.image = words.remove(0),
    }
    request.command = words;
    Ok(())
}

/// The daemon works in another directory than we do.
pub(super) fn absolute(given: &str, flag: &str) -> Result<String, Failure> {
    let absolute = path::absolute(given).map_err(|error| invalid(given, flag, error))?;
    absolute.into_os_string().into_string().map_err(|_| invalid(given, flag, "the path is not valid UTF-8"))
}

#[cfg(test)]
mod tests {
    use crate::container::parse;

    fn words(words: &[&str]) -> (String, String, Vec<String>) {
        let request = parse(words).unwrap();
        (request.image, request.rootfs, request.command)
    }

    #[test]
    fn image_or_rootfs() {
        let command = || vec!["ls".to_owned(), "-l".to_owned()];
        assert_eq!(words(&["busybox", "ls", "-l"]), ("busybox".into(), String::new(), command()));
        assert_eq!(words(&["--external-rootfs", "/r", "none", "ls", "-l"]), (String::new(), "/r".into(), command()));
        assert_eq!(words(&["--external-rootfs=/r", "ls", "-l"]), (String::new(), "/r".into(), command()));
        assert_eq!(words(&["--external-rootfs=/r"]), (String::new(), "/r".into(), vec![]));
    }

    #[test]
    fn flags_end_at_the_first_word_and_at_two_dashes() {
        assert_eq!(words(&["--", "busybox", "--name", "x"]).2, ["--name", "x"]);
        assert_eq!(words(&["busybox", "sh", "--", "-c"]).2, ["sh", "--", "-c"]);
        assert_eq!(words(&["busybox", "--read-only=true"]).2, ["--read-only=true"]);
        assert_eq!(words(&["--external-rootfs=/r", "--", "ls", "-l"]).2, ["ls", "-l"]);
    }

    #[test]
    fn something_must_be_run() {
        assert!(parse(&[]).unwrap_err().starts_with("\"create\" requires a minimum of 1 argument."));
        assert_eq!(parse(&["--rootfs-direct", "x"]).unwrap_err(), "--rootfs-direct requires --external-rootfs");
    }

    #[test]
    fn a_relative_directory_is_made_absolute() {
        assert_eq!(words(&["--external-rootfs=r"]).1, std::env::current_dir().unwrap().join("r").display().to_string());
    }
}
