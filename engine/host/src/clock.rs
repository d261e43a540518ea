//! The time and the boot of the host, read in one place.

use std::io;
use std::time::{SystemTime, UNIX_EPOCH};

use engine_domain::id::{BootId, Timestamp};

/// Seconds by which a file's time and a process's may disagree: both are rounded, and a clock may run a little fast.
const CLOCK_SLACK: f64 = 1.0;

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

/// Whether a process had started by `then`, by the clocks of this moment. `start_time` is in ticks since boot.
pub fn started_by(start_time: u64, then: SystemTime) -> bool {
    started_within(start_time, then).unwrap_or(false)
}

fn started_within(start_time: u64, then: SystemTime) -> Option<bool> {
    let ticks = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK).ok()??;
    let ticks = u64::try_from(ticks).ok().filter(|ticks| *ticks > 0)?;
    let uptime = std::fs::read_to_string("/proc/uptime").ok()?;
    let uptime: f64 = uptime.split_ascii_whitespace().next()?.parse().ok()?;
    let since = then.elapsed().unwrap_or_default();
    Some(start_time as f64 / ticks as f64 <= uptime - since.as_secs_f64() + CLOCK_SLACK)
}

/// RFC 3339 with nanoseconds, in UTC; the zero time is the reference's.
pub fn rfc3339(at: Option<Timestamp>) -> String {
    match at {
        None => "0001-01-01T00:00:00Z".to_owned(),
        Some(at) => chrono::DateTime::from_timestamp_nanos(i64::try_from(at.0).unwrap_or(i64::MAX))
            .to_rfc3339_opts(chrono::SecondsFormat::Nanos, true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_process_has_started_by_now_and_not_long_before() {
        let mut child = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        let process = isulad_shim::ProcessRef::of(child.id().cast_signed()).unwrap();
        let (now, before) = (SystemTime::now(), SystemTime::now() - Duration::from_secs(30));
        assert!(started_by(process.start_time, now));
        assert!(!started_by(process.start_time, before), "whoever has its number has had it since");
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
