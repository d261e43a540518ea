//! What is mounted inside a container, in which order, and how mounts travel between it and the host.

use std::borrow::Cow;
use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Component, Path};

use crate::definition::{Definition, Mount, MountKind, Network, Sharing};
use crate::rootfs::{MountEntry, mounts_below};

use super::{Place, SpecError, oci, utf8};

/// Where a container has our init.
pub(super) const INIT: &str = "/dev/isulad-init";

pub(super) struct Plan<'a> {
    pub list: Vec<oci::Mount<'a>>,
    /// How the container's root takes part, if some mount needs more than the runtime's default.
    pub rootfs_propagation: Option<&'static str>,
}

/// Makes the missing bind sources that a definition allows to be made. Before the start, and only then: asking for a spec
/// changes nothing.
pub fn make_sources(definition: &Definition) -> Result<(), SpecError> {
    for mount in definition.mounts.iter().filter(|mount| mount.kind == MountKind::Bind && mount.create_source) {
        if let Err(source) = fs::DirBuilder::new().recursive(true).mode(0o755).create(&mount.source) {
            // A file, for example, is a source too.
            if !Path::new(&mount.source).exists() {
                return Err(SpecError::MakeSource { path: mount.source.clone(), source });
            }
        }
    }
    Ok(())
}

/// The mounts every container has, without those that the user replaces, and the user's; a mount comes after those it
/// lies within.
pub(super) fn plan<'a>(definition: &'a Definition, place: &Place<'a>) -> Result<Plan<'a>, SpecError> {
    let mut list = standard(definition, place)?;
    if definition.init {
        list.push(mount(INIT, "bind", utf8(place.init)?, &["bind", "ro", "nosuid", "nodev"]));
    }
    let mut propagation = Propagation::default();
    for mount in &definition.mounts {
        let target = normal(&mount.target)?;
        list.retain(|known| known.destination != target);
        list.push(match mount.kind {
            MountKind::Bind | MountKind::Volume => bind(mount, target, &mut propagation)?,
            MountKind::Tmpfs => tmpfs(mount, target),
        });
    }
    // Stable: of two with the same depth the one asked for later is mounted later.
    list.sort_by_key(|mount| mount.destination.split('/').filter(|part| !part.is_empty()).count());
    Ok(Plan { list, rootfs_propagation: propagation.of_rootfs() })
}

fn standard<'a>(definition: &'a Definition, place: &Place<'a>) -> Result<Vec<oci::Mount<'a>>, SpecError> {
    let access = if definition.security.privileged { "rw" } else { "ro" };
    let mut list = vec![
        mount("/proc", "proc", "proc", &["nosuid", "noexec", "nodev"]),
        mount("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        mount(
            "/dev/pts",
            "devpts",
            "devpts",
            &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        ),
        mount("/dev/mqueue", "mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
        mount("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", access]),
        mount("/sys/fs/cgroup", "cgroup", "cgroup", &["nosuid", "noexec", "nodev", "relatime", access]),
    ];
    list.push(match (&definition.namespaces.ipc, place.shm) {
        (Sharing::Host, _) => shared("/dev/shm", "/dev/shm".into(), &[]),
        (_, Some(shm)) => shared("/dev/shm", utf8(shm)?.into(), &[]),
        (_, None) => {
            let size = Cow::Owned(format!("size={}", definition.shm_size));
            let mut shm = mount("/dev/shm", "tmpfs", "shm", &["nosuid", "noexec", "nodev", "mode=1777"]);
            shm.options.push(size);
            shm
        }
    });
    list.extend(network_files(definition, place)?);
    Ok(list)
}

/// `hosts` and `resolv.conf` belong to the network, so a container in another's network sees the other's.
fn network_files<'a>(definition: &Definition, place: &Place<'a>) -> Result<[oci::Mount<'a>; 3], SpecError> {
    let network = match (&definition.namespaces.network, &place.joined.network_bundle) {
        (Network::Container(_), Some(other)) => other,
        _ => place.bundle,
    };
    let access: &[&'static str] = if definition.read_only_rootfs { &["ro"] } else { &[] };
    let file = |target, dir: &Path, name| -> Result<_, SpecError> {
        let theirs = dir.join(name);
        // The other's may be gone; its container keeps what it has mounted.
        let own = place.bundle.join(name);
        let path = if dir != place.bundle && !theirs.exists() && own.exists() { own } else { theirs };
        Ok(shared(target, utf8(&path)?.to_owned().into(), access))
    };
    Ok([
        file("/etc/hosts", network, "hosts")?,
        file("/etc/hostname", place.bundle, "hostname")?,
        file("/etc/resolv.conf", network, "resolv.conf")?,
    ])
}

fn bind<'a>(mount: &'a Mount, target: String, propagation: &mut Propagation) -> Result<oci::Mount<'a>, SpecError> {
    if !Path::new(&mount.source).exists() {
        let path = mount.source.clone();
        return Err(match mount.kind {
            MountKind::Volume => SpecError::MissingVolume { name: mount.name.clone(), path },
            MountKind::Bind | MountKind::Tmpfs => SpecError::MissingSource { path },
        });
    }
    let mut options: Vec<Cow<'a, str>> = vec![if mount.non_recursive { "bind" } else { "rbind" }.into()];
    options.push(if mount.read_only { "ro" } else { "rw" }.into());
    options.push(if mount.propagation.is_empty() { "rprivate" } else { &mount.propagation }.into());
    options.extend(mount.options.iter().map(|option| Cow::Borrowed(option.as_str())));
    propagation.need(mount)?;
    Ok(oci::Mount { destination: target.into(), kind: "bind", source: mount.source.as_str().into(), options })
}

/// Options of the user's come last and so go before the defaults: `exec`, `size=…`, `mode=…`.
fn tmpfs(mount: &Mount, target: String) -> oci::Mount<'_> {
    let mut options: Vec<Cow<'_, str>> = ["noexec", "nosuid", "nodev"].map(Cow::Borrowed).into();
    if mount.read_only {
        options.push("ro".into());
    }
    options.extend(mount.options.iter().map(|option| Cow::Borrowed(option.as_str())));
    oci::Mount { destination: target.into(), kind: "tmpfs", source: "tmpfs".into(), options }
}

fn mount<'a>(target: &'a str, kind: &'static str, source: &'a str, options: &[&'static str]) -> oci::Mount<'a> {
    let options = options.iter().map(|option| Cow::Borrowed(*option)).collect();
    oci::Mount { destination: target.into(), kind, source: source.into(), options }
}

fn shared<'a>(target: &'a str, source: Cow<'a, str>, access: &[&'static str]) -> oci::Mount<'a> {
    let options = ["rbind", "rprivate"].iter().chain(access).map(|option| Cow::Borrowed(*option)).collect();
    oci::Mount { destination: target.into(), kind: "bind", source, options }
}

/// The target as the runtime will see it: absolute, without `.`, `..` and doubled slashes, and not the root itself.
fn normal(target: &str) -> Result<String, SpecError> {
    let refuse = || SpecError::MountTarget { path: target.to_owned() };
    if !target.starts_with('/') {
        return Err(refuse());
    }
    let mut parts: Vec<&str> = Vec::new();
    for component in Path::new(target).components() {
        match component {
            Component::Normal(part) => parts.push(part.to_str().ok_or_else(refuse)?),
            Component::ParentDir => drop(parts.pop()),
            _ => {}
        }
    }
    if parts.is_empty() {
        return Err(refuse());
    }
    Ok(format!("/{}", parts.join("/")))
}

/// What the user's mounts ask of the container's root: a mount can only travel as far as the root it hangs in lets it.
#[derive(Default)]
struct Propagation {
    shared: bool,
    slave: bool,
    /// The host's mounts, read when the first one has to be looked at.
    mounts: Option<Vec<MountEntry>>,
}

impl Propagation {
    fn need(&mut self, mount: &Mount) -> Result<(), SpecError> {
        match mount.propagation.as_str() {
            "" | "private" | "rprivate" | "unbindable" | "runbindable" => Ok(()),
            "shared" | "rshared" => {
                self.shared = true;
                self.expect(mount, "shared", &["shared:"])
            }
            "slave" | "rslave" => {
                self.slave = true;
                self.expect(mount, "shared or slave", &["shared:", "master:"])
            }
            other => Err(SpecError::Propagation { propagation: other.to_owned() }),
        }
    }

    /// Checks that the mount the source lies on takes part at all; otherwise the user would wait for mounts in vain.
    fn expect(&mut self, mount: &Mount, wanted: &'static str, tags: &[&str]) -> Result<(), SpecError> {
        let failed = |source: io::Error| SpecError::HostMounts { source };
        let source = fs::canonicalize(&mount.source).map_err(failed)?;
        let mounts = match &mut self.mounts {
            Some(mounts) => mounts,
            none => none.insert(mounts_below(&[Path::new("/")]).map_err(failed)?),
        };
        // Of the mounts over it the deepest holds it, and of those at one place the last.
        let over = mounts.iter().filter(|entry| source.starts_with(&entry.target));
        let Some(holder) = over.max_by_key(|entry| entry.target.components().count()) else { return Ok(()) };
        if holder.propagation.iter().any(|tag| tags.iter().any(|wanted| tag.starts_with(wanted))) {
            return Ok(());
        }
        Err(SpecError::NotPropagating { path: mount.source.clone(), mount: holder.target.clone(), wanted })
    }

    fn of_rootfs(&self) -> Option<&'static str> {
        if self.shared { Some("shared") } else { self.slave.then_some("rslave") }
    }
}
