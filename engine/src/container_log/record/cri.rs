//! `2026-11-22T02:22:34.000000001Z stdout F text`: `F` ends a line, `P` is a part of one.

use memchr::memchr;

use super::{Record, Stream, TIME_LENGTH, Text, Time};

pub(super) fn parse(line: &[u8]) -> Option<Record<'_>> {
    let (time, rest) = split(line)?;
    let (stream, rest) = match split(rest)? {
        (b"stdout", rest) => (Stream::Stdout, rest),
        (b"stderr", rest) => (Stream::Stderr, rest),
        _ => return None,
    };
    let (tags, text) = split(rest)?;
    // Further tags may stand behind the first one.
    let text = match tags.split(|byte| *byte == b':').next()? {
        b"F" => Text::Line(text),
        b"P" => Text::Part(text),
        _ => return None,
    };
    Some(Record { stream, text, time: parse_time(time)? })
}

/// Before and behind the first blank.
fn split(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let blank = memchr(b' ', line)?;
    Some((&line[..blank], &line[blank + 1..]))
}

/// As the shim writes it, or with other decimals and zones.
fn parse_time(time: &[u8]) -> Option<Time<'_>> {
    if time.len() == TIME_LENGTH && time[0].is_ascii_digit() && time[TIME_LENGTH - 1] == b'Z' {
        return Some(Time::Written(time));
    }
    let time = chrono::DateTime::parse_from_rfc3339(std::str::from_utf8(time).ok()?).ok()?;
    time.timestamp_nanos_opt().map(Time::Known)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIME: &str = "2024-02-29T23:59:59.000000006Z";
    const NANOSECONDS: i64 = 1_709_251_199_000_000_006;

    fn read(line: &[u8]) -> Option<(Stream, Vec<u8>, bool, i64)> {
        let record = parse(line)?;
        let mut text = Vec::new();
        assert!(record.append_exact(&mut text));
        Some((record.stream, text, record.ends_line(), record.time()))
    }

    #[test]
    fn records_are_lines_and_parts_of_lines() {
        use Stream::{Stderr, Stdout};
        let cases: [(&[u8], Stream, &[u8], bool); 7] = [
            (b"stdout F hello  you", Stdout, b"hello  you\n", true),
            (b"stderr F ", Stderr, b"\n", true),
            (b"stdout P tail", Stdout, b"tail", false),
            (b"stdout P ", Stdout, b"", false),
            (b"stdout F:later:tags x", Stdout, b"x\n", true),
            // Bytes are kept as they are, also the mark of others that were replaced.
            (b"stdout F \xff\0\r", Stdout, b"\xff\0\r\n", true),
            ("stderr P \u{fffd}".as_bytes(), Stderr, "\u{fffd}".as_bytes(), false),
        ];
        for (record, stream, text, ends_line) in cases {
            let line = [TIME.as_bytes(), b" ", record].concat();
            assert_eq!(read(&line), Some((stream, text.to_vec(), ends_line, NANOSECONDS)), "{record:?}");
        }
    }

    #[test]
    fn times_of_other_writers_are_read() {
        for (written, nanoseconds) in [
            ("2024-02-29T23:59:59Z", NANOSECONDS - 6),
            ("2024-03-01T01:59:59.000000006+02:00", NANOSECONDS),
            ("2024-02-29T18:59:59.5-05:00", NANOSECONDS - 6 + 500_000_000),
        ] {
            let line = format!("{written} stdout F x");
            let record = parse(line.as_bytes()).unwrap();
            let mut shown = Vec::new();
            record.append_time(&mut shown);
            assert_eq!(record.time(), nanoseconds, "{written}");
            assert!(shown.len() == TIME_LENGTH && shown.starts_with(b"2024-02-29T23:59:59.") && shown.ends_with(b"Z"));
        }
    }

    #[test]
    fn damaged_lines_are_no_records() {
        for line in [
            "",
            "garbage",
            "stdout F x",
            &format!("{TIME} stdout F"),
            &format!("{TIME} stdin F x"),
            &format!("{TIME} stdout f x"),
            &format!("{TIME}  stdout F x"),
            &format!("{TIME} stdout  F x"),
            "xxxx-02-29T23:59:59.000000006Z stdout F x",
            "yesterday stdout F x",
            r#"{"log":"x\n","stream":"stdout","time":"2024-02-29T23:59:59.000000006Z"}"#,
        ] {
            assert!(parse(line.as_bytes()).is_none(), "{line:?}");
        }
    }
}
