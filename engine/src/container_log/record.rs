//! One record of the log: `{"log":"…","stream":"stdout","time":"…"}`.
//!
//! A log is read at the speed of memory, so the shim's own records are taken apart by their fixed parts and only the
//! text is examined. Any other JSON of the same meaning is read by a parser.

use memchr::memchr2;
use serde::Deserialize;

/// Which output a record is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stream {
    Stdout,
    Stderr,
}

/// A piece of a line: all of it, or as much as one record holds.
#[derive(Debug)]
pub(crate) struct Record<'a> {
    pub stream: Stream,
    text: Text<'a>,
    time: Time<'a>,
}

#[derive(Debug)]
enum Text<'a> {
    /// As in the file, between its quotes.
    Escaped(&'a [u8]),
    Plain(String),
}

#[derive(Debug)]
enum Time<'a> {
    /// RFC 3339.
    Written(&'a [u8]),
    /// Unix nanoseconds; 0 where the text was none.
    Known(i64),
}

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
/// `2026-11-22T02:22:34.000000001Z`
const TIME_LENGTH: usize = 30;

impl<'a> Record<'a> {
    /// Parses one line of the file, without its newline. `None` for a damaged one.
    pub(crate) fn parse(line: &'a [u8]) -> Option<Self> {
        Self::as_written(line).or_else(|| Self::as_any_json(line))
    }

    /// From its end, where nothing is of varying length. A quote within a text has a backslash before it, so the fixed
    /// parts cannot be part of one.
    fn as_written(line: &'a [u8]) -> Option<Self> {
        let rest = line.strip_prefix(BEFORE_TEXT)?.strip_suffix(br#""}"#)?;
        let (rest, time) = rest.split_at_checked(rest.len().checked_sub(TIME_LENGTH)?)?;
        let rest = rest.strip_suffix(BEFORE_TIME)?;
        let (text, stream) = match rest.strip_suffix(STDOUT) {
            Some(text) => (text, Stream::Stdout),
            None => (rest.strip_suffix(STDERR)?, Stream::Stderr),
        };
        let written = time[TIME_LENGTH - 1] == b'Z' && backslashes_at_end(text).is_multiple_of(2);
        written.then_some(Self { stream, text: Text::Escaped(text), time: Time::Written(time) })
    }

    fn as_any_json(line: &[u8]) -> Option<Self> {
        let Stored { log, stream, time } = serde_json::from_slice(line).ok()?;
        let stream = if stream == "stderr" { Stream::Stderr } else { Stream::Stdout };
        // A time that cannot be read costs the time, not the line.
        let time = chrono::DateTime::parse_from_rfc3339(&time).ok().and_then(|time| time.timestamp_nanos_opt());
        Some(Self { stream, text: Text::Plain(log), time: Time::Known(time.unwrap_or_default()) })
    }

    /// Whether a line ends with it.
    pub(crate) fn ends_line(&self) -> bool {
        match &self.text {
            Text::Escaped(text) => {
                text.strip_suffix(b"n").is_some_and(|before| backslashes_at_end(before) % 2 == 1)
                    || text.strip_suffix(b"u000a").is_some_and(|before| backslashes_at_end(before) % 2 == 1)
            }
            Text::Plain(text) => text.ends_with('\n'),
        }
    }

    /// Adds the text; false, and nothing is added, when it is damaged.
    pub(crate) fn append_text(&self, out: &mut Vec<u8>) -> bool {
        match &self.text {
            Text::Escaped(text) => {
                let before = out.len();
                let whole = unescape(text, out).is_some();
                if !whole {
                    out.truncate(before);
                }
                whole
            }
            Text::Plain(text) => {
                out.extend_from_slice(text.as_bytes());
                true
            }
        }
    }

    /// Unix nanoseconds; 0 where it cannot be read.
    pub(crate) fn time(&self) -> i64 {
        match self.time {
            Time::Written(text) => nanoseconds(text).unwrap_or_default(),
            Time::Known(time) => time,
        }
    }

    /// Adds the time as `2026-11-22T02:22:34.000000001Z`.
    pub(crate) fn append_time(&self, out: &mut Vec<u8>) {
        match self.time {
            Time::Written(text) => out.extend_from_slice(text),
            Time::Known(time) => {
                let time = chrono::DateTime::from_timestamp_nanos(time);
                out.extend_from_slice(time.to_rfc3339_opts(chrono::SecondsFormat::Nanos, true).as_bytes());
            }
        }
    }
}

fn backslashes_at_end(text: &[u8]) -> usize {
    text.iter().rev().take_while(|byte| **byte == b'\\').count()
}

/// `None` for text that is no valid JSON string.
fn unescape(mut text: &[u8], out: &mut Vec<u8>) -> Option<()> {
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

/// The nanoseconds of a time in the shim's form.
fn nanoseconds(text: &[u8]) -> Option<i64> {
    let number = |from: usize, to: usize| {
        text[from..to]
            .iter()
            .try_fold(0_i64, |number, byte| byte.is_ascii_digit().then(|| number * 10 + i64::from(byte - b'0')))
    };
    let separators = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':'), (19, b'.'), (29, b'Z')];
    if text.len() != TIME_LENGTH || separators.iter().any(|(at, separator)| text[*at] != *separator) {
        return None;
    }
    let days = days_of(number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let seconds = ((days * 24 + number(11, 13)?) * 60 + number(14, 16)?) * 60 + number(17, 19)?;
    seconds.checked_mul(1_000_000_000)?.checked_add(number(20, 29)?)
}

/// Days since 1970-01-01 of a Gregorian date, counted in years that begin in March.
fn days_of(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
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
            let record = Record::as_written(line.as_bytes()).unwrap();
            prop_assert_eq!(text_of(&record).unwrap(), text.as_bytes());
            prop_assert_eq!(record.ends_line(), text.ends_with('\n'));
            prop_assert_eq!(record.stream, Stream::Stderr);
        }

        #[test]
        fn times_are_those_of_the_calendar(nanos in 0_i64..4_102_444_800_000_000_000) {
            let time = chrono::DateTime::from_timestamp_nanos(nanos).to_rfc3339_opts(chrono::SecondsFormat::Nanos, true);
            prop_assert_eq!(nanoseconds(time.as_bytes()), Some(nanos));
        }
    }

    #[test]
    fn other_forms_of_the_same_are_read_too() {
        let any = br#"{ "time": "2024-02-29T23:59:59Z", "stream":"stdout", "log": "\ud83d\ude00\/\u000A" }"#;
        let record = Record::parse(any).unwrap();
        assert_eq!(text_of(&record).unwrap(), "😀/\n".as_bytes());
        assert_eq!((record.stream, record.ends_line()), (Stream::Stdout, true));
        let mut time = Vec::new();
        record.append_time(&mut time);
        assert_eq!((record.time(), time), (1_709_251_199_000_000_000, b"2024-02-29T23:59:59.000000000Z".to_vec()));
        let escaped = line("x", "stdout").replace(r#""x""#, r#""\ud83d\ude00\/\u000a""#);
        let record = Record::as_written(escaped.as_bytes()).unwrap();
        assert_eq!((text_of(&record).unwrap(), record.ends_line()), ("😀/\n".as_bytes().to_vec(), true));
    }

    #[test]
    fn damaged_text_is_no_record() {
        for text in ["", "garbage", r#"{"log":"x"#, r#"{"log":1,"stream":"stdout","time":""}"#] {
            assert!(Record::parse(text.as_bytes()).is_none(), "{text}");
        }
        // Half a record, and a whole one behind it.
        let joined = format!(r#"{{"log":"ab{}"#, line("cd\n", "stdout"));
        assert_eq!(Record::parse(joined.as_bytes()).and_then(|record| text_of(&record)), None);
        let open = line("x", "stdout").replace("\"x\"", r#""x\""#);
        assert!(Record::parse(open.as_bytes()).is_none());
        let mut kept = b"kept".to_vec();
        let odd = line("x", "stdout").replace("\"x\"", r#""x\q""#);
        assert!(!Record::as_written(odd.as_bytes()).unwrap().append_text(&mut kept));
        assert_eq!(kept, b"kept");
    }
}
