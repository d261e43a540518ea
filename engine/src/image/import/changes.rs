//! `--change`: the instructions of a Dockerfile that set the defaults of an image's containers.

use crate::image::error::ImageError;
use crate::image::manifest::{Execution, Healthcheck};
use crate::latest::{latest, name_of};
use crate::signals;

/// The result of all instructions, the later ones over the earlier.
pub(super) fn apply(changes: &[String]) -> Result<Execution, ImageError> {
    let mut execution = Execution::default();
    for change in changes {
        let (instruction, rest) = change.trim().split_once(char::is_whitespace).unwrap_or((change.trim(), ""));
        one(&mut execution, &instruction.to_ascii_uppercase(), rest.trim())
            .map_err(|problem| ImageError::Change { instruction: change.clone(), problem })?;
    }
    execution.env = latest(execution.env, |entry| name_of(entry));
    Ok(execution)
}

fn one(execution: &mut Execution, instruction: &str, rest: &str) -> Result<(), String> {
    if rest.is_empty() && !matches!(instruction, "CMD" | "ENTRYPOINT") {
        return Err("a value is missing".to_owned());
    }
    match instruction {
        "CMD" => execution.cmd = Some(command(rest)?),
        "ENTRYPOINT" => {
            execution.entrypoint = Some(command(rest)?);
            execution.cmd = None;
        }
        "ENV" => {
            for (key, value) in pairs(rest)? {
                execution.env.push(format!("{key}={value}"));
            }
        }
        "LABEL" => execution.labels.extend(pairs(rest)?),
        "EXPOSE" => {
            for port in rest.split_whitespace() {
                execution.exposed_ports.insert(exposed(port)?);
            }
        }
        "VOLUME" => {
            let paths = if rest.starts_with('[') { list(rest)? } else { words(rest)? };
            if let Some(path) = paths.iter().find(|path| !path.starts_with('/')) {
                return Err(format!("`{path}` is not an absolute path"));
            }
            execution.volumes.extend(paths);
        }
        "USER" => execution.user = single(rest)?,
        "WORKDIR" => {
            let path = single(rest)?;
            execution.working_dir = match path.starts_with('/') {
                true => path,
                false => format!("{}/{path}", execution.working_dir.trim_end_matches('/')),
            };
        }
        "STOPSIGNAL" => {
            signals::parse(rest).ok_or_else(|| format!("`{rest}` is no signal"))?;
            execution.stop_signal = Some(rest.to_owned());
        }
        "HEALTHCHECK" => execution.healthcheck = Some(healthcheck(rest)?),
        other => {
            return Err(format!(
                "`{other}` is not known here: CMD, ENTRYPOINT, ENV, EXPOSE, HEALTHCHECK, LABEL, STOPSIGNAL, USER, VOLUME, WORKDIR"
            ));
        }
    }
    Ok(())
}

/// A JSON list, or a line for the shell.
fn command(text: &str) -> Result<Vec<String>, String> {
    match text {
        "" => Ok(vec![]),
        _ if text.starts_with('[') => list(text),
        line => Ok(vec!["/bin/sh".to_owned(), "-c".to_owned(), line.to_owned()]),
    }
}

fn list(text: &str) -> Result<Vec<String>, String> {
    serde_json::from_str(text).map_err(|error| format!("it is no list of texts: {error}"))
}

fn single(text: &str) -> Result<String, String> {
    match words(text)?.as_slice() {
        [word] => Ok(word.clone()),
        _ => Err("one word is wanted".to_owned()),
    }
}

/// `key=value …` with quotes, or the older `key value with spaces`.
fn pairs(text: &str) -> Result<Vec<(String, String)>, String> {
    let words = words(text)?;
    if words.first().is_some_and(|word| !word.contains('=')) {
        let (key, value) = text.split_once(char::is_whitespace).ok_or("want KEY=VALUE")?;
        return Ok(vec![(key.to_owned(), value.trim().to_owned())]);
    }
    let pair = |word: &String| match word.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(format!("`{word}` is not KEY=VALUE")),
    };
    words.iter().map(pair).collect()
}

/// Split at spaces, but not within quotes or behind a backslash.
fn words(text: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let (mut word, mut begun, mut quote) = (String::new(), false, None);
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (c, quote) {
            ('\\', None | Some('"')) => {
                word.extend(chars.next());
                begun = true;
            }
            ('"' | '\'', None) => (quote, begun) = (Some(c), true),
            (_, Some(open)) if c == open => quote = None,
            (_, None) if c.is_whitespace() => {
                if begun {
                    words.push(std::mem::take(&mut word));
                }
                begun = false;
            }
            _ => {
                word.push(c);
                begun = true;
            }
        }
    }
    if quote.is_some() {
        return Err("a quote is not closed".to_owned());
    }
    if begun {
        words.push(word);
    }
    Ok(words)
}

/// `80`, `80/udp`, `8000-8010/tcp`; without a protocol it is tcp.
fn exposed(text: &str) -> Result<String, String> {
    let (ports, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = protocol.to_ascii_lowercase();
    let port = |text: &str| text.parse::<u16>().ok().filter(|port| *port > 0);
    let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
    match (port(first), port(last)) {
        (Some(first), Some(last)) if first <= last && matches!(protocol.as_str(), "tcp" | "udp" | "sctp") => {
            Ok(format!("{ports}/{protocol}"))
        }
        _ => Err(format!("`{text}` is not PORT[-PORT][/tcp|udp|sctp]")),
    }
}

/// `[--interval=30s …] CMD …` or `NONE`.
fn healthcheck(text: &str) -> Result<Healthcheck, String> {
    let mut check = Healthcheck::default();
    let mut rest = text;
    while let Some(flag) = rest.strip_prefix("--") {
        let (flag, after) = flag.split_once(char::is_whitespace).ok_or("CMD or NONE is missing")?;
        let (key, value) = flag.split_once('=').ok_or_else(|| format!("`--{flag}` has no value"))?;
        match key {
            "interval" => check.interval = duration(value)?,
            "timeout" => check.timeout = duration(value)?,
            "start-period" => check.start_period = duration(value)?,
            "retries" => check.retries = value.parse().map_err(|_| format!("`{value}` is not a count"))?,
            other => return Err(format!("`--{other}` is not known")),
        }
        rest = after.trim_start();
    }
    let (kind, line) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    check.test = match (kind.to_ascii_uppercase().as_str(), line.trim()) {
        ("NONE", "") => vec!["NONE".to_owned()],
        ("CMD", "") => return Err("a command is missing".to_owned()),
        ("CMD", list_text) if list_text.starts_with('[') => {
            std::iter::once("CMD".to_owned()).chain(list(list_text)?).collect()
        }
        ("CMD", line) => vec!["CMD-SHELL".to_owned(), line.to_owned()],
        _ => return Err("CMD or NONE is wanted".to_owned()),
    };
    Ok(check)
}

/// `1h30m`, `5s`, `100ms`: nanoseconds.
fn duration(text: &str) -> Result<u64, String> {
    let bad = || format!("`{text}` is not a duration such as 30s or 1m30s");
    let (mut rest, mut total) = (text, 0_u64);
    while !rest.is_empty() {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let number: u64 = rest[..digits].parse().map_err(|_| bad())?;
        rest = &rest[digits..];
        let units = [
            ("ms", 1_000_000),
            ("us", 1_000),
            ("ns", 1),
            ("h", 3_600_000_000_000),
            ("m", 60_000_000_000),
            ("s", 1_000_000_000),
        ];
        let (unit, factor) = units.into_iter().find(|(unit, _)| rest.starts_with(unit)).ok_or_else(bad)?;
        total = number.checked_mul(factor).and_then(|part| total.checked_add(part)).ok_or_else(bad)?;
        rest = &rest[unit.len()..];
    }
    if text.is_empty() { Err(bad()) } else { Ok(total) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(changes: &[&str]) -> Result<Execution, String> {
        let changes: Vec<String> = changes.iter().map(|change| (*change).to_owned()).collect();
        apply(&changes).map_err(|error| error.to_string())
    }

    #[test]
    fn each_instruction_sets_its_part() {
        let made = made(&[
            r#"ENTRYPOINT ["/bin/sh", "-c"]"#,
            "cmd echo hello",
            r#"ENV A=1 B="two words" C=a\ b"#,
            "ENV A 7 eight",
            "LABEL key=value",
            "EXPOSE 80 53/UDP 8000-8010",
            r#"VOLUME ["/data"]"#,
            "VOLUME /a /b",
            "USER 1000:1000",
            "WORKDIR /srv",
            "WORKDIR www",
            "STOPSIGNAL SIGQUIT",
            "HEALTHCHECK --interval=1m30s --retries=5 CMD curl -f localhost",
        ])
        .unwrap();
        assert_eq!(made.entrypoint.unwrap(), ["/bin/sh", "-c"]);
        assert_eq!(made.cmd.unwrap(), ["/bin/sh", "-c", "echo hello"]);
        assert_eq!(made.env, ["B=two words", "C=a b", "A=7 eight"]);
        assert_eq!(made.labels["key"], "value");
        assert_eq!(
            made.exposed_ports.iter().map(String::as_str).collect::<Vec<_>>(),
            ["53/udp", "80/tcp", "8000-8010/tcp"]
        );
        assert_eq!(made.volumes.len(), 3);
        assert_eq!((made.user.as_str(), made.working_dir.as_str()), ("1000:1000", "/srv/www"));
        assert_eq!(made.stop_signal.as_deref(), Some("SIGQUIT"));
        let check = made.healthcheck.unwrap();
        assert_eq!((check.interval, check.retries), (90_000_000_000, 5));
        assert_eq!(check.test, ["CMD-SHELL", "curl -f localhost"]);
    }

    #[test]
    fn wrong_instructions_are_named() {
        for change in [
            "RUN true",
            "",
            "ENV",
            "ENV =x",
            "EXPOSE 0",
            "EXPOSE 9-8",
            "EXPOSE 1/icmp",
            "VOLUME data",
            "USER a b",
            "STOPSIGNAL NOPE",
            "CMD [1]",
            "LABEL \"a",
            "HEALTHCHECK CMD",
            "HEALTHCHECK --interval=x CMD a",
            "HEALTHCHECK",
        ] {
            let error = made(&[change]).unwrap_err();
            assert!(error.contains(&format!("`{change}`")), "{change}: {error}");
        }
    }
}
