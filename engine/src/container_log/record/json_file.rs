//! `{"log":"…","stream":"stdout","time":"…"}`: the shim's own records are taken apart by their fixed parts; any other
//! JSON of the same meaning is read by a parser.

use memchr::memchr2;
use serde::Deserialize;

use super::{Record, Stream, TIME_LENGTH, Text, Time};

#[derive(Deserialize)]
struct Stored {
    log: String,
    stream: String,
    time: String,
}

const BEFORE_TEXT: &[u8] = br#"{"log":""#;
const BEFORE_TIME: &[u8] = br#"","time":""#;
const STDOUT: &[u8] = br#"","stream":"stdout"#;
const STDERR: &[u8] = br#"","stream":"stderr"#;

pub(super) fn parse(line: &[u8]) -> Option<Record<'_>> {
    as_written(line).or_else(|| as_any_json(line))
}

/// From its end, where nothing is of varying length. A quote within a text has a backslash before it, so the fixed
/// parts cannot be part of one.
fn as_written(line: &[u8]) -> Option<Record<'_>> {
    let rest = line.strip_prefix(BEFORE_TEXT)?.strip_suffix(br#""}"#)?;
    let (rest, time) = rest.split_at_checked(rest.len().checked_sub(TIME_LENGTH)?)?;
    let rest = rest.strip_suffix(BEFORE_TIME)?;
    let (text, stream) = match rest.strip_suffix(STDOUT) {
        Some(text) => (text, Stream::Stdout),
        None => (rest.strip_suffix(STDERR)?, Stream::Stderr),
    };
    let written = time[TIME_LENGTH - 1] == b'Z' && backslashes_at_end(text).is_multiple_of(2);
    written.then_some(Record { stream, text: Text::Escaped(text), time: Time::Written(time) })
}

fn as_any_json(line: &[u8]) -> Option<Record<'_>> {
    let Stored { log, stream, time } = serde_json::from_slice(line).ok()?;
    let stream = if stream == "stderr" { Stream::Stderr } else { Stream::Stdout };
    // A time that cannot be read costs the time, not the line.
    let time = chrono::DateTime::parse_from_rfc3339(&time).ok().and_then(|time| time.timestamp_nanos_opt());
    Some(Record { stream, text: Text::Plain(log), time: Time::Known(time.unwrap_or_default()) })
}

/// Whether the text, as it is between its quotes, ends with a newline.
pub(super) fn ends_line(text: &[u8]) -> bool {
    text.strip_suffix(b"n").is_some_and(|before| backslashes_at_end(before) % 2 == 1)
        || text.strip_suffix(b"u000a").is_some_and(|before| backslashes_at_end(before) % 2 == 1)
}

fn backslashes_at_end(text: &[u8]) -> usize {
    text.iter().rev().take_while(|byte| **byte == b'\\').count()
}

/// `None` for text that is no valid JSON string.
pub(super) fn unescape(mut text: &[u8], out: &mut Vec<u8>) -> Option<()> {
    while let Some(at) = memchr2(b'\\', b'"', text) {
        out.extend_from_slice(&text[..at]);
        if text[at] == b'"' {
            return None;
        }
        let (escape, rest) = text[at + 1..].split_first()?;
        text = rest;
        out.push(match escape {
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'b' => 8,
            b'f' => 12,
            b'"' | b'\\' | b'/' => *escape,
            b'u' => {
                let (character, rest) = code_point(text)?;
                out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                text = rest;
                continue;
            }
            _ => return None,
        });
    }
    out.extend_from_slice(text);
    Some(())
}

/// Four digits, or the eight of a pair.
fn code_point(text: &[u8]) -> Option<(char, &[u8])> {
    let (first, rest) = four_digits(text)?;
    if !(0xd800..0xdc00).contains(&first) {
        return Some((char::from_u32(first)?, rest));
    }
    let (second, rest) = four_digits(rest.strip_prefix(br"\u")?)?;
    let low = second.checked_sub(0xdc00).filter(|low| *low < 0x400)?;
    Some((char::from_u32(0x10000 + ((first - 0xd800) << 10) + low)?, rest))
}

fn four_digits(text: &[u8]) -> Option<(u32, &[u8])> {
    let (digits, rest) = text.split_at_checked(4)?;
    let digits =
        std::str::from_utf8(digits).ok().filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))?;
    Some((u32::from_str_radix(digits, 16).ok()?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TIME: &str = "2024-02-29T23:59:59.000000006Z";

    fn line(text: &str, stream: &str) -> String {
        format!(r#"{{"log":{},"stream":"{stream}","time":"{TIME}"}}"#, serde_json::to_string(text).unwrap())
    }

    fn text_of(record: &Record<'_>) -> Option<Vec<u8>> {
        let mut text = Vec::new();
        record.append_text(&mut text).then_some(text)
    }

    proptest! {
        #[test]
        fn every_text_is_read_as_it_was_written(text in r#"([ -~]|[\\"]|\PC|[\x00-\x20\u{7f}-\u{ff}]|\n){0,40}"#) {
            let line = line(&text, "stderr");
            let record = as_written(line.as_bytes()).unwrap();
            prop_assert_eq!(text_of(&record).unwrap(), text.as_bytes());
            prop_assert_eq!(record.ends_line(), text.ends_with('\n'));
            prop_assert_eq!(record.stream, Stream::Stderr);
        }
    }

    #[test]
    fn other_forms_of_the_same_are_read_too() {
        let any = br#"{ "time": "2024-02-29T23:59:59Z", "stream":"stdout", "log": "\ud83d\ude00\/\u000A" }"#;
        let record = parse(any).unwrap();
        assert_eq!(text_of(&record).unwrap(), "😀/\n".as_bytes());
        assert_eq!((record.stream, record.ends_line()), (Stream::Stdout, true));
        let mut time = Vec::new();
        record.append_time(&mut time);
        assert_eq!((record.time(), time), (1_709_251_199_000_000_000, b"2024-02-29T23:59:59.000000000Z".to_vec()));
        let escaped = line("x", "stdout").replace(r#""x""#, r#""\ud83d\ude00\/\u000a""#);
        let record = as_written(escaped.as_bytes()).unwrap();
        assert_eq!((text_of(&record).unwrap(), record.ends_line()), ("😀/\n".as_bytes().to_vec(), true));
    }

    #[test]
    fn text_with_the_mark_of_replaced_bytes_is_not_exact() {
        let mut out = b"kept".to_vec();
        for (text, exact) in [("a\n", true), ("a\u{fffd}\n", false)] {
            for line in [line(text, "stdout"), format!(" {}", line(text, "stdout"))] {
                let record = parse(line.as_bytes()).unwrap();
                assert_eq!(record.append_exact(&mut out), exact, "{line}");
            }
        }
        assert_eq!(out, b"kepta\na\n");
    }

    #[test]
    fn damaged_text_is_no_record() {
        for text in ["", "garbage", r#"{"log":"x"#, r#"{"log":1,"stream":"stdout","time":""}"#] {
            assert!(parse(text.as_bytes()).is_none(), "{text}");
        }
        // Half a record, and a whole one behind it.
        let joined = format!(r#"{{"log":"ab{}"#, line("cd\n", "stdout"));
        assert_eq!(parse(joined.as_bytes()).and_then(|record| text_of(&record)), None);
        let open = line("x", "stdout").replace("\"x\"", r#""x\""#);
        assert!(parse(open.as_bytes()).is_none());
        let mut kept = b"kept".to_vec();
        let odd = line("x", "stdout").replace("\"x\"", r#""x\q""#);
        assert!(!as_written(odd.as_bytes()).unwrap().append_text(&mut kept));
        assert_eq!(kept, b"kept");
    }
}
