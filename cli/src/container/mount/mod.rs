//! Mounts: `-v`, `--mount`, `--tmpfs`, and the size of `/dev/shm`.

mod described;
mod volume;

use clap::{Arg, ArgMatches};
use cri_api::isula::v1::mount::Kind;
use cri_api::isula::v1::{CreateRequest, Mount};

use super::rootfs::absolute;
use super::{invalid, size};
use crate::failure::Failure;
use crate::flag;

const PROPAGATIONS: [&str; 6] = ["private", "rprivate", "slave", "rslave", "shared", "rshared"];

pub(super) fn flags() -> Vec<Arg> {
    vec![
        flag::list(
            "volume",
            "[SOURCE:]CONTAINER[:OPTIONS]",
            "Directory or file of the host, or volume; made when missing. Without a source, a new volume",
        )
        .short('v'),
        flag::list("mount", "KEY=VALUE,...", "Mount: type=volume|bind|tmpfs,source=,target=,readonly,..."),
        flag::list("volumes-from", "CONTAINER[:ro|:rw]", "All that this container mounts"),
        flag::list("tmpfs", "DIR[:OPTIONS]", "A tmpfs in the container"),
        flag::value("shm-size", "SIZE", "Size of /dev/shm [default: 64m]").value_parser(size::bytes),
    ]
}

pub(super) fn apply(matches: &ArgMatches, request: &mut CreateRequest) -> Result<(), Failure> {
    for given in flag::texts(matches, "volume") {
        let mut mount = volume::parse(given).map_err(|reason| invalid(given, "volume", reason))?;
        if mount.kind() == Kind::Bind {
            mount.source = absolute(&mount.source, "volume")?;
        }
        request.mounts.push(mount);
    }
    for given in flag::texts(matches, "mount") {
        request.mounts.push(described::parse(given).map_err(|reason| invalid(given, "mount", reason))?);
    }
    for given in flag::texts(matches, "volumes-from") {
        volumes_from(given).map_err(|reason| invalid(given, "volumes-from", reason))?;
        request.volumes_from.push(given.to_owned());
    }
    for given in flag::texts(matches, "tmpfs") {
        request.mounts.push(tmpfs(given).map_err(|reason| invalid(given, "tmpfs", reason))?);
    }
    if let Some(&size) = matches.get_one::<i64>("shm-size") {
        let size = u64::try_from(size).ok().filter(|size| *size > 0);
        request.shm_size = size.ok_or_else(|| invalid("0", "shm-size", "want more than 0"))?;
    }
    Ok(())
}

fn set_propagation(mount: &mut Mount, word: &str) -> Result<(), String> {
    if !PROPAGATIONS.contains(&word) {
        return Err(format!("unknown propagation '{word}'; known are {}", PROPAGATIONS.join(", ")));
    }
    if !mount.propagation.is_empty() {
        return Err("a propagation may be given once".into());
    }
    mount.propagation = word.to_owned();
    Ok(())
}

/// Letters, digits, `_`, `.` and `-`, of which the first is a letter or digit. How long it may be, the daemon knows.
fn is_volume_name(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    text.bytes().all(allowed) && text.bytes().next().is_some_and(|first| first.is_ascii_alphanumeric())
}

/// Checks `CONTAINER[:ro|:rw]`.
fn volumes_from(text: &str) -> Result<(), &'static str> {
    let (container, mode) = text.split_once(':').unwrap_or((text, "rw"));
    if container.is_empty() || !["ro", "rw"].contains(&mode) {
        return Err("want CONTAINER[:ro|:rw]");
    }
    Ok(())
}

fn target_path(target: &str) -> Result<String, String> {
    if !target.starts_with('/') {
        return Err(format!("the path in the container must be absolute: '{target}'"));
    }
    if target.split('/').all(|part| matches!(part, "" | "." | "..")) {
        return Err("the container's root cannot be mounted over".into());
    }
    Ok(target.to_owned())
}

/// `--tmpfs DIR[:OPTIONS]`
fn tmpfs(text: &str) -> Result<Mount, String> {
    let (target, options) = text.split_once(':').unwrap_or((text, ""));
    let mut mount = Mount { kind: Kind::Tmpfs.into(), target: target_path(target)?, ..Mount::default() };
    for option in options.split(',').filter(|option| !option.is_empty()) {
        match option {
            "ro" => mount.read_only = true,
            "rw" => mount.read_only = false,
            word => mount.options.push(word.to_owned()),
        }
    }
    Ok(mount)
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn bind(source: &str, target: &str) -> Mount {
        Mount { kind: Kind::Bind.into(), source: source.into(), target: target.into(), ..Mount::default() }
    }

    pub(super) fn volume(name: &str, target: &str) -> Mount {
        Mount { kind: Kind::Volume.into(), source: name.into(), target: target.into(), ..Mount::default() }
    }

    #[test]
    fn volumes_of_others() {
        let request =
            crate::container::parse(&["--volumes-from=a", "--volumes-from", "b:ro", "-v", "n:/d", "x"]).unwrap();
        assert_eq!(request.volumes_from, ["a", "b:ro"]);
        assert_eq!(request.mounts, [volume("n", "/d")]);
        for bad in ["", ":ro", "a:", "a:rx"] {
            assert!(crate::container::parse(&["--volumes-from", bad, "x"]).is_err(), "{bad}");
        }
    }

    #[test]
    fn tmpfs_and_shm() {
        let request =
            crate::container::parse(&["--tmpfs", "/t:ro,size=1m", "--shm-size=1g", "-v", ".:/here", "x"]).unwrap();
        assert_eq!(request.shm_size, 1 << 30);
        let here = std::env::current_dir().unwrap().display().to_string();
        assert_eq!(request.mounts[0], Mount { create_source: true, ..bind(&here, "/here") });
        let wanted = Mount {
            kind: Kind::Tmpfs.into(),
            target: "/t".into(),
            read_only: true,
            options: vec!["size=1m".into()],
            ..Mount::default()
        };
        assert_eq!(request.mounts[1], wanted);
        assert!(crate::container::parse(&["--shm-size=0", "x"]).is_err());
    }
}
