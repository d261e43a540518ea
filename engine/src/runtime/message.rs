//! Extracts a runtime's error text from its stderr, without the frame of its log.
//!
//! runc writes `time="…" level=error msg="…"`, crun `2026-11-01T10:00:00.000000Z: …` or `crun: …`. The cause is in the
//! lines of level error; warnings matter only without any.

use serde_json::Value;

/// The text for a user.
pub(super) fn error_text(stderr: &str) -> String {
    let (mut errors, mut others) = (Vec::new(), Vec::new());
    for line in stderr.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (is_error, text) = match logged(line) {
            Some((level, text)) => (matches!(level.as_str(), "error" | "fatal" | "panic"), text),
            None => (true, plain(line).to_owned()),
        };
        let list = if is_error { &mut errors } else { &mut others };
        if !text.is_empty() && list.last() != Some(&text) {
            list.push(text);
        }
    }
    if errors.is_empty() { others.join("; ") } else { errors.join("; ") }
}

/// Level and message of a log line.
fn logged(line: &str) -> Option<(String, String)> {
    if line.starts_with('{') {
        let value: Value = serde_json::from_str(line).ok()?;
        let text = |key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
        return Some((text("level").unwrap_or_else(|| "error".to_owned()), text("msg")?.trim().to_owned()));
    }
    let level = line.split_whitespace().find_map(|word| word.strip_prefix("level="))?;
    let (_, message) = line.split_once(" msg=")?;
    let message = match message.strip_prefix('"') {
        Some(quoted) => unquote(quoted),
        None => message.split_whitespace().next().unwrap_or_default().to_owned(),
    };
    Some((level.to_owned(), message.trim().to_owned()))
}

/// Up to the closing quote of a string in Go's notation.
fn unquote(quoted: &str) -> String {
    let mut text = String::with_capacity(quoted.len());
    let mut letters = quoted.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '"' => break,
            '\\' => match letters.next() {
                Some('n') => text.push(' '),
                Some('t') => text.push('\t'),
                Some(other) => text.push(other),
                None => {}
            },
            other => text.push(other),
        }
    }
    text
}

/// The line without a leading name or time.
fn plain(line: &str) -> &str {
    let timed = |word: &str| word.len() >= 19 && word.as_bytes()[4] == b'-' && word.as_bytes()[10] == b'T';
    match line.split_once(": ") {
        Some(("runc" | "crun", rest)) => rest,
        Some((word, rest)) if word.is_ascii() && timed(word) => rest,
        _ => line,
    }
}

#[cfg(test)]
mod tests {
    use super::error_text;

    #[test]
    fn the_frame_of_a_log_is_left_out() {
        for (stderr, text) in [
            ("", ""),
            ("the disk is on fire\n", "the disk is on fire"),
            (
                "time=\"2026-11-28T10:00:00Z\" level=warning msg=\"Setting back cgroup configs failed due to error\"\n\
                 time=\"2026-11-28T10:00:00Z\" level=error msg=\"failed to write \\\"4194304\\\": device or resource busy\"\n",
                "failed to write \"4194304\": device or resource busy",
            ),
            ("time=x level=warning msg=\"only this\"\n", "only this"),
            ("time=x level=error msg=short\nmore of it", "short; more of it"),
            (r#"{"msg":"a/b: no","level":"error","time":"x"}"#, "a/b: no"),
            ("{not json", "{not json"),
            ("2026-11-28T10:00:00.123456Z: writing file `memory.max`: busy", "writing file `memory.max`: busy"),
            ("crun: a\ncrun: a\n", "a"),
        ] {
            assert_eq!(error_text(stderr), text, "{stderr}");
        }
    }
}
