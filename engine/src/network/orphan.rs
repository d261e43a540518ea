//! Plugins that have outlived the daemon that ran them and do not end: found by the input that they have open, which is a
//! file of ours, and ended.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use isulad_shim::ProcessRef;
use isulad_shim::sys::pidfd::PidFd;

const KILL: i32 = 9;

/// Kills every process whose standard input is this file, and answers how many there were. Blocks.
pub fn end_readers(file: &Path) -> io::Result<usize> {
    let wanted = match fs::metadata(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        facts => identity(&facts?),
    };
    let reads = |pid: i32| fs::metadata(format!("/proc/{pid}/fd/0")).is_ok_and(|facts| identity(&facts) == wanted);
    let mut ended = 0;
    for entry in fs::read_dir("/proc")?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        if !reads(pid) {
            continue;
        }
        let Ok(pidfd) = ProcessRef::of(pid).and_then(PidFd::open) else { continue };
        // Looked at again now that the number cannot become another's.
        if reads(pid) && pidfd.send_signal(KILL).is_ok() {
            ended += 1;
        }
    }
    Ok(ended)
}

fn identity(facts: &fs::Metadata) -> (u64, u64) {
    (facts.dev(), facts.ino())
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn only_those_that_read_the_file_are_ended() {
        let dir = tempfile::tempdir().unwrap();
        let (ours, other) = (dir.path().join("ours"), dir.path().join("other"));
        let sleeper = |path: &Path| {
            fs::write(path, "").unwrap();
            Command::new("sleep").arg("1000").stdin(fs::File::open(path).unwrap()).spawn().unwrap()
        };
        let (mut one, mut two) = (sleeper(&ours), sleeper(&other));
        assert_eq!(end_readers(&ours).unwrap(), 1);
        assert!(!one.wait().unwrap().success());
        assert!(two.try_wait().unwrap().is_none());
        two.kill().unwrap();
        two.wait().unwrap();
        assert_eq!(end_readers(&dir.path().join("none")).unwrap(), 0);
    }
}
