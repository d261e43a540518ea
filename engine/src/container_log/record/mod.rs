//! One record of the log. A log is read at the speed of memory, so records are taken apart by their fixed parts and only
//! the text is examined.

mod cri;
mod json_file;

use memchr::memmem;

use super::LogFormat;

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
    /// As in a JSON file, between its quotes.
    Escaped(&'a [u8]),
    Plain(String),
    /// A line without its end.
    Line(&'a [u8]),
    /// A part of a line.
    Part(&'a [u8]),
}

#[derive(Debug)]
enum Time<'a> {
    /// RFC 3339.
    Written(&'a [u8]),
    /// Unix nanoseconds; 0 where the text was none.
    Known(i64),
}

/// `2026-11-22T02:22:34.000000001Z`
const TIME_LENGTH: usize = 30;

impl<'a> Record<'a> {
    /// Parses one line of the file, without its newline. `None` for a damaged one.
    pub(crate) fn parse(format: LogFormat, line: &'a [u8]) -> Option<Self> {
        match format {
            LogFormat::JsonFile => json_file::parse(line),
            LogFormat::Cri => cri::parse(line),
        }
    }

    /// Whether a line ends with it.
    pub(crate) fn ends_line(&self) -> bool {
        match &self.text {
            Text::Escaped(text) => json_file::ends_line(text),
            Text::Plain(text) => text.ends_with('\n'),
            Text::Line(_) => true,
            Text::Part(_) => false,
        }
    }

    /// Adds the text; false, and nothing is added, when it is damaged.
    pub(crate) fn append_text(&self, out: &mut Vec<u8>) -> bool {
        match &self.text {
            Text::Escaped(text) => {
                let before = out.len();
                let whole = json_file::unescape(text, out).is_some();
                if !whole {
                    out.truncate(before);
                }
                return whole;
            }
            Text::Plain(text) => out.extend_from_slice(text.as_bytes()),
            Text::Part(text) => out.extend_from_slice(text),
            Text::Line(text) => {
                out.extend_from_slice(text);
                out.push(b'\n');
            }
        }
        true
    }

    /// The same for text that is the container's output byte for byte; false also where that is not certain.
    pub(crate) fn append_exact(&self, out: &mut Vec<u8>) -> bool {
        let before = out.len();
        let replaced = |text: &[u8]| match &self.text {
            // JSON has this character in the place of bytes that are not UTF-8.
            Text::Escaped(_) | Text::Plain(_) => memmem::find(text, "\u{fffd}".as_bytes()).is_some(),
            Text::Line(_) | Text::Part(_) => false,
        };
        let exact = self.append_text(out) && !replaced(&out[before..]);
        if !exact {
            out.truncate(before);
        }
        exact
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

    proptest! {
        #[test]
        fn times_are_those_of_the_calendar(nanos in 0_i64..4_102_444_800_000_000_000) {
            let time = chrono::DateTime::from_timestamp_nanos(nanos).to_rfc3339_opts(chrono::SecondsFormat::Nanos, true);
            prop_assert_eq!(nanoseconds(time.as_bytes()), Some(nanos));
        }
    }
}
