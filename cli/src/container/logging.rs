//! Where the container's output is kept.

use clap::{Arg, ArgMatches};
use cri_api::isula::v1::{CreateRequest, LogConfig};

use super::{invalid, size};
use crate::failure::Failure;
use crate::flag;

pub(super) fn flags() -> Vec<Arg> {
    vec![
        flag::value("log-driver", "DRIVER", "json-file or none [default: json-file]"),
        flag::list("log-opt", "KEY=VALUE", "max-size, max-file, disable-log"),
    ]
}

pub(super) fn apply(matches: &ArgMatches, request: &mut CreateRequest) -> Result<(), Failure> {
    let mut log = LogConfig::default();
    match flag::text(matches, "log-driver") {
        None => {}
        Some(driver @ ("json-file" | "none")) => log.driver = driver.to_owned(),
        Some(driver @ "syslog") => return Err(invalid(driver, "log-driver", "it is not supported yet")),
        Some(driver) => return Err(invalid(driver, "log-driver", "known are json-file and none")),
    }
    for given in flag::texts(matches, "log-opt") {
        option(given, &mut log).map_err(|reason| invalid(given, "log-opt", reason))?;
    }
    request.log = (log != LogConfig::default()).then_some(log);
    Ok(())
}

fn option(text: &str, log: &mut LogConfig) -> Result<(), &'static str> {
    match text.split_once('=').ok_or("want KEY=VALUE")? {
        ("max-size", value) => {
            log.max_size = size::bytes_or_unlimited(value)?;
            if log.max_size == 0 {
                return Err("want more than 0, or -1 for unlimited");
            }
        }
        ("max-file", value) => {
            log.max_files = value.parse().ok().filter(|count| *count > 0).ok_or("want a number above 0")?;
        }
        ("disable-log", "true") => log.driver = "none".to_owned(),
        ("disable-log", "false") => {}
        ("disable-log", _) => return Err("want true or false"),
        ("syslog-tag" | "syslog-facility", _) => return Err("it is not supported yet"),
        _ => return Err("known are max-size, max-file and disable-log"),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::parse;

    #[test]
    fn options() {
        let log = |words: &[&str]| parse(words).unwrap().log;
        assert_eq!(log(&["x"]), None);
        assert_eq!(
            log(&["--log-driver=json-file", "--log-opt", "max-size=30KB", "--log-opt=max-file=3", "x"]),
            Some(LogConfig { driver: "json-file".into(), max_size: 30 << 10, max_files: 3 })
        );
        assert_eq!(log(&["--log-opt=disable-log=true", "x"]).unwrap().driver, "none");
        assert_eq!(log(&["--log-opt=max-size=-1", "x"]).unwrap().max_size, -1);
    }

    #[test]
    fn nonsense() {
        for bad in ["max-size", "max-size=0", "max-size=x", "max-file=0", "disable-log=x", "syslog-tag=x", "a=b"] {
            assert!(parse(&["--log-opt", bad, "x"]).is_err(), "{bad}");
        }
        for bad in ["syslog", "journald"] {
            assert!(parse(&["--log-driver", bad, "x"]).is_err(), "{bad}");
        }
    }
}
