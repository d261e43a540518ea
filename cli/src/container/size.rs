//! Sizes in bytes and CPU counts, as people write them.

/// Bytes from `1024`, `512m`, `1.5g`, `64MiB`, `10 kb`: letters b, k, m, g, t, p count in powers of 1024,
/// in either case, with or without `b` or `ib` after them.
pub(super) fn bytes(text: &str) -> Result<i64, &'static str> {
    const WANT: &str = "want a number with an optional unit b, k, m, g, t or p";
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit = unit.trim_start_matches(' ').to_ascii_lowercase();
    let shift = match unit.as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        "p" | "pb" | "pib" => 50,
        _ => return Err(WANT),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() || fraction.contains('.') || number.ends_with('.') {
        return Err(WANT);
    }
    let whole: i64 = whole.parse().map_err(|_| "it is too large")?;
    let whole = whole.checked_mul(1 << shift).ok_or("it is too large")?;
    whole.checked_add(fraction_of(fraction, 1 << shift)).ok_or("it is too large")
}

/// The same, or -1 for unlimited.
pub(super) fn bytes_or_unlimited(text: &str) -> Result<i64, &'static str> {
    if text == "-1" { Ok(-1) } else { bytes(text) }
}

/// `0.<digits>` of `unit`, rounded down. Digits beyond the eighteenth cannot matter.
fn fraction_of(digits: &str, unit: i64) -> i64 {
    let digits = &digits[..digits.len().min(18)];
    let (mut numerator, mut denominator) = (0i128, 1i128);
    for digit in digits.bytes() {
        numerator = numerator * 10 + i128::from(digit - b'0');
        denominator *= 10;
    }
    i64::try_from(numerator * i128::from(unit) / denominator).unwrap_or(i64::MAX)
}

/// Billionths of a CPU from `2`, `0.5`, `.25`; at most nine digits after the point.
pub(super) fn nano_cpus(text: &str) -> Result<i64, &'static str> {
    const WANT: &str = "want a count of CPUs such as 1.5";
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let all_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if whole.len() + fraction.len() == 0 || !all_digits(whole) || !all_digits(fraction) {
        return Err(WANT);
    }
    if fraction.len() > 9 {
        return Err("more than nine digits after the point");
    }
    let whole: i64 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| "it is too large")? };
    let nanos = whole.checked_mul(1_000_000_000).ok_or("it is too large")?;
    nanos.checked_add(fraction_of(fraction, 1_000_000_000)).ok_or("it is too large")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, wanted) in [
            ("0", 0),
            ("1024", 1024),
            ("1b", 1),
            ("1k", 1024),
            ("1KB", 1024),
            ("512m", 512 << 20),
            ("512M", 512 << 20),
            ("64MiB", 64 << 20),
            ("64 mib", 64 << 20),
            ("1g", 1 << 30),
            ("1.5g", 3 << 29),
            ("0.5k", 512),
            ("1.5", 1),
            ("2t", 2 << 40),
            ("1p", 1 << 50),
            ("9223372036854775807", i64::MAX),
        ] {
            assert_eq!(bytes(text), Ok(wanted), "{text}");
        }
        for bad in
            ["", "m", "-1", "1x", "1..5", "1.", ".5m", "1mm", "1m ", "one", "9223372036854775808", "9000p", "1 0"]
        {
            assert!(bytes(bad).is_err(), "{bad:?}");
        }
        assert_eq!(bytes_or_unlimited("-1"), Ok(-1));
        assert!(bytes_or_unlimited("-2").is_err());
    }

    #[test]
    fn cpus() {
        for (text, wanted) in [
            ("1", 1_000_000_000),
            ("1.5", 1_500_000_000),
            (".25", 250_000_000),
            ("0.000000001", 1),
            ("0", 0),
            ("2.", 2_000_000_000),
        ] {
            assert_eq!(nano_cpus(text), Ok(wanted), "{text}");
        }
        for bad in ["", ".", "-1", "1e3", "0.0000000001", "9999999999999", "a", "1.2.3"] {
            assert!(nano_cpus(bad).is_err(), "{bad:?}");
        }
    }
}
