//! The environment: `--env` and `--env-file`. The values of flags come after those of files, and so win.

use std::ffi::OsString;
use std::fs;

use clap::{Arg, ArgMatches};
use cri_api::isula::v1::CreateRequest;

use super::invalid;
use crate::failure::Failure;
use crate::flag;

pub(crate) fn flags() -> Vec<Arg> {
    vec![
        flag::list("env", "KEY[=VALUE]", "Environment variable; without a value, the caller's").short('e'),
        flag::list("env-file", "FILE", "File of environment variables, one a line; # begins a comment"),
    ]
}

pub(super) fn apply(matches: &ArgMatches, request: &mut CreateRequest) -> Result<(), Failure> {
    request.env.extend(given(matches)?);
    Ok(())
}

/// The variables of all flags, "KEY=VALUE" each.
pub(crate) fn given(matches: &ArgMatches) -> Result<Vec<String>, Failure> {
    let mut env = Vec::new();
    let caller = |key: &str| std::env::var_os(key);
    for path in flag::texts(matches, "env-file") {
        let text = fs::read_to_string(path).map_err(|error| invalid(path, "env-file", error))?;
        let variables = read_file(&text, caller).map_err(|reason| invalid(path, "env-file", reason))?;
        env.extend(variables);
    }
    for given in flag::texts(matches, "env") {
        env.extend(variable(given, caller).map_err(|reason| invalid(given, "env", reason))?);
    }
    Ok(env)
}

/// `KEY=VALUE` as it is; `KEY` with the caller's value, or nothing when the caller has none.
fn variable(text: &str, caller: impl Fn(&str) -> Option<OsString>) -> Result<Option<String>, &'static str> {
    if text.contains('\0') {
        return Err("it has a NUL byte");
    }
    match text.split_once('=') {
        Some(("", _)) => Err("the name is empty"),
        Some(_) => Ok(Some(text.to_owned())),
        None if text.is_empty() => Err("the name is empty"),
        None => match caller(text).map(OsString::into_string) {
            None => Ok(None),
            Some(Ok(value)) => Ok(Some(format!("{text}={value}"))),
            Some(Err(_)) => Err("the caller's value is not valid UTF-8"),
        },
    }
}

fn read_file(text: &str, caller: impl Fn(&str) -> Option<OsString>) -> Result<Vec<String>, String> {
    let mut variables = Vec::new();
    for (number, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
        // Only leading blanks: those at the end may belong to the value.
        let line = line.trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let at_line = |reason: &str| format!("line {}: {reason}", number + 1);
        let key = line.split('=').next().unwrap_or_default();
        if key.contains(char::is_whitespace) {
            return Err(at_line("the name has blanks in it"));
        }
        variables.extend(variable(line, &caller).map_err(at_line)?);
    }
    Ok(variables)
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt;

    use super::*;

    fn caller(key: &str) -> Option<OsString> {
        match key {
            "HOME" => Some("/root".into()),
            "BYTES" => Some(OsString::from_vec(vec![0xff])),
            _ => None,
        }
    }

    #[test]
    fn variables() {
        assert_eq!(variable("A=b=c", caller), Ok(Some("A=b=c".into())));
        assert_eq!(variable("A=", caller), Ok(Some("A=".into())));
        assert_eq!(variable("HOME", caller), Ok(Some("HOME=/root".into())));
        assert_eq!(variable("ABSENT", caller), Ok(None));
        for bad in ["", "=x", "A\0=b", "BYTES"] {
            assert!(variable(bad, caller).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn files() {
        let text = "\u{feff}# a comment\n\n  A=1  \nHOME\nABSENT\nB='x y'\r\nC=#no comment";
        assert_eq!(read_file(text, caller).unwrap(), ["A=1  ", "HOME=/root", "B='x y'", "C=#no comment"]);
        assert_eq!(read_file("A=1\nB C=2", caller).unwrap_err(), "line 2: the name has blanks in it");
        assert_eq!(read_file("=2", caller).unwrap_err(), "line 1: the name is empty");
    }

    #[test]
    fn flags_follow_files() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "A=file\n").unwrap();
        let path = file.path().display().to_string();
        let request = crate::container::parse(&["-e", "A=flag", "--env-file", &path, "x"]).unwrap();
        assert_eq!(request.env, ["A=file", "A=flag"]);
        let missing = crate::container::parse(&["--env-file", "/no/such", "x"]).unwrap_err();
        assert!(missing.starts_with("Invalid value \"/no/such\" for flag --env-file: "), "{missing}");
    }
}
