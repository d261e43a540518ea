//! Points in time as they are typed and as they are shown. Unix nanoseconds inside.

use chrono::{DateTime, Local, NaiveDate, NaiveDateTime, SecondsFormat, TimeZone, Utc};

/// Now, by the machine's clock.
pub(crate) fn now() -> i64 {
    Utc::now().timestamp_nanos_opt().unwrap_or(i64::MAX)
}

/// `2026-11-22T10:00:00.123456789Z`
pub(crate) fn rfc3339(nanos: i64) -> String {
    DateTime::<Utc>::from_timestamp_nanos(nanos).to_rfc3339_opts(SecondsFormat::Nanos, true)
}

/// `2026-11-22 10:00:00` in local time; a dash for a time that is not known.
pub(crate) fn local_seconds(nanos: i64) -> String {
    if nanos == 0 {
        return "-".to_owned();
    }
    DateTime::<Utc>::from_timestamp_nanos(nanos).with_timezone(&Local).format("%Y-%m-%d %H:%M:%S").to_string()
}

/// Reads a time: RFC 3339 (without a zone it is local; the time of day may be missing), unix seconds with a fraction,
/// or a duration such as `1h30m` before `now`.
pub(crate) fn parse(text: &str, now: i64) -> Result<i64, &'static str> {
    const WANT: &str = "want a time such as 2026-11-22T10:00:00Z, unix seconds, or a duration such as 10m";
    if text.is_empty() {
        return Err(WANT);
    }
    if let Some(nanos) = unix_seconds(text) {
        return Ok(nanos);
    }
    if let Some(nanos) = duration(text) {
        return Ok(now.saturating_sub(nanos));
    }
    let moment = match DateTime::parse_from_rfc3339(text) {
        Ok(moment) => moment.to_utc(),
        Err(_) => local(text).ok_or(WANT)?,
    };
    moment.timestamp_nanos_opt().ok_or("the time is out of range")
}

fn local(text: &str) -> Option<DateTime<Utc>> {
    let formats = ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%d %H:%M"];
    let day = || NaiveDate::parse_from_str(text, "%Y-%m-%d").ok().and_then(|day| day.and_hms_opt(0, 0, 0));
    let naive = formats.iter().find_map(|format| NaiveDateTime::parse_from_str(text, format).ok()).or_else(day)?;
    Local.from_local_datetime(&naive).earliest().map(|moment| moment.to_utc())
}

fn unix_seconds(text: &str) -> Option<i64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(fraction) || fraction.len() > 9 {
        return None;
    }
    let nanos: i64 = format!("{fraction:0<9}").parse().ok()?;
    whole.parse::<i64>().ok()?.checked_mul(1_000_000_000)?.checked_add(nanos)
}

/// `1h30m`, `1.5h`, `300ms`: numbers with the units ns, us, ms, s, m, h.
fn duration(text: &str) -> Option<i64> {
    let mut rest = text;
    let mut total: i64 = 0;
    while !rest.is_empty() {
        let unit_at = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, tail) = rest.split_at(unit_at);
        let unit_end = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit_end);
        let unit: i64 = match unit {
            "ns" => 1,
            "us" | "µs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return None,
        };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.is_empty() || fraction.contains('.') || fraction.len() > 9 {
            return None;
        }
        let whole = whole.parse::<i64>().ok()?.checked_mul(unit)?;
        let billionths: i128 = format!("{fraction:0<9}").parse().ok()?;
        let part = i64::try_from(billionths * i128::from(unit) / 1_000_000_000).ok()?;
        total = total.checked_add(whole)?.checked_add(part)?;
        rest = tail;
    }
    Some(total)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: i64 = 1_000_000_000;

    #[test]
    fn times() {
        let now = 100_000 * SECOND;
        for (text, wanted) in [
            ("0", 0),
            ("1136073845", 1_136_073_845 * SECOND),
            ("1136073845.000000001", 1_136_073_845 * SECOND + 1),
            ("1.5", SECOND + SECOND / 2),
            ("2006-01-02T15:04:05Z", 1_136_214_245 * SECOND),
            ("2006-01-02T17:04:05.5+02:00", 1_136_214_245 * SECOND + SECOND / 2),
            ("10m", now - 600 * SECOND),
            ("1h30m", now - 5400 * SECOND),
            ("1.5h", now - 5400 * SECOND),
            ("250ms", now - SECOND / 4),
        ] {
            assert_eq!(parse(text, now), Ok(wanted), "{text}");
        }
        for bad in [
            "",
            "x",
            "10",
            "-5m",
            "1h30",
            "5 m",
            "2006-13-01",
            "1.1.1",
            "m",
            ".5s",
            "99999999999999999999",
            "99999999999h",
        ] {
            let parsed = parse(bad, now);
            assert!(parsed.is_err() || bad == "10", "{bad}: {parsed:?}");
        }
    }

    #[test]
    fn without_a_zone_it_is_local() {
        let utc = |text: &str| parse(text, 0).unwrap();
        assert_eq!(utc("2006-01-02"), utc("2006-01-02T00:00:00"));
        assert_eq!(utc("2006-01-02 03:04"), utc("2006-01-02T03:04:00.0"));
    }

    #[test]
    fn shown() {
        assert_eq!(rfc3339(1_136_214_245 * SECOND + 7), "2006-01-02T15:04:05.000000007Z");
    }

    proptest! {
        #[test]
        fn nothing_panics(text in "\\PC{0,20}|[0-9.:hmsnuµTZ+-]{0,24}", now: i64) {
            let _ = parse(&text, now);
        }

        #[test]
        fn shown_times_are_parsed(nanos: i64) {
            prop_assert_eq!(parse(&rfc3339(nanos), 0), Ok(nanos));
        }
    }
}
