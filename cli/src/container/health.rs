//! The health check: the probe's command and timing, and the reaction to an unhealthy container.

use clap::{Arg, ArgMatches, value_parser};
use cri_api::isula::v1::{CreateRequest, Healthcheck};

use crate::flag;

pub(super) fn flags() -> Vec<Arg> {
    let time = |long, help| flag::value(long, "TIME", help).value_parser(nanoseconds);
    vec![
        flag::value("health-cmd", "COMMAND", "Line for the container's shell that says whether it is well"),
        time("health-interval", "Between checks, such as 30s or 1m30s [default: 30s]"),
        time("health-timeout", "A check that takes longer has failed [default: 30s]"),
        time("health-start-period", "Failures do not count for so long after the start [default: 0s]"),
        flag::value("health-retries", "N", "Failures in a row that make it unhealthy [default: 3]")
            .value_parser(value_parser!(u32)),
        flag::switch("health-exit-on-unhealthy", "Kill it when it is unhealthy"),
        flag::switch("no-healthcheck", "Without the image's health check"),
    ]
}

pub(super) fn apply(matches: &ArgMatches, request: &mut CreateRequest) {
    let time = |long: &str| matches.get_one::<i64>(long).copied().unwrap_or(0);
    let command = flag::text_or_empty(matches, "health-cmd");
    let check = Healthcheck {
        test: if command.is_empty() { vec![] } else { vec!["CMD-SHELL".to_owned(), command] },
        interval: time("health-interval"),
        timeout: time("health-timeout"),
        start_period: time("health-start-period"),
        retries: matches.get_one::<u32>("health-retries").copied().unwrap_or(0),
    };
    request.healthcheck = Some(check).filter(|check| *check != Healthcheck::default());
    request.health_exit_on_unhealthy = flag::is_on(matches, "health-exit-on-unhealthy");
    request.no_healthcheck = flag::is_on(matches, "no-healthcheck");
}

/// `1m30s`, `500ms`, `2h`, `1.5s`.
fn nanoseconds(text: &str) -> Result<i64, &'static str> {
    const WANT: &str = "want a time such as 30s, 1m30s or 500ms";
    let mut total = 0_i64;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or(WANT)?;
        let (number, behind) = rest.split_at(digits);
        let letters = behind.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(behind.len());
        let (unit, behind) = behind.split_at(letters);
        let unit = match unit {
            "ns" => 1,
            "us" | "µs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000_i64,
            _ => return Err(WANT),
        };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.is_empty() || fraction.contains('.') || number.ends_with('.') {
            return Err(WANT);
        }
        let whole = whole.parse::<i64>().ok().and_then(|whole| whole.checked_mul(unit)).ok_or("it is too long")?;
        let part = fraction_of(fraction, unit);
        total = total.checked_add(whole).and_then(|total| total.checked_add(part)).ok_or("it is too long")?;
        rest = behind;
    }
    if text.is_empty() { Err(WANT) } else { Ok(total) }
}

/// Digits beyond the twelfth cannot matter.
fn fraction_of(digits: &str, unit: i64) -> i64 {
    let (mut value, mut scale) = (0_i128, 1_i128);
    for digit in digits.bytes().take(12) {
        value = value * 10 + i128::from(digit - b'0');
        scale *= 10;
    }
    i64::try_from(value * i128::from(unit) / scale).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::parse;

    #[test]
    fn times() {
        for (text, wanted) in [
            ("30s", 30_000_000_000),
            ("1m30s", 90_000_000_000),
            ("500ms", 500_000_000),
            ("1.5s", 1_500_000_000),
            ("2h", 7_200_000_000_000),
            ("0s", 0),
            ("7ns", 7),
        ] {
            assert_eq!(nanoseconds(text), Ok(wanted), "{text}");
        }
        for bad in ["", "30", "s", "-1s", "1x", "1.s", ".5s", "1..5s", "99999999999h", "1 s"] {
            assert!(nanoseconds(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn flags_enter_the_request() {
        let request = parse(&[
            "--health-cmd=test -e /up",
            "--health-interval=1s",
            "--health-timeout",
            "2s",
            "--health-start-period=3s",
            "--health-retries=4",
            "--health-exit-on-unhealthy",
            "x",
        ])
        .unwrap();
        let second = 1_000_000_000;
        let wanted = Healthcheck {
            test: vec!["CMD-SHELL".to_owned(), "test -e /up".to_owned()],
            interval: second,
            timeout: 2 * second,
            start_period: 3 * second,
            retries: 4,
        };
        assert_eq!((request.healthcheck, request.health_exit_on_unhealthy), (Some(wanted), true));
        assert_eq!(parse(&["x"]).unwrap().healthcheck, None);
        assert!(parse(&["--no-healthcheck", "x"]).unwrap().no_healthcheck);
    }
}
