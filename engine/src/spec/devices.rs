//! Device nodes of a container, and the rules of its device cgroup.

use std::borrow::Cow;
use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use crate::definition::Device;
use crate::latest::latest;

use super::{SpecError, oci};

/// Skipped for a privileged container: paths that the runtime mounts or links itself, and paths owned by other
/// programs.
const NOT_WALKED: [&str; 7] =
    ["/dev/pts", "/dev/shm", "/dev/fd", "/dev/mqueue", "/dev/console", "/dev/ptmx", "/dev/.lxc"];

/// The nodes to make, and the rules in the order they are applied.
pub(super) fn plan(asked: &[Device], privileged: bool) -> Result<(Vec<oci::Device>, Vec<oci::DeviceRule>), SpecError> {
    let mut nodes = Vec::new();
    let mut rules = vec![rule(false, 'a', None, None, "rwm")];
    if privileged {
        rules.push(rule(true, 'a', None, None, "rwm"));
        walk(Path::new("/dev"), "/dev", &mut |node| nodes.push(node))
            .map_err(|source| SpecError::Device { path: "/dev".to_owned(), source })?;
    } else {
        rules.extend(standard_rules());
    }
    for device in asked {
        add(device, &mut nodes, &mut rules)?;
    }
    // A device asked for by name takes precedence over one found by the walk.
    let nodes = latest(nodes, |node| &node.path);
    Ok((nodes, rules))
}

/// Making nodes, and using the harmless ones: null, zero, full, random, urandom, terminals, and the network tunnel.
fn standard_rules() -> impl Iterator<Item = oci::DeviceRule> {
    let mknod = ['c', 'b'].map(|kind| rule(true, kind, None, None, "m"));
    let character = [(1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 1), (5, 2), (10, 200)];
    let used = character.map(|(major, minor)| rule(true, 'c', Some(major), Some(minor), "rwm"));
    mknod.into_iter().chain(used).chain([rule(true, 'c', Some(136), None, "rwm")])
}

/// A directory stands for every device in it.
fn add(device: &Device, nodes: &mut Vec<oci::Device>, rules: &mut Vec<oci::DeviceRule>) -> Result<(), SpecError> {
    let failed = |source| SpecError::Device { path: device.host.clone(), source };
    let target = if device.container.is_empty() { &device.host } else { &device.container };
    let access = if device.permissions.is_empty() { "rwm" } else { &device.permissions };
    let mut take = |node: oci::Device| {
        rules.push(rule(true, node.kind, Some(node.major), Some(node.minor), access.to_owned()));
        nodes.push(node);
    };
    let facts = fs::metadata(&device.host).map_err(failed)?;
    if facts.is_dir() {
        return walk(Path::new(&device.host), target, &mut take).map_err(failed);
    }
    take(node(&facts, target.clone()).ok_or_else(|| SpecError::NotADevice { path: device.host.clone() })?);
    Ok(())
}

/// Finds the devices below `dir`, named as if `dir` were `name`. Links are not followed: they lead to devices that are
/// found anyway, or out of the directory.
fn walk(dir: &Path, name: &str, take: &mut impl FnMut(oci::Device)) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let path = entry.path();
        // A name that is not UTF-8 cannot be written into the spec.
        let (Some(text), Some(leaf)) = (path.to_str(), path.file_name().and_then(|leaf| leaf.to_str())) else {
            continue;
        };
        let kind = entry.file_type()?;
        if NOT_WALKED.contains(&text) {
            continue;
        }
        let inside = format!("{name}/{leaf}");
        if kind.is_dir() {
            walk(&path, &inside, take)?;
        } else if kind.is_char_device() || kind.is_block_device() {
            match entry.metadata() {
                Ok(facts) => node(&facts, inside).into_iter().for_each(&mut *take),
                // Unplugged during the walk.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}

fn node(facts: &fs::Metadata, path: String) -> Option<oci::Device> {
    let kind = match facts.file_type() {
        kind if kind.is_char_device() => 'c',
        kind if kind.is_block_device() => 'b',
        _ => return None,
    };
    Some(oci::Device {
        path,
        kind,
        major: rustix::fs::major(facts.rdev()),
        minor: rustix::fs::minor(facts.rdev()),
        file_mode: facts.mode() & 0o7777,
        uid: facts.uid(),
        gid: facts.gid(),
    })
}

fn rule(
    allow: bool,
    kind: char,
    major: Option<u32>,
    minor: Option<u32>,
    access: impl Into<Cow<'static, str>>,
) -> oci::DeviceRule {
    oci::DeviceRule { allow, kind, major, minor, access: access.into() }
}
