//! Extended headers of POSIX: records `length key=value\n`. Values may hold any bytes, line feeds and zeros too.

use super::Problem;

/// Key and value.
type Pair<'a> = (&'a [u8], &'a [u8]);

/// The records of an extended header, in order.
pub(super) fn records(mut bytes: &[u8]) -> Result<Vec<Pair<'_>>, Problem> {
    let mut records = Vec::new();
    while !bytes.is_empty() {
        let (key, value, rest) = record(bytes).ok_or(Problem::ExtendedHeader)?;
        records.push((key, value));
        bytes = rest;
    }
    Ok(records)
}

type Record<'a> = (&'a [u8], &'a [u8], &'a [u8]);

fn record(bytes: &[u8]) -> Option<Record<'_>> {
    let space = bytes.iter().position(|byte| *byte == b' ')?;
    let length: usize = digits(&bytes[..space])?.try_into().ok()?;
    let whole = bytes.get(..length)?;
    let text = whole.get(space + 1..)?.strip_suffix(b"\n")?;
    let equals = text.iter().position(|byte| *byte == b'=')?;
    (equals > 0).then(|| (&text[..equals], &text[equals + 1..], &bytes[length..]))
}

/// A decimal number without a sign.
pub(super) fn digits(text: &[u8]) -> Option<u64> {
    // `parse` takes a plus sign.
    let all = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    all.then(|| std::str::from_utf8(text).ok()?.parse().ok()).flatten()
}

/// Seconds and nanoseconds of a decimal number; finer fractions are cut off, towards the past.
pub(super) fn time(text: &[u8]) -> Option<(i64, u32)> {
    let (negative, text) = text.strip_prefix(b"-").map_or((false, text), |text| (true, text));
    let (whole, fraction) = match text.iter().position(|byte| *byte == b'.') {
        Some(point) => (&text[..point], &text[point + 1..]),
        None => (text, &[][..]),
    };
    let seconds = i64::try_from(digits(whole)?).ok()?;
    if !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let nanoseconds =
        (0..9).fold(0, |sum, place| sum * 10 + fraction.get(place).map_or(0, |digit| u32::from(digit - b'0')));
    Some(match (negative, nanoseconds) {
        (false, _) => (seconds, nanoseconds),
        (true, 0) => (-seconds, 0),
        (true, _) => (-seconds - 1, 1_000_000_000 - nanoseconds),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_hold_any_bytes() {
        let found = records(b"12 a=b=\n\0 c\n6 k=v\n5 k=\n").unwrap();
        assert_eq!(found, [(&b"a"[..], &b"b=\n\0 c"[..]), (b"k", b"v"), (b"k", b"")]);
        assert!(records(b"").unwrap().is_empty());
    }

    #[test]
    fn broken_records_are_refused() {
        for bytes in [
            "6 k=v",
            "7 k=v\n",
            "5 k=v\n",
            "k=v\n",
            "6 kvv\n",
            "5 =v\n",
            "0 \n",
            "2 \n",
            "-6 k=v\n",
            "99999999999999999999 k=v\n",
        ] {
            assert!(records(bytes.as_bytes()).is_err(), "{bytes:?}");
        }
    }

    #[test]
    fn times_have_fractions_and_signs() {
        for (text, expected) in [
            ("0", Some((0, 0))),
            ("1700000000.123456789", Some((1_700_000_000, 123_456_789))),
            ("1.5", Some((1, 500_000_000))),
            ("1.0000000019", Some((1, 1))),
            ("1.", Some((1, 0))),
            ("-1", Some((-1, 0))),
            ("-1.25", Some((-2, 750_000_000))),
            ("", None),
            (".5", None),
            ("1e3", None),
            ("1.x", None),
            ("99999999999999999999", None),
        ] {
            assert_eq!(time(text.as_bytes()), expected, "{text:?}");
        }
    }
}
