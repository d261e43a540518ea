//! A container's network namespace, pinned by a bind mount: it needs no process to last.

use std::fs;
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::socket::SockaddrStorage;

use super::{NetworkError, netlink};

/// The prefix of the names of the engine's namespaces.
pub const PREFIX: &str = "isula-";
/// `lo` is the first interface of every namespace.
const LOOPBACK: u32 = 1;
const NSFS_MAGIC: i64 = 0x6e73_6673;

/// Makes a namespace with `lo` up and pins it at `path`. A file of that name is removed before: it is of an attempt
/// that was interrupted. Blocks.
pub fn make(path: &Path) -> Result<(), NetworkError> {
    make_with(path, || Ok(()))
}

/// The same, but `furnish` runs in the namespace before it is pinned.
pub fn make_with(path: &Path, furnish: impl FnOnce() -> io::Result<()> + Send + 'static) -> Result<(), NetworkError> {
    let dir = path.parent().unwrap_or(Path::new("/"));
    fs::DirBuilder::new().recursive(true).mode(0o755).create(dir).map_err(NetworkError::io("make", dir))?;
    remove(path)?;
    fs::File::create_new(path).map_err(NetworkError::io("make", path))?;
    let place = path.to_owned();
    // A thread of its own, which ends with the namespace that it has entered.
    let made = std::thread::Builder::new().name("netns".to_owned()).spawn(move || enter_and_pin(&place, furnish));
    let made = made.map(std::thread::JoinHandle::join).map_err(NetworkError::io("make a network namespace for", path));
    let outcome = match made? {
        Ok(outcome) => outcome,
        Err(_) => Err(io::Error::other("the thread that makes it ended abnormally")),
    };
    outcome.map_err(|source| {
        // The first failure is returned, not that of the clean-up.
        let _ = remove(path);
        NetworkError::io("pin a network namespace at", path)(source)
    })
}

/// Interfaces with their addresses.
pub type Links = Vec<(String, Vec<(IpAddr, u8)>)>;

/// The addresses of an interface of a pinned namespace; none when it lacks the interface. Blocks.
pub fn addresses_of(path: &Path, ifname: &str) -> Result<Vec<(IpAddr, u8)>, NetworkError> {
    let (place, name) = (path.to_owned(), ifname.to_owned());
    within(path, move || {
        setns(fs::File::open(place)?, CloneFlags::CLONE_NEWNET)?;
        let all = nix::ifaddrs::getifaddrs()?.filter(|it| it.interface_name == name);
        let ones = |mask: &SockaddrStorage| match (mask.as_sockaddr_in(), mask.as_sockaddr_in6()) {
            (Some(mask), _) => Some(mask.ip().to_bits().leading_ones()),
            (None, Some(mask)) => Some(mask.ip().to_bits().leading_ones()),
            (None, None) => None,
        };
        let of = |address: &SockaddrStorage| match (address.as_sockaddr_in(), address.as_sockaddr_in6()) {
            (Some(address), _) => Some(IpAddr::V4(address.ip())),
            (None, Some(address)) => Some(IpAddr::V6(address.ip())),
            (None, None) => None,
        };
        let found = all.filter_map(|it| Some((of(it.address.as_ref()?)?, ones(it.netmask.as_ref()?)?)));
        Ok(found.filter_map(|(address, prefix)| Some((address, u8::try_from(prefix).ok()?))).collect())
    })
}

/// Runs `work` on a thread of its own, which ends with the namespace that it enters.
fn within<T: Send + 'static>(
    path: &Path,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, NetworkError> {
    let abnormal = |_| Err(io::Error::other("the thread that enters it ended abnormally"));
    let working = std::thread::Builder::new().name("netns".to_owned()).spawn(work);
    let outcome = working.and_then(|thread| thread.join().unwrap_or_else(abnormal));
    outcome.map_err(NetworkError::io("enter the network namespace at", path))
}

/// Adds to a pinned namespace those of the interfaces that it lacks; they lead nowhere. Returns whether there were any.
/// Blocks.
pub fn complete(path: &Path, links: Links) -> Result<bool, NetworkError> {
    let place = path.to_owned();
    within(path, move || {
        setns(fs::File::open(place)?, CloneFlags::CLONE_NEWNET)?;
        let mut lacking = false;
        for (name, addresses) in &links {
            if !netlink::has_link(name)? {
                netlink::add_blind(name, addresses)?;
                lacking = true;
            }
        }
        Ok(lacking)
    })
}

/// One in the place of a namespace that is gone, with interfaces of these names and addresses that lead nowhere.
pub fn replace(path: &Path, links: Links) -> Result<(), NetworkError> {
    make_with(path, move || links.iter().try_for_each(|(name, addresses)| netlink::add_blind(name, addresses)))
}

fn enter_and_pin(path: &Path, furnish: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
    unshare(CloneFlags::CLONE_NEWNET)?;
    netlink::set_up(LOOPBACK)?;
    furnish()?;
    let nothing: Option<&str> = None;
    mount(Some("/proc/thread-self/ns/net"), path, nothing, MsFlags::MS_BIND, nothing)?;
    Ok(())
}

/// Whether a namespace is pinned there; where a link leads is another place.
pub fn is_pinned(path: &Path) -> bool {
    !path.is_symlink() && nix::sys::statfs::statfs(path).is_ok_and(|facts| facts.filesystem_type().0 == NSFS_MAGIC)
}

/// Whether both paths name the pin of one attachment: its name is made of the container's id and a random mark, and the
/// directory may be spelled in several ways.
pub fn is_same_pin(one: &Path, other: &Path) -> bool {
    one.file_name().is_some_and(|name| other.file_name() == Some(name))
}

/// Unpins; the namespace goes with its last process. May be repeated.
pub fn remove(path: &Path) -> Result<(), NetworkError> {
    // Pinned twice by an interrupted attempt, it is mounted twice.
    while is_pinned(path) {
        let unmounted = umount2(path, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW);
        unmounted.map_err(|errno| NetworkError::io("unmount", path)(errno.into()))?;
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed.map_err(NetworkError::io("remove", path)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_is_pinned_and_unpinned_and_both_may_be_repeated() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("netns/isula-1");
        remove(&path).unwrap();
        make(&path).unwrap();
        make(&path).unwrap();
        assert!(is_pinned(&path));
        let inside = std::process::Command::new("nsenter")
            .arg(format!("--net={}", path.display()))
            .args(["cat", "/proc/net/if_inet6"])
            .output()
            .unwrap();
        assert!(String::from_utf8_lossy(&inside.stdout).contains("lo"), "lo is up: {inside:?}");
        remove(&path).unwrap();
        assert!(!is_pinned(&path) && !path.exists());
        remove(&path).unwrap();
    }

    #[test]
    fn a_link_is_removed_and_its_target_stays_pinned() {
        let dir = tempfile::tempdir().unwrap();
        let (path, link) = (dir.path().join("isula-1"), dir.path().join("isula-2"));
        make(&path).unwrap();
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(!is_pinned(&link));
        remove(&link).unwrap();
        assert!(is_pinned(&path) && !link.is_symlink());
        remove(&path).unwrap();
    }

    #[test]
    fn a_plain_file_does_not_block_a_namespace() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("isula-1");
        fs::write(&path, "left by another boot").unwrap();
        assert!(!is_pinned(&path));
        make(&path).unwrap();
        assert!(is_pinned(&path));
        remove(&path).unwrap();
    }
}
