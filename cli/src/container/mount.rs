//! Mounts: `-v`, `--mount`, `--tmpfs`, and the size of `/dev/shm`.

use clap::{Arg, ArgMatches};
use cri_api::isula::v1::mount::Kind;
use cri_api::isula::v1::{CreateRequest, Mount};

use super::rootfs::absolute;
use super::{invalid, size};
use crate::failure::Failure;
use crate::flag;

const PROPAGATIONS: [&str; 6] = ["private", "rprivate", "slave", "rslave", "shared", "rshared"];
/// Mount options that mean the same for the engine and for mount(8).
const PLAIN_OPTIONS: [&str; 6] = ["nosuid", "nodev", "noexec", "suid", "dev", "exec"];
const NO_VOLUMES: &str = "volumes are not supported yet, name a directory of the host";

pub(super) fn flags() -> Vec<Arg> {
    vec![
        flag::list("volume", "HOST:CONTAINER[:OPTIONS]", "Directory or file of the host, made when missing").short('v'),
        flag::list("mount", "KEY=VALUE,...", "Mount: type=bind|tmpfs,source=,target=,readonly,..."),
        flag::list("tmpfs", "DIR[:OPTIONS]", "A tmpfs in the container"),
        flag::value("shm-size", "SIZE", "Size of /dev/shm [default: 64m]").value_parser(size::bytes),
    ]
}

pub(super) fn apply(matches: &ArgMatches, request: &mut CreateRequest) -> Result<(), Failure> {
    for given in flag::texts(matches, "volume") {
        let mut mount = volume(given).map_err(|reason| invalid(given, "volume", reason))?;
        mount.source = absolute(&mount.source, "volume")?;
        request.mounts.push(mount);
    }
    for given in flag::texts(matches, "mount") {
        request.mounts.push(described(given).map_err(|reason| invalid(given, "mount", reason))?);
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

/// `-v HOST:CONTAINER[:OPTIONS]`. A host path is absolute or begins with a dot; other words are names of volumes.
fn volume(text: &str) -> Result<Mount, String> {
    let parts: Vec<&str> = text.split(':').collect();
    let (source, target, options) = match parts[..] {
        [_] => return Err(NO_VOLUMES.into()),
        [source, target] => (source, target, ""),
        [source, target, options] if !options.is_empty() => (source, target, options),
        _ => return Err("want HOST:CONTAINER[:OPTIONS]".into()),
    };
    if !source.starts_with('/') && !source.starts_with('.') {
        return Err(NO_VOLUMES.into());
    }
    let mut mount = Mount {
        kind: Kind::Bind.into(),
        source: source.to_owned(),
        target: target_path(target)?,
        create_source: true,
        ..Mount::default()
    };
    let mut mode = None;
    for option in options.split(',').filter(|option| !option.is_empty()) {
        match option {
            "ro" | "rw" => once(&mut mode, option, "ro or rw")?,
            "bind" => mount.non_recursive = true,
            "rbind" => mount.non_recursive = false,
            "z" | "Z" => return Err(format!("option '{option}' is not supported yet")),
            "nocopy" => return Err("option 'nocopy' is for volumes, which are not supported yet".into()),
            word if PROPAGATIONS.contains(&word) => set_propagation(&mut mount, word)?,
            word if PLAIN_OPTIONS.contains(&word) => mount.options.push(word.to_owned()),
            word => return Err(format!("unknown option '{word}'")),
        }
    }
    mount.read_only = mode == Some("ro");
    Ok(mount)
}

fn once<'a>(slot: &mut Option<&'a str>, value: &'a str, what: &str) -> Result<(), String> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(format!("{what} may be given once")),
    }
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

fn target_path(target: &str) -> Result<String, String> {
    if !target.starts_with('/') {
        return Err(format!("the path in the container must be absolute: '{target}'"));
    }
    if target.split('/').all(|part| matches!(part, "" | "." | "..")) {
        return Err("the container's root cannot be mounted over".into());
    }
    Ok(target.to_owned())
}

/// `--mount key=value,…`: nothing is made on the host, nothing is guessed.
fn described(text: &str) -> Result<Mount, String> {
    let mut mount = Mount::default();
    let mut kind = None;
    for field in fields(text)? {
        let (key, value) = field.split_once('=').map_or((field.as_str(), None), |(key, value)| (key, Some(value)));
        let wanted = || value.filter(|value| !value.is_empty()).ok_or_else(|| format!("'{key}' needs a value"));
        match key {
            "type" => kind = Some(wanted()?.to_owned()),
            "source" | "src" => mount.source = wanted()?.to_owned(),
            "target" | "dst" | "destination" => mount.target = target_path(wanted()?)?,
            "readonly" | "ro" => mount.read_only = truth(key, value)?,
            "bind-propagation" => set_propagation(&mut mount, wanted()?)?,
            "bind-nonrecursive" => mount.non_recursive = truth(key, value)?,
            "tmpfs-size" => {
                let size = size::bytes(wanted()?).map_err(|reason| format!("tmpfs-size: {reason}"))?;
                mount.options.push(format!("size={size}"));
            }
            "tmpfs-mode" => mount.options.push(format!("mode={}", octal(wanted()?)?)),
            _ => return Err(format!("unknown key '{key}'")),
        }
    }
    match kind.as_deref() {
        Some("bind") => mount.kind = Kind::Bind.into(),
        Some("tmpfs") => mount.kind = Kind::Tmpfs.into(),
        None | Some("volume") => return Err(NO_VOLUMES.into()),
        Some(other) => return Err(format!("type '{other}' is not supported yet; known are bind and tmpfs")),
    }
    if mount.target.is_empty() {
        return Err("'target' is missing".into());
    }
    if mount.kind() == Kind::Bind {
        if !mount.source.starts_with('/') {
            return Err("a bind needs an absolute 'source'".into());
        }
        if !mount.options.is_empty() {
            return Err("'tmpfs-size' and 'tmpfs-mode' are for type=tmpfs".into());
        }
    } else if !mount.source.is_empty() || !mount.propagation.is_empty() || mount.non_recursive {
        return Err("'source' and 'bind-…' are for type=bind".into());
    }
    Ok(mount)
}

/// Splits at commas; a field in double quotes may hold some, and a doubled quote is one.
fn fields(text: &str) -> Result<Vec<String>, String> {
    let (mut fields, mut field, mut quoted) = (Vec::new(), String::new(), false);
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '"' if quoted && letters.next_if_eq(&'"').is_some() => field.push('"'),
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(std::mem::take(&mut field)),
            other => field.push(other),
        }
    }
    if quoted {
        return Err("a quote is not closed".into());
    }
    fields.push(field);
    Ok(fields)
}

fn truth(key: &str, value: Option<&str>) -> Result<bool, String> {
    match value {
        None | Some("true" | "1") => Ok(true),
        Some("false" | "0") => Ok(false),
        Some(other) => Err(format!("'{key}' is true or false, not '{other}'")),
    }
}

fn octal(text: &str) -> Result<String, String> {
    match u32::from_str_radix(text, 8) {
        Ok(mode) if mode <= 0o7777 => Ok(format!("{mode:o}")),
        _ => Err(format!("'{text}' is not a mode such as 1777")),
    }
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

    fn bind(source: &str, target: &str) -> Mount {
        Mount { kind: Kind::Bind.into(), source: source.into(), target: target.into(), ..Mount::default() }
    }

    #[test]
    fn volumes() {
        let made = |mount: Mount| Mount { create_source: true, ..mount };
        assert_eq!(volume("/a:/b"), Ok(made(bind("/a", "/b"))));
        assert_eq!(volume("/a:/b:ro"), Ok(made(Mount { read_only: true, ..bind("/a", "/b") })));
        assert_eq!(
            volume("./a:/b:rw,rslave,bind,noexec"),
            Ok(made(Mount {
                propagation: "rslave".into(),
                non_recursive: true,
                options: vec!["noexec".into()],
                ..bind("./a", "/b")
            }))
        );
        for (bad, reason) in [
            ("/a", NO_VOLUMES),
            ("name:/b", NO_VOLUMES),
            ("/a:b", "the path in the container must be absolute: 'b'"),
            ("/a:/", "the container's root cannot be mounted over"),
            ("/a:/../.", "the container's root cannot be mounted over"),
            ("/a:/b:ro,rw", "ro or rw may be given once"),
            ("/a:/b:shared,slave", "a propagation may be given once"),
            ("/a:/b:bogus", "unknown option 'bogus'"),
            ("/a:/b:", "want HOST:CONTAINER[:OPTIONS]"),
            ("/a:/b:ro:x", "want HOST:CONTAINER[:OPTIONS]"),
            ("/a:/b:z", "option 'z' is not supported yet"),
        ] {
            assert_eq!(volume(bad).unwrap_err(), reason, "{bad}");
        }
    }

    #[test]
    fn mounts() {
        assert_eq!(described("type=bind,source=/a,target=/b"), Ok(bind("/a", "/b")));
        assert_eq!(
            described("type=bind,src=/a,dst=/b,ro,bind-propagation=shared"),
            Ok(Mount { read_only: true, propagation: "shared".into(), ..bind("/a", "/b") })
        );
        assert_eq!(described("type=bind,\"src=/a,b\",destination=/b,readonly=false"), Ok(bind("/a,b", "/b")));
        assert_eq!(
            described("type=tmpfs,dst=/t,tmpfs-size=64m,tmpfs-mode=1777"),
            Ok(Mount {
                kind: Kind::Tmpfs.into(),
                target: "/t".into(),
                options: vec!["size=67108864".into(), "mode=1777".into()],
                ..Mount::default()
            })
        );
        for (bad, reason) in [
            ("", "unknown key ''"),
            ("type=bind,source=/a", "'target' is missing"),
            ("type=bind,target=/b", "a bind needs an absolute 'source'"),
            ("type=bind,source=a,target=/b", "a bind needs an absolute 'source'"),
            ("source=/a,target=/b", NO_VOLUMES),
            ("type=squashfs,source=/a,target=/b", "type 'squashfs' is not supported yet; known are bind and tmpfs"),
            ("type=tmpfs,source=/a,target=/b", "'source' and 'bind-…' are for type=bind"),
            ("type=bind,source=/a,target=/b,tmpfs-size=1", "'tmpfs-size' and 'tmpfs-mode' are for type=tmpfs"),
            ("type=tmpfs,target=/b,tmpfs-mode=9", "'9' is not a mode such as 1777"),
            ("type=bind,src=/a,dst=/b,ro=maybe", "'ro' is true or false, not 'maybe'"),
            (
                "type=bind,src=/a,dst=/b,bind-propagation=up",
                "unknown propagation 'up'; known are private, rprivate, slave, rslave, shared, rshared",
            ),
            ("type=bind,src=,dst=/b", "'src' needs a value"),
            ("type=bind,\"src=/a", "a quote is not closed"),
        ] {
            assert_eq!(described(bad).unwrap_err(), reason, "{bad}");
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
