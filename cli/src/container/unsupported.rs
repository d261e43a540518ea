//! Flags of the reference that this engine does not have yet. They are refused by name: taken silently, they would
//! leave someone believing that a health check runs.

use clap::parser::ValueSource;
use clap::{Arg, ArgMatches};

use crate::failure::Failure;
use crate::flag;

/// Flags with a value.
const VALUES: [&str; 15] = [
    "blkio-weight-device",
    "device-cgroup-rule",
    "device-read-bps",
    "device-read-iops",
    "device-write-bps",
    "device-write-iops",
    "env-target-file",
    "files-limit",
    "hook-spec",
    "host-channel",
    "hugetlb-limit",
    "ns-change-opt",
    "storage-opt",
    "user-remap",
    "userns",
];

/// Flags that are on or off; `=false` asks for nothing and is taken.
const SWITCHES: [&str; 2] = ["no-pivot", "system-container"];

pub(super) fn flags() -> Vec<Arg> {
    let values = VALUES.iter().map(|&long| flag::list(long, "VALUE", ""));
    let switches = SWITCHES.iter().map(|&long| flag::switch(long, ""));
    values.chain(switches).map(|arg| arg.hide(true)).collect()
}

/// Refuses the first of these flags that was given.
pub(super) fn refuse(matches: &ArgMatches) -> Result<(), Failure> {
    let given = |long: &str| matches.value_source(long) == Some(ValueSource::CommandLine);
    let value = VALUES.iter().find(|long| given(long));
    let switch = SWITCHES.iter().find(|long| flag::is_on(matches, long));
    if let Some(long) = value.or(switch) {
        return Err(Failure::usage(format!("Flag --{long} is not supported yet")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::parse;

    #[test]
    fn each_is_refused_by_name() {
        for long in VALUES {
            let complaint = parse(&[&format!("--{long}"), "1", "x"]).unwrap_err();
            assert_eq!(complaint, format!("Flag --{long} is not supported yet"));
        }
        for long in SWITCHES {
            let complaint = parse(&[&format!("--{long}"), "x"]).unwrap_err();
            assert_eq!(complaint, format!("Flag --{long} is not supported yet"));
        }
    }

    #[test]
    fn asking_for_nothing_is_fine() {
        assert!(parse(&["--system-container=false", "x"]).is_ok());
    }
}
