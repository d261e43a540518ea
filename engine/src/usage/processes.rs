//! The columns of `ps -ef`, read from `/proc`: for hosts without a ps.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::os::unix::fs::MetadataExt;

use chrono::{DateTime, Local};

use super::Table;

const TITLES: [&str; 8] = ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"];
/// Clock ticks in a second, as `/proc` shows them.
const TICKS: u64 = 100;

/// The processes that still exist, in the order of their numbers.
pub(super) fn list(pids: &BTreeSet<i32>) -> Table {
    let names = user_names(&fs::read_to_string("/etc/passwd").unwrap_or_default());
    let now = Local::now();
    let uptime = fs::read_to_string("/proc/uptime").ok();
    let uptime = uptime.and_then(|text| text.split('.').next()?.parse::<u64>().ok()).unwrap_or(0);
    let row = |pid: &i32| {
        let owner = fs::metadata(format!("/proc/{pid}")).ok()?.uid();
        let stat = Stat::parse(&fs::read(format!("/proc/{pid}/stat")).ok()?)?;
        let words = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        let user = names.get(&owner).cloned().unwrap_or_else(|| owner.to_string());
        Some(stat.row(user, *pid, &words, uptime, now))
    };
    Table { titles: TITLES.map(str::to_owned).to_vec(), rows: pids.iter().filter_map(row).collect() }
}

/// The fields of `/proc/<pid>/stat` that a row needs.
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    name: String,
    parent: i32,
    terminal: i32,
    /// Ticks of processor time.
    used: u64,
    /// Ticks after boot.
    started: u64,
}

impl Stat {
    fn parse(text: &[u8]) -> Option<Self> {
        // The name may hold anything, also spaces and parentheses.
        let (open, close) = (text.iter().position(|byte| *byte == b'(')?, text.iter().rposition(|byte| *byte == b')')?);
        let name = String::from_utf8_lossy(text.get(open + 1..close)?).into_owned();
        let fields: Vec<&str> = std::str::from_utf8(text.get(close + 1..)?).ok()?.split_whitespace().collect();
        // Counted from 1 as in proc(5); the state, field 3, is the first here.
        let field = |number: usize| fields.get(number - 3).copied();
        let number = |at| field(at)?.parse::<u64>().ok();
        Some(Self {
            name,
            parent: field(4)?.parse().ok()?,
            terminal: field(7)?.parse().ok()?,
            used: number(14)? + number(15)?,
            started: number(22)?,
        })
    }

    fn row(&self, user: String, pid: i32, words: &[u8], uptime: u64, now: DateTime<Local>) -> Vec<String> {
        let lived = uptime.saturating_sub(self.started / TICKS);
        let share = self.used.checked_div(lived * TICKS / 100).unwrap_or(0);
        let since = now - chrono::TimeDelta::seconds(i64::try_from(lived).unwrap_or(0));
        let started = if since.date_naive() == now.date_naive() { since.format("%H:%M") } else { since.format("%b%d") };
        let seconds = self.used / TICKS;
        let time = format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
        let (pid, parent, command) = (pid.to_string(), self.parent.to_string(), self.command(words));
        vec![user, pid, parent, share.to_string(), started.to_string(), self.tty(), time, command]
    }

    fn tty(&self) -> String {
        let device = self.terminal.cast_unsigned();
        // As the kernel packs it: the minor number is in two parts.
        let (major, minor) = ((device >> 8) & 0xfff, (device & 0xff) | ((device >> 12) & 0xfff00));
        match major {
            136..=143 => format!("pts/{}", (major - 136) * 256 + minor),
            4 if minor < 64 => format!("tty{minor}"),
            4 => format!("ttyS{}", minor - 64),
            _ => "?".to_owned(),
        }
    }

    fn command(&self, words: &[u8]) -> String {
        let words: Vec<String> = words
            .split(|byte| *byte == 0)
            .map(|word| String::from_utf8_lossy(word).chars().map(|c| if c.is_control() { '?' } else { c }).collect())
            .collect();
        let line = words.join(" ");
        // A zombie, or a thread of the kernel's.
        if line.trim().is_empty() { format!("[{}]", self.name) } else { line.trim_end().to_owned() }
    }
}

fn user_names(passwd: &str) -> HashMap<u32, String> {
    let mut names = HashMap::new();
    for line in passwd.lines() {
        let mut fields = line.split(':');
        if let (Some(name), Some(uid)) = (fields.next(), fields.nth(1).and_then(|uid| uid.parse().ok())) {
            names.entry(uid).or_insert_with(|| name.to_owned());
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_listed() {
        let own = std::process::id() as i32;
        let table = list(&BTreeSet::from([own, i32::MAX]));
        assert_eq!(table.titles.len(), 8);
        assert_eq!(table.rows.len(), 1, "one that is gone is left out");
        assert_eq!(table.rows[0][1], own.to_string());
        assert_eq!(table.rows[0][2], std::os::unix::process::parent_id().to_string());
    }

    #[test]
    fn a_line_of_the_kernel_is_read() {
        let text = b"12 (a (b) c) S 3 12 12 34818 12 0 0 0 0 0 250 50 0 0 20 0 1 0 777 22 23\n";
        let stat = Stat::parse(text).unwrap();
        let expected = Stat { name: "a (b) c".into(), parent: 3, terminal: 34818, used: 300, started: 777 };
        assert_eq!(stat, expected);
        assert_eq!(
            (stat.tty(), stat.command(b""), stat.command(b"sh\0-c\0x\ny\0")),
            ("pts/2".into(), "[a (b) c]".into(), "sh -c x?y".into())
        );
        let now = Local::now();
        let row = stat.row("root".into(), 12, b"sh\0", 37, now);
        assert_eq!((row[3].as_str(), row[6].as_str()), ("10", "00:00:03"));
        assert!(Stat::parse(b"12 (a").is_none() && Stat::parse(b"").is_none());
    }

    #[test]
    fn the_first_name_of_a_user_counts() {
        let names = user_names("root:x:0:0:root:/root:/bin/sh\ntoor:x:0:0::/:/bin/sh\nbad\nx:y:z:1\n");
        assert_eq!(names, HashMap::from([(0, "root".to_owned())]));
    }
}
