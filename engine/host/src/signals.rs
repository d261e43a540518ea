//! Signal names and numbers, as users write them.

/// `TERM`, `SIGTERM`, `sigterm`, `15`, `RTMIN+3`: the number, 1 to 64.
pub fn parse(text: &str) -> Option<i32> {
    if let Ok(number) = text.parse::<i32>() {
        return (1..=64).contains(&number).then_some(number);
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some(rest) = name.strip_prefix("RTMIN") {
        let offset = if rest.is_empty() { 0 } else { rest.strip_prefix('+')?.parse().ok()? };
        return (0..=30).contains(&offset).then_some(34 + offset);
    }
    if let Some(rest) = name.strip_prefix("RTMAX") {
        let offset = if rest.is_empty() { 0 } else { rest.strip_prefix('-')?.parse().ok()? };
        return (0..=30).contains(&offset).then_some(64 - offset);
    }
    // Aliases, as `kill -l` and other engines accept them.
    let name = match name {
        "CLD" => "CHLD",
        "POLL" => "IO",
        "IOT" => "ABRT",
        "UNUSED" => "SYS",
        name => name,
    };
    format!("SIG{name}").parse::<nix::sys::signal::Signal>().ok().map(|signal| signal as i32)
}

/// `SIGTERM` for 15; the number itself where there is no name.
pub fn name(number: i32) -> String {
    nix::sys::signal::Signal::try_from(number).map_or_else(|_| number.to_string(), |signal| signal.as_str().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_may_write_signals_in_any_usual_way() {
        for (text, number) in [
            ("TERM", Some(15)),
            ("sigkill", Some(9)),
            ("SIGUSR1", Some(10)),
            ("9", Some(9)),
            ("64", Some(64)),
            ("SIGCLD", Some(17)),
            ("cld", Some(17)),
            ("SIGPOLL", Some(29)),
            ("SIGIO", Some(29)),
            ("SIGIOT", Some(6)),
            ("SIGSTKFLT", Some(16)),
            ("SIGPWR", Some(30)),
            ("RTMIN+3", Some(37)),
            ("SIGRTMAX-1", Some(63)),
            ("0", None),
            ("65", None),
            ("-1", None),
            ("", None),
            ("SIG", None),
            ("RTMIN+99", None),
            ("RTMIN-1", None),
            ("NOPE", None),
        ] {
            assert_eq!(parse(text), number, "{text}");
        }
        assert_eq!(name(15), "SIGTERM");
        assert_eq!(name(40), "40");
    }
}
