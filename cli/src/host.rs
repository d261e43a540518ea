//! Where the daemon listens: the spellings of `-H`, `ISULAD_HOST` and the default.

use std::path::PathBuf;

use crate::failure::Failure;

pub(crate) const DEFAULT: &str = "unix:///var/run/isulad.sock";

/// Decides between the flag, the environment and the default, in this order. An empty value counts as absent.
pub(crate) fn choose(flag: Option<&str>, environment: Option<&str>) -> Result<PathBuf, Failure> {
    let given = [flag, environment].into_iter().flatten().find(|host| !host.is_empty());
    parse(given.unwrap_or(DEFAULT))
}

/// Accepts `unix:///path`, `unix:/path` and a bare absolute path.
fn parse(host: &str) -> Result<PathBuf, Failure> {
    if host.starts_with("tcp://") {
        return Err(Failure::usage(format!("Host '{host}': tcp is not supported yet, use unix://PATH")));
    }
    let path = host.strip_prefix("unix://").or_else(|| host.strip_prefix("unix:")).unwrap_or(host);
    if path.starts_with('/') && path.len() > 1 {
        Ok(PathBuf::from(path))
    } else {
        Err(Failure::usage(format!("Invalid value \"{host}\" for flag --host: want unix:///PATH")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flag_wins_over_the_environment() {
        assert_eq!(choose(Some("unix:///a"), Some("unix:///b")).unwrap(), PathBuf::from("/a"));
        assert_eq!(choose(None, Some("unix:///b")).unwrap(), PathBuf::from("/b"));
        assert_eq!(choose(Some(""), None).unwrap(), PathBuf::from("/var/run/isulad.sock"));
    }

    #[test]
    fn spellings() {
        for good in ["unix:///run/x.sock", "unix:/run/x.sock", "/run/x.sock"] {
            assert_eq!(parse(good).unwrap(), PathBuf::from("/run/x.sock"), "{good}");
        }
        for bad in ["tcp://1.2.3.4:1", "unix://", "unix://relative", "relative", "unix:///"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
