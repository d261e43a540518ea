//! Sizes as they are shown.

const UNITS: [(u64, &str); 4] = [(1 << 40, "TB"), (1 << 30, "GB"), (1 << 20, "MB"), (1 << 10, "KB")];

/// `12.345MB`: three digits after the point, in powers of 1024; plain bytes below the first of them.
pub(crate) fn shown(bytes: u64) -> String {
    match UNITS.iter().find(|(unit, _)| bytes >= *unit) {
        None => format!("{bytes}B"),
        Some((unit, name)) => {
            // In whole numbers: a float has not enough digits for all sizes.
            let thousandths = u128::from(bytes) * 1000 / u128::from(*unit);
            format!("{}.{:03}{name}", thousandths / 1000, thousandths % 1000)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (bytes, wanted) in [
            (0, "0B"),
            (1023, "1023B"),
            (1024, "1.000KB"),
            (1536, "1.500KB"),
            ((1 << 20) - 1, "1023.999KB"),
            (12_944_671, "12.345MB"),
            (3 << 29, "1.500GB"),
            (u64::MAX, "16777215.999TB"),
        ] {
            assert_eq!(shown(bytes), wanted, "{bytes}");
        }
    }
}
