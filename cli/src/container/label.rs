//! Labels and annotations.

use std::collections::HashMap;
use std::fs;

use clap::{Arg, ArgMatches};
use cri_api::isula::v1::CreateRequest;

use super::invalid;
use crate::failure::Failure;
use crate::flag;

pub(super) fn flags() -> Vec<Arg> {
    vec![
        flag::list("label", "KEY[=VALUE]", "Label of the container").short('l'),
        flag::list("label-file", "FILE", "File of labels, one a line; # begins a comment"),
        flag::list("annotation", "KEY=VALUE", "Annotation passed on to the runtime"),
    ]
}

pub(super) fn apply(matches: &ArgMatches, request: &mut CreateRequest) -> Result<(), Failure> {
    for path in flag::texts(matches, "label-file") {
        let text = fs::read_to_string(path).map_err(|error| invalid(path, "label-file", error))?;
        let lines = text.trim_start_matches('\u{feff}').lines().map(str::trim_start);
        for line in lines.filter(|line| !line.is_empty() && !line.starts_with('#')) {
            insert(&mut request.labels, line).map_err(|reason| invalid(line, "label-file", reason))?;
        }
    }
    for given in flag::texts(matches, "label") {
        insert(&mut request.labels, given).map_err(|reason| invalid(given, "label", reason))?;
    }
    for given in flag::texts(matches, "annotation") {
        let (key, value) = pair(given).ok_or_else(|| invalid(given, "annotation", "want KEY=VALUE"))?;
        request.annotations.insert(key.to_owned(), value.to_owned());
    }
    Ok(())
}

/// Adds `KEY[=VALUE]`.
pub(crate) fn insert(labels: &mut HashMap<String, String>, given: &str) -> Result<(), &'static str> {
    let (key, value) = given.split_once('=').unwrap_or((given, ""));
    if key.is_empty() {
        return Err("the key is empty");
    }
    labels.insert(key.to_owned(), value.to_owned());
    Ok(())
}

/// `KEY=VALUE` with a key.
pub(super) fn pair(given: &str) -> Option<(&str, &str)> {
    given.split_once('=').filter(|(key, _)| !key.is_empty())
}

#[cfg(test)]
mod tests {
    use crate::container::parse;

    #[test]
    fn labels_of_files_give_way_to_flags() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "# c\na=1\nb\n").unwrap();
        let path = file.path().display().to_string();
        let request =
            parse(&["--label-file", &path, "-l", "a=2", "--label=c=x=y", "--annotation", "k=v", "i"]).unwrap();
        let wanted = [("a", "2"), ("b", ""), ("c", "x=y")];
        assert_eq!(request.labels, wanted.map(|(key, value)| (key.into(), value.into())).into());
        assert_eq!(request.annotations["k"], "v");
    }

    #[test]
    fn keys_are_needed() {
        for words in [["-l", "=x", "i"], ["-l", "", "i"], ["--annotation", "k", "i"], ["--annotation", "=v", "i"]] {
            assert!(parse(&words).unwrap_err().starts_with("Invalid value"), "{words:?}");
        }
    }
}
