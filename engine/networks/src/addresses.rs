//! Addresses in use of networks that the engine made, as the plugin `host-local` notes them: a file for each, called as
//! the address, with the attachment in it. The plugin does not sync them, and gives back only a file that names the
//! attachment: one that a power cut has left empty would be taken for ever.

use std::fs::{self, File};
use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::fcntl::{Flock, FlockArg};

/// The plugin locks it while it reads and writes.
const LOCK: &str = "lock";
const PATIENCE: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(10);

/// Removes the addresses of attachments that are not recorded any more, and returns a warning for each. An attachment
/// is recorded before it has an address. Blocks.
pub fn sweep(addresses: &Path, is_attached: impl Fn(&str) -> bool) -> Vec<String> {
    let mut warnings = Vec::new();
    let networks = match fs::read_dir(addresses).and_then(|entries| entries.collect::<io::Result<Vec<_>>>()) {
        Ok(networks) => networks,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return warnings,
        Err(error) => return vec![format!("addresses below `{}` are not swept: {error}", addresses.display())],
    };
    for network in networks.into_iter().map(|entry| entry.path()).filter(|path| path.is_dir()) {
        if let Err(error) = sweep_one(&network, &is_attached, &mut warnings) {
            warnings.push(format!("addresses below `{}` are not swept: {error}", network.display()));
        }
    }
    warnings
}

fn sweep_one(network: &Path, is_attached: &impl Fn(&str) -> bool, warnings: &mut Vec<String>) -> io::Result<()> {
    let is_address =
        |path: &Path| path.file_name().is_some_and(|name| name.to_string_lossy().parse::<IpAddr>().is_ok());
    let notes = || -> io::Result<Vec<_>> {
        let entries: Vec<_> = fs::read_dir(network)?.flatten().map(|entry| entry.path()).collect();
        Ok(entries.into_iter().filter(|path| is_address(path)).collect())
    };
    if notes()?.is_empty() {
        return Ok(());
    }
    let _alone = lock(&network.join(LOCK))?;
    for path in notes()? {
        let bytes = fs::read(&path)?;
        let text = String::from_utf8_lossy(&bytes);
        let attachment = text.lines().next().unwrap_or_default().trim_matches(['\0', ' ', '\r']);
        // A note of another form is foreign.
        let stays = !attachment.is_empty() && (!is_ours(attachment) || is_attached(attachment));
        if stays {
            continue;
        }
        fs::remove_file(&path)?;
        warnings.push(match attachment {
            "" => format!("`{}`, an address in use, has no owner in it: given back", path.display()),
            attachment => {
                format!("`{}` was an address of `{attachment}`, which is not attached: given back", path.display())
            }
        });
    }
    Ok(())
}

/// `<id>-<start>-<mark>`
fn is_ours(attachment: &str) -> bool {
    let mut parts = attachment.split('-');
    let hex = |part: Option<&str>, digits| {
        part.is_some_and(|part| part.len() == digits && part.bytes().all(|byte| byte.is_ascii_hexdigit()))
    };
    let id = hex(parts.next(), 64);
    let start = parts.next().is_some_and(|part| part.parse::<u64>().is_ok());
    id && start && hex(parts.next(), 8) && parts.next().is_none()
}

fn lock(path: &Path) -> io::Result<Flock<File>> {
    let mut file = File::options().create(true).truncate(false).write(true).open(path)?;
    let end = Instant::now() + PATIENCE;
    loop {
        file = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => return Ok(lock),
            Err((file, nix::errno::Errno::EWOULDBLOCK)) if Instant::now() < end => file,
            Err((_, errno)) => return Err(errno.into()),
        };
        std::thread::sleep(PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_without_an_attachment_is_given_back() {
        let dir = tempfile::tempdir().unwrap();
        let network = dir.path().join("net");
        fs::create_dir(&network).unwrap();
        let (known, unknown) = (format!("{}-1-aabbccdd", "a".repeat(64)), format!("{}-2-aabbccdd", "a".repeat(64)));
        for (name, text) in [
            ("10.0.0.2", format!("{known}\r\neth0")),
            ("10.0.0.3", String::new()),
            ("10.0.0.4", "\0".repeat(70)),
            ("10.0.0.5", format!("{unknown}\r\neth0")),
            ("fd00::1", unknown.clone()),
            ("10.0.0.6", "somebody-else\r\neth0".to_owned()),
            ("last_reserved_ip.0", String::new()),
            ("lock", String::new()),
        ] {
            fs::write(network.join(name), text).unwrap();
        }
        for count in [4, 0] {
            assert_eq!(sweep(dir.path(), |attachment| attachment == known).len(), count);
        }
        let mut left: Vec<_> = fs::read_dir(&network).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["10.0.0.2", "10.0.0.6", "last_reserved_ip.0", "lock"]);
        assert!(sweep(&dir.path().join("none"), |_| false).is_empty());
    }
}
