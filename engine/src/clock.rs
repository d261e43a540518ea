//! The world's time and boot, read in one place.

use std::io;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::domain::id::{BootId, Timestamp};

/// Wall time now.
pub fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}

/// This boot of the host. A debug build takes `ISULAD_BOOT_ID` (32 hexadecimal digits) in its place, so that tests can
/// reboot without rebooting.
pub fn boot_id() -> io::Result<BootId> {
    let text = overridden().map_or_else(|| std::fs::read_to_string("/proc/sys/kernel/random/boot_id"), Ok)?;
    let digits: String = text.trim().chars().filter(|c| *c != '-').collect();
    let mut bytes = [0; 16];
    hex::decode_to_slice(digits, &mut bytes)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, format!("the boot id cannot be read: {error}")))?;
    Ok(BootId(bytes))
}

fn overridden() -> Option<String> {
    cfg!(debug_assertions).then(|| std::env::var("ISULAD_BOOT_ID").ok()).flatten()
}

/// RFC 3339 with nanoseconds, in UTC; the zero time is the reference's.
pub fn rfc3339(at: Option<Timestamp>) -> String {
    match at {
        None => "0001-01-01T00:00:00Z".to_owned(),
        Some(at) => chrono::DateTime::from_timestamp_nanos(i64::try_from(at.0).unwrap_or(i64::MAX))
            .to_rfc3339_opts(chrono::SecondsFormat::Nanos, true),
    }
}
