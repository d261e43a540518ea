//! Extracts the errors from a runtime's log, in any of the forms runtimes write.
//!
//! Asked for text, runc writes `time="…" level=error msg="…"` and crun the bare message. A configured argument or
//! another runtime may have it write JSON all the same: one object a line (runc, crun up to 1.2x), or one over several
//! lines.

/// The messages of all error entries, whole and each once; `None` when there is none.
pub(super) fn errors_in(log: &str) -> Option<String> {
    let mut messages: Vec<String> = Vec::new();
    let mut rest = log.trim_start();
    while !rest.is_empty() {
        let (entry, after) = next(rest);
        if entry.is_error() && messages.last() != Some(&entry.message) {
            messages.push(entry.message);
        }
        rest = after.trim_start();
    }
    if messages.is_empty() { None } else { Some(messages.join("\n")) }
}

struct Entry {
    /// Empty where the form has none.
    level: String,
    message: String,
}

impl Entry {
    fn is_error(&self) -> bool {
        // crun writes no level in plain text; only errors are logged in that form.
        let level = matches!(self.level.as_str(), "" | "error" | "fatal" | "panic");
        level && !self.message.trim().is_empty()
    }
}

/// The first entry of a text that is not empty, and the rest of the text.
fn next(text: &str) -> (Entry, &str) {
    if text.starts_with('{') {
        let mut values = serde_json::Deserializer::from_str(text).into_iter::<JsonEntry>();
        if let Some(Ok(JsonEntry { level, msg })) = values.next() {
            return (Entry { level, message: msg }, &text[values.byte_offset()..]);
        }
    }
    let (line, after) = text.split_once('\n').unwrap_or((text, ""));
    (logfmt(line).unwrap_or_else(|| Entry { level: String::new(), message: line.trim_end().into() }), after)
}

#[derive(serde::Deserialize)]
struct JsonEntry {
    #[serde(default)]
    level: String,
    msg: String,
}

/// `key=value key="quoted value" …` with a level and a message.
fn logfmt(line: &str) -> Option<Entry> {
    let (mut level, mut message) = (None, None);
    let mut rest = line.trim();
    while !rest.is_empty() {
        let (key, value) = rest.split_once('=')?;
        if key.is_empty() || key.contains(|c: char| c.is_whitespace() || c == '"') {
            return None;
        }
        let after;
        let value = if value.starts_with('"') {
            let end = end_of_quoted(value)?;
            after = &value[end..];
            unquote(&value[1..end - 1])
        } else {
            let end = value.find(char::is_whitespace).unwrap_or(value.len());
            after = &value[end..];
            value[..end].to_owned()
        };
        match key {
            "level" => level = Some(value),
            "msg" => message = Some(value),
            _ => {}
        }
        rest = after.trim_start();
    }
    Some(Entry { level: level?, message: message? })
}

/// The index after the quoted value at the beginning of the text.
fn end_of_quoted(text: &str) -> Option<usize> {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return Some(at + 1),
            _ => {}
        }
    }
    None
}

/// Undoes Go's quoting. An unknown escape stays as it is.
fn unquote(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        plain.push_str(&rest[..at]);
        let escape = &rest[at + 1..];
        let coded = |skip: usize, digits: usize| {
            let code = escape.get(skip..skip + digits).and_then(|code| u32::from_str_radix(code, 16).ok());
            code.and_then(char::from_u32).map(|c| (c, skip + digits))
        };
        let decoded = match escape.chars().next() {
            Some('n') => Some(('\n', 1)),
            Some('t') => Some(('\t', 1)),
            Some('r') => Some(('\r', 1)),
            Some(c @ ('"' | '\\')) => Some((c, 1)),
            Some('x') => coded(1, 2),
            Some('u') => coded(1, 4),
            Some('U') => coded(1, 8),
            Some(_) | None => None,
        };
        let (c, length) = decoded.unwrap_or(('\\', 0));
        plain.push(c);
        rest = &escape[length..];
    }
    plain.push_str(rest);
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_taken_whole_and_once() {
        let log = "{\"level\":\"warning\",\"msg\":\"odd\",\"time\":\"t\"}\n\
                   {\"level\":\"error\",\"msg\":\"exec: \\\"nope\\\":\\nnot found\",\"time\":\"t\"}\n\
                   {\"level\":\"error\",\"msg\":\"exec: \\\"nope\\\":\\nnot found\",\"time\":\"t\"}\n";
        assert_eq!(errors_in(log).unwrap(), "exec: \"nope\":\nnot found");
        assert_eq!(errors_in("plain words\nand more\n").unwrap(), "plain words\nand more");
        assert_eq!(errors_in(""), None);
        assert_eq!(errors_in(" \n\n"), None);
    }

    /// Entries as the runtimes have written them.
    #[test]
    fn the_log_form_of_each_runtime_is_read() {
        for (runtime, log, message) in [
            (
                "runc 1.1, JSON",
                "{\"level\":\"error\",\"msg\":\"runc run failed: unable to start container process: exec: \\\"/etc\\\": \
                 permission denied\",\"time\":\"2026-11-28T23:23:32Z\"}\n",
                "runc run failed: unable to start container process: exec: \"/etc\": permission denied",
            ),
            (
                "runc 1.3, text",
                "time=\"2026-11-28T23:30:10Z\" level=warning msg=ignored\n\
                 time=\"2026-11-28T23:30:10Z\" level=error msg=\"runc run failed: unable to start container process: error \
                 during container init: exec: \\\"/nope\\\": stat /nope: no such file or directory\"\n",
                "runc run failed: unable to start container process: error during container init: exec: \"/nope\": stat \
                 /nope: no such file or directory",
            ),
            (
                "crun 1.8, JSON",
                "{\"msg\":\"open executable: Permission denied\",\"level\":\"error\",\"time\":\"2026-11-28T23:30:13.300840Z\"}\n",
                "open executable: Permission denied",
            ),
            ("crun, text", "open executable: Permission denied\n", "open executable: Permission denied"),
            (
                "crun 1.28, JSON",
                "{\n  \"msg\": \"the path `\\/etc\\/passwd` exists but it is not executable: Operation not permitted\",\n  \
                 \"level\": \"error\",\n  \"time\": \"2026-11-28T23:28:17.120898Z\"\n}\n",
                "the path `/etc/passwd` exists but it is not executable: Operation not permitted",
            ),
            (
                "several values of one stream",
                "{\n \"msg\": \"first\",\n \"level\": \"error\"\n}\n{\"msg\":\"second\",\"level\":\"error\"}\n\
                 {\"msg\":\"not an error\",\"level\":\"debug\"}\nplain\n",
                "first\nsecond\nplain",
            ),
            ("cut off", "{\"msg\":\"fir", "{\"msg\":\"fir"),
            ("no log line", "mount a=b failed\n", "mount a=b failed"),
            ("quoted", "level=error msg=\"a \\\"b\\\"\\n\\x41\\u00e9 \\q\" k=v\n", "a \"b\"\nA\u{e9} \\q"),
        ] {
            assert_eq!(errors_in(log).as_deref(), Some(message), "{runtime}");
        }
    }
}
