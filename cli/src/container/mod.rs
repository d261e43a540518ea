//! The definition of a container for `run` and `create`: their flags, and the request they become.
//!
//! One file per group of flags, each with its flags and how they enter the request.

mod device;
pub(crate) mod environment;
mod health;
pub(crate) mod label;
mod logging;
mod mount;
mod namespace;
mod process;
mod publish;
mod pull;
pub(crate) mod resources;
pub(crate) mod restart;
mod rootfs;
mod security;
mod size;
mod unsupported;

use clap::{ArgMatches, Command};
use cri_api::isula::v1::CreateRequest;

use crate::failure::Failure;
use crate::flag;

pub(crate) use pull::Pull;

/// Adds the flags of `run` and `create`.
pub(crate) fn flags(command: Command) -> Command {
    command
        .arg(flag::value("name", "NAME", "Name of the container [default: one is made up]").short('n'))
        .arg(flag::value("runtime", "RUNTIME", "OCI runtime [default: the daemon's]").short('R'))
        .args(rootfs::flags())
        .arg(pull::flag())
        .args(process::flags())
        .args(health::flags())
        .args(environment::flags())
        .args(label::flags())
        .args(mount::flags())
        .args(device::flags())
        .args(resources::flags())
        .args(security::flags())
        .arg(restart::flag())
        .args(namespace::flags())
        .args(publish::flags())
        .args(logging::flags())
        .args(unsupported::flags())
        .arg(flag::command_words("IMAGE COMMAND"))
}

/// Makes the request. Reads the files that flags name; makes no call.
pub(crate) fn request(matches: &ArgMatches, verb: &str) -> Result<CreateRequest, Failure> {
    unsupported::refuse(matches)?;
    let mut request = CreateRequest {
        name: flag::text_or_empty(matches, "name"),
        runtime: flag::text_or_empty(matches, "runtime"),
        ..CreateRequest::default()
    };
    rootfs::apply(matches, verb, &mut request)?;
    process::apply(matches, &mut request);
    health::apply(matches, &mut request);
    environment::apply(matches, &mut request)?;
    label::apply(matches, &mut request)?;
    mount::apply(matches, &mut request)?;
    device::apply(matches, &mut request)?;
    resources::apply(matches, &mut request);
    security::apply(matches, &mut request)?;
    namespace::apply(matches, &mut request)?;
    publish::apply(matches, &mut request)?;
    logging::apply(matches, &mut request)?;
    request.restart = restart::given(matches);
    if request.auto_remove && request.restart.as_ref().is_some_and(restart::restarts) {
        return Err(Failure::usage("Conflicting options: --restart and --rm"));
    }
    Ok(request)
}

/// The complaint about one value of a flag.
fn invalid(value: &str, flag: &str, reason: impl std::fmt::Display) -> Failure {
    Failure::usage(format!("Invalid value \"{value}\" for flag --{flag}: {reason}"))
}

/// For tests of the groups: parses flags as `create` does.
#[cfg(test)]
fn parse(words: &[&str]) -> Result<CreateRequest, String> {
    let command = flags(Command::new("create").no_binary_name(true).disable_help_flag(true).args_override_self(true));
    let matches = command.try_get_matches_from(words).map_err(|error| error.to_string())?;
    request(&matches, "create").map_err(|failure| failure.to_string())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::parse;

    proptest! {
        /// Every command line becomes a request or a complaint.
        #[test]
        fn no_words_panic(words in proptest::collection::vec("\\PC{0,12}|-{1,2}[a-z-]{0,14}(=\\PC{0,10})?", 0..6)) {
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            let _ = parse(&words);
        }

        #[test]
        fn no_value_panics(value in "\\PC{0,24}|[/a-z0-9:=,.-]{0,24}") {
            for flag in [
                "volume", "mount", "tmpfs", "device", "ulimit", "security-opt", "memory", "memory-swap", "cpus",
                "shm-size", "env", "publish", "ip", "label", "annotation", "sysctl", "add-host", "dns", "log-opt", "pids-limit",
            ] {
                let _ = parse(&[&format!("--{flag}={value}"), "none"]);
            }
        }
    }
}
