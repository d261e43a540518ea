//! Durations in words, rounded as the reference rounds them.

const NANOS: i64 = 1_000_000_000;

/// How long ago `then` was at `now` (unix nanoseconds): `3 minutes`. A zero time is `-`. A time to come is none yet.
pub(crate) fn since(then: i64, now: i64) -> String {
    if then == 0 {
        return "-".to_owned();
    }
    words(now.saturating_sub(then).max(0) / NANOS)
}

/// The same with ` ago` behind it.
pub(crate) fn ago(then: i64, now: i64) -> String {
    if then == 0 { "-".to_owned() } else { since(then, now) + " ago" }
}

fn words(seconds: i64) -> String {
    let (minutes, hours) = (seconds / 60, seconds / 3600);
    let days = hours / 24;
    match () {
        () if seconds < 1 => "Less than a second".to_owned(),
        () if seconds == 1 => "1 second".to_owned(),
        () if seconds < 60 => format!("{seconds} seconds"),
        () if minutes == 1 => "About a minute".to_owned(),
        () if minutes < 60 => format!("{minutes} minutes"),
        () if hours == 1 => "About an hour".to_owned(),
        () if hours < 48 => format!("{hours} hours"),
        () if days < 7 => format!("{days} days"),
        () if days < 90 => format!("{} weeks", days / 7),
        () if days < 730 => format!("{} months", days / 30),
        () => format!("{} years", days / 365),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_words() {
        const DAY: i64 = 86_400;
        for (seconds, wanted) in [
            (0, "Less than a second"),
            (1, "1 second"),
            (59, "59 seconds"),
            (60, "About a minute"),
            (119, "About a minute"),
            (120, "2 minutes"),
            (3599, "59 minutes"),
            (3600, "About an hour"),
            (7199, "About an hour"),
            (7200, "2 hours"),
            (48 * 3600 - 1, "47 hours"),
            (2 * DAY, "2 days"),
            (7 * DAY - 1, "6 days"),
            (7 * DAY, "1 weeks"),
            (90 * DAY - 1, "12 weeks"),
            (90 * DAY, "3 months"),
            (730 * DAY - 1, "24 months"),
            (730 * DAY, "2 years"),
        ] {
            assert_eq!(words(seconds), wanted, "{seconds}");
        }
    }

    #[test]
    fn edges() {
        assert_eq!((since(0, NANOS), ago(0, NANOS)), ("-".into(), "-".into()));
        assert_eq!(since(2 * NANOS, NANOS), "Less than a second");
        assert_eq!(ago(NANOS, 4 * NANOS), "3 seconds ago");
        assert_eq!(since(i64::MIN, i64::MAX), words(i64::MAX / NANOS));
    }
}
