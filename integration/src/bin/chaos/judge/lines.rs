//! The lines of the containers' scripts: numbered, so that missing ones show.

/// The fault in the lines, if there is one. `again`: some may be there twice. `whole`: the last one is whole.
pub(crate) fn broken(text: &str, again: bool, whole: bool) -> Option<String> {
    let mut lines: Vec<&str> = text.split('\n').collect();
    let rest = lines.pop().unwrap_or_default();
    if whole && !rest.is_empty() {
        return Some(format!("`{rest}` is no whole line"));
    }
    // The log may have been rotated, a client may have come later.
    let mut expected: Option<u64> = None;
    for (place, line) in lines.iter().enumerate() {
        let number = match *line {
            "begin" => {
                expected = Some(0);
                continue;
            }
            "end" => {
                expected = None;
                continue;
            }
            line => line.strip_prefix("line ").and_then(|number| number.parse::<u64>().ok()),
        };
        let Some(number) = number else {
            let engine = line.starts_with("isulad-init") || line.contains("exec ");
            if engine {
                continue;
            }
            return Some(format!("line {place} is `{line}`"));
        };
        let follows = expected.is_none_or(|expected| number == expected || (again && number < expected));
        if !follows {
            return Some(format!("line {place} is `{line}` where {expected:?} was to come"));
        }
        expected = Some(number + 1);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::broken;

    #[test]
    fn runs_follow_on_one_another() {
        assert_eq!(broken("begin\nline 0\nline 1\nbegin\nline 0\nend\n", false, true), None);
        assert_eq!(broken("line 7\nline 8\n", false, true), None, "rotated");
    }

    #[test]
    fn missing_and_cut_lines_show() {
        assert!(broken("begin\nline 0\nline 2\n", true, true).is_some());
        assert!(broken("begin\nline 0\nlin", false, true).is_some());
        assert!(broken("begin\nline 0\nline 1\nline 0\n", false, true).is_some());
        assert_eq!(broken("begin\nline 0\nline 1\nline 0\nline 1\n", true, true), None);
    }
}
