//! The restart policy: whether a container that has ended is started again.

use clap::{Arg, ArgMatches};
use cri_api::isula::v1::RestartPolicy;

use crate::flag;

const WANT: &str = "want no, always, unless-stopped, on-failure[:N] or on-reboot";

pub(crate) fn flag() -> Arg {
    let help = "Start it again when it ends: no, always, unless-stopped, on-failure[:N], on-reboot [default: no]";
    flag::value("restart", "POLICY", help).value_parser(policy)
}

/// `None` when none was given.
pub(crate) fn given(matches: &ArgMatches) -> Option<RestartPolicy> {
    matches.get_one::<RestartPolicy>("restart").cloned()
}

/// Whether a policy is one that starts a container again.
pub(super) fn restarts(policy: &RestartPolicy) -> bool {
    policy.name != "no"
}

fn policy(text: &str) -> Result<RestartPolicy, String> {
    let (name, retries) = match text.split_once(':') {
        Some((name, retries)) => (name, Some(retries)),
        None => (text, None),
    };
    let maximum_retries = match (name, retries) {
        ("on-failure", Some(retries)) => {
            retries.parse().map_err(|_| format!("'{retries}' is not a number of retries"))?
        }
        ("" | "no" | "always" | "unless-stopped" | "on-reboot", Some(_)) => {
            return Err("only on-failure takes a number of retries".to_owned());
        }
        ("" | "no" | "always" | "unless-stopped" | "on-failure" | "on-reboot", None) => 0,
        (other, _) => return Err(format!("unknown policy '{other}': {WANT}")),
    };
    let name = if name.is_empty() { "no" } else { name };
    Ok(RestartPolicy { name: name.to_owned(), maximum_retries })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::parse;

    #[test]
    fn policies() {
        for (text, name, maximum_retries) in [
            ("", "no", 0),
            ("no", "no", 0),
            ("always", "always", 0),
            ("unless-stopped", "unless-stopped", 0),
            ("on-failure", "on-failure", 0),
            ("on-failure:5", "on-failure", 5),
            ("on-reboot", "on-reboot", 0),
        ] {
            let wanted = RestartPolicy { name: name.to_owned(), maximum_retries };
            assert_eq!(policy(text), Ok(wanted.clone()), "{text}");
            assert_eq!(parse(&[&format!("--restart={text}"), "x"]).unwrap().restart, Some(wanted));
        }
        assert_eq!(parse(&["x"]).unwrap().restart, None);
        for (bad, reason) in [
            ("always:3", "only on-failure takes a number of retries"),
            ("on-failure:", "'' is not a number of retries"),
            ("on-failure:-1", "'-1' is not a number of retries"),
            ("on-failure:1:2", "'1:2' is not a number of retries"),
            ("never", "unknown policy 'never': want no, always, unless-stopped, on-failure[:N] or on-reboot"),
        ] {
            assert_eq!(policy(bad), Err(reason.to_owned()));
        }
    }

    #[test]
    fn auto_remove_excludes_restarts() {
        assert_eq!(parse(&["--rm", "--restart=always", "x"]).unwrap_err(), "Conflicting options: --restart and --rm");
        assert!(parse(&["--rm", "--restart=no", "x"]).is_ok());
    }
}
