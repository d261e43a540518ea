//! The mounts inside a container, their order, and how mounts propagate between it and the host.

use std::borrow::Cow;
use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Component, Path};

use rustix::fs::StatVfsMountFlags;

use crate::definition::{Definition, Mount, MountKind, Network, Sharing};
use crate::latest::latest;
use crate::rootfs::PlannedRoot;

use super::host_mounts::HostMounts;
use super::{Place, SpecError, oci, targets, utf8};

/// The path of the engine's init in a container.
pub(super) const INIT: &str = "/dev/isulad-init";

pub(super) struct Plan<'a> {
    pub list: Vec<oci::Mount<'a>>,
    /// The propagation of the container's root, if a mount needs more than the runtime's default.
    pub rootfs_propagation: Option<&'static str>,
    /// The root as the container will see it, with these mounts.
    pub root: PlannedRoot,
}

/// Makes the missing bind sources that a definition allows to be made. Called only for a start: computing a spec
/// changes nothing.
pub(crate) fn make_sources(definition: &Definition) -> Result<(), SpecError> {
    for mount in definition.mounts.iter().filter(|mount| mount.kind == MountKind::Bind && mount.create_source) {
        if let Err(source) = fs::DirBuilder::new().recursive(true).mode(0o755).create(&mount.source) {
            // An existing source of any kind is left alone, for example a file.
            if !Path::new(&mount.source).exists() {
                return Err(SpecError::MakeSource { path: mount.source.clone(), source });
            }
        }
    }
    Ok(())
}

/// The mounts of every container, without those that the user replaces, and the user's; a mount comes after those it
/// lies within, and its target has no link on the way.
pub(super) fn plan<'a>(
    definition: &'a Definition,
    place: &Place<'a>,
    warnings: &mut Vec<String>,
) -> Result<Plan<'a>, SpecError> {
    let mut list = standard(definition, place)?;
    if definition.init {
        list.push(mount(INIT, "bind", utf8(place.init)?, &["bind", "ro", "nosuid", "nodev"]));
    }
    let mut propagation = Propagation::default();
    let mut host = HostMounts::default();
    for mount in &definition.mounts {
        let target = normal(&mount.target)?;
        list.push(match mount.kind {
            MountKind::Bind | MountKind::Volume => {
                exists(mount)?;
                propagation.need(mount, &mut host)?;
                let below = is_below_asked_for(mount) && host.any_below(&mount.source)?;
                if below && !place.recursive_read_only {
                    warnings.push(format!(
                        "The mounts below `{}` can be written to in the container: runtime or kernel cannot make them read-only.",
                        mount.source
                    ));
                }
                bind(mount, target, below && place.recursive_read_only)
            }
            MountKind::Tmpfs => tmpfs(mount, target),
        });
    }
    let (list, root) = targets::settle(place.rootfs, last_at_each_place(list))?;
    Ok(Plan { list, rootfs_propagation: propagation.of_rootfs(), root })
}

/// Whether a mount lies below a bind that is to be read-only.
pub(crate) fn asks_for_recursion(definition: &Definition) -> Result<bool, SpecError> {
    let mut host = HostMounts::default();
    for mount in &definition.mounts {
        if is_below_asked_for(mount) && host.any_below(&mount.source)? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn is_below_asked_for(mount: &Mount) -> bool {
    mount.kind == MountKind::Bind && mount.read_only && !mount.non_recursive
}

/// The user's mounts and the root with them, for checks before the rest of a start is known.
pub(super) fn of_user<'a>(
    definition: &'a Definition,
    rootfs: &Path,
) -> Result<(Vec<oci::Mount<'a>>, PlannedRoot), SpecError> {
    let mut list: Vec<oci::Mount<'a>> = fresh().collect();
    for mount in &definition.mounts {
        let (target, source) = (normal(&mount.target)?, mount.source.as_str());
        list.push(match mount.kind {
            MountKind::Bind | MountKind::Volume => {
                oci::Mount { destination: target.into(), kind: "bind", source: source.into(), options: Vec::new() }
            }
            MountKind::Tmpfs => tmpfs(mount, target),
        });
    }
    targets::settle(rootfs, last_at_each_place(list))
}

/// The last mount asked for at a place replaces the earlier ones.
fn last_at_each_place(list: Vec<oci::Mount<'_>>) -> Vec<oci::Mount<'_>> {
    latest(list, |mount| &mount.destination)
}

fn standard<'a>(definition: &'a Definition, place: &Place<'a>) -> Result<Vec<oci::Mount<'a>>, SpecError> {
    let mut list: Vec<oci::Mount<'a>> = fresh().collect();
    let access = if definition.security.privileged { "rw" } else { "ro" };
    for mount in list.iter_mut().filter(|mount| mount.destination.starts_with("/sys")) {
        mount.options.push(access.into());
    }
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

/// File systems of the container's own.
fn fresh<'a>() -> impl Iterator<Item = oci::Mount<'a>> {
    let list: [(_, _, _, &[&'static str]); 6] = [
        ("/proc", "proc", "proc", &["nosuid", "noexec", "nodev"]),
        ("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        ("/dev/pts", "devpts", "devpts", &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]),
        ("/dev/mqueue", "mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
        ("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev"]),
        ("/sys/fs/cgroup", "cgroup", "cgroup", &["nosuid", "noexec", "nodev", "relatime"]),
    ];
    list.into_iter().map(|(target, kind, source, options)| mount(target, kind, source, options))
}

/// `hosts` and `resolv.conf` belong to the network, so a container that joins another's network sees the other's.
fn network_files<'a>(definition: &Definition, place: &Place<'a>) -> Result<[oci::Mount<'a>; 3], SpecError> {
    let network = match (&definition.namespaces.network, &place.joined.network_bundle) {
        (Network::Container(_), Some(other)) => other,
        _ => place.bundle,
    };
    let access: &[&'static str] = if definition.read_only_rootfs { &["ro"] } else { &[] };
    let file = |target, dir: &Path, name| -> Result<_, SpecError> {
        let theirs = dir.join(name);
        // The other container's file may be gone; that container still has it mounted.
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

fn exists(mount: &Mount) -> Result<(), SpecError> {
    if Path::new(&mount.source).exists() {
        return Ok(());
    }
    let path = mount.source.clone();
    Err(match mount.kind {
        MountKind::Volume => SpecError::MissingVolume { name: mount.name.clone(), path },
        MountKind::Bind | MountKind::Tmpfs => SpecError::MissingSource { path },
    })
}

/// A bind has the flags of the mount that holds its source. A runtime that changes any flag sets all of them anew, so
/// they are named, and `rw`, which asks for nothing, is not.
fn bind(mount: &Mount, target: String, read_only_below: bool) -> oci::Mount<'_> {
    let mut options: Vec<Cow<'_, str>> = vec![if mount.non_recursive { "bind" } else { "rbind" }.into()];
    if mount.read_only {
        options.push("ro".into());
    }
    if read_only_below {
        options.push("rro".into());
    }
    options.push(if mount.propagation.is_empty() { "rprivate" } else { &mount.propagation }.into());
    let asked = |name: &str| mount.options.iter().any(|option| option == name) || options.iter().any(|had| had == name);
    let kept = flags_of(&mount.source).filter(|(flag, opposite)| !asked(flag) && !asked(opposite));
    let kept: Vec<Cow<'_, str>> = kept.map(|(flag, _)| flag.into()).collect();
    options.extend(kept);
    options.extend(mount.options.iter().map(|option| Cow::Borrowed(option.as_str())));
    oci::Mount { destination: target.into(), kind: "bind", source: mount.source.as_str().into(), options }
}

/// The flags of the mount that holds `path`: each restricting flag, and its opposite.
fn flags_of(path: &str) -> impl Iterator<Item = (&'static str, &'static str)> + use<> {
    let flags = rustix::fs::statvfs(path).map_or(StatVfsMountFlags::empty(), |facts| facts.f_flag);
    let known = [
        (StatVfsMountFlags::RDONLY, ("ro", "rw")),
        (StatVfsMountFlags::NOSUID, ("nosuid", "suid")),
        (StatVfsMountFlags::NODEV, ("nodev", "dev")),
        (StatVfsMountFlags::NOEXEC, ("noexec", "exec")),
    ];
    known.into_iter().filter(move |(flag, _)| flags.contains(*flag)).map(|(_, names)| names)
}

/// The user's options come last and so override the defaults: `exec`, `size=…`, `mode=…`.
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
    let kept = flags_of(&source).map(|(flag, _)| flag).filter(|flag| !access.contains(flag));
    let options = ["rbind", "rprivate"].into_iter().chain(access.iter().copied()).chain(kept).map(Cow::Borrowed);
    oci::Mount { destination: target.into(), kind: "bind", source, options: options.collect() }
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

/// The propagation that the user's mounts need of the container's root: mount events pass a mount only if the root lets
/// them.
#[derive(Default)]
struct Propagation {
    shared: bool,
    slave: bool,
}

impl Propagation {
    fn need(&mut self, mount: &Mount, host: &mut HostMounts) -> Result<(), SpecError> {
        match mount.propagation.as_str() {
            "" | "private" | "rprivate" | "unbindable" | "runbindable" => Ok(()),
            "shared" | "rshared" => {
                self.shared = true;
                host.expect(mount, "shared", &["shared:"])
            }
            "slave" | "rslave" => {
                self.slave = true;
                host.expect(mount, "shared or slave", &["shared:", "master:"])
            }
            other => Err(SpecError::Propagation { propagation: other.to_owned() }),
        }
    }

    fn of_rootfs(&self) -> Option<&'static str> {
        if self.shared { Some("shared") } else { self.slave.then_some("rslave") }
    }
}
