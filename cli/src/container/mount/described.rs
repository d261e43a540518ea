//! `--mount`: the long spelling.

use cri_api::isula::v1::Mount;
use cri_api::isula::v1::mount::Kind;

use super::{is_volume_name, set_propagation, target_path};
use crate::container::size;

/// `--mount key=value,…`: nothing is made on the host, nothing is guessed.
pub(super) fn parse(text: &str) -> Result<Mount, String> {
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
            "volume-nocopy" => mount.no_copy = truth(key, value)?,
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
        None | Some("volume") => mount.kind = Kind::Volume.into(),
        Some(other) => return Err(format!("type '{other}' is not supported yet; known are volume, bind and tmpfs")),
    }
    if mount.target.is_empty() {
        return Err("'target' is missing".into());
    }
    check(&mount)?;
    Ok(mount)
}

/// Each kind of mount takes only its own options.
fn check(mount: &Mount) -> Result<(), String> {
    let kind = mount.kind();
    match kind {
        Kind::Bind if !mount.source.starts_with('/') => return Err("a bind needs an absolute 'source'".into()),
        Kind::Volume if !mount.source.is_empty() && !is_volume_name(&mount.source) => {
            return Err(format!("'{}' is not a volume's name; for a path of the host say type=bind", mount.source));
        }
        Kind::Tmpfs if !mount.source.is_empty() => return Err("'source' is for type=bind and type=volume".into()),
        Kind::Bind | Kind::Volume | Kind::Tmpfs => {}
    }
    if kind != Kind::Tmpfs && !mount.options.is_empty() {
        return Err("'tmpfs-size' and 'tmpfs-mode' are for type=tmpfs".into());
    }
    if kind != Kind::Bind && (!mount.propagation.is_empty() || mount.non_recursive) {
        return Err("'bind-…' is for type=bind".into());
    }
    if kind != Kind::Volume && mount.no_copy {
        return Err("'volume-nocopy' is for type=volume".into());
    }
    Ok(())
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

#[cfg(test)]
mod tests {
    use super::super::tests::{bind, volume};
    use super::*;

    #[test]
    fn mounts() {
        assert_eq!(parse("type=bind,source=/a,target=/b"), Ok(bind("/a", "/b")));
        assert_eq!(
            parse("type=bind,src=/a,dst=/b,ro,bind-propagation=shared"),
            Ok(Mount { read_only: true, propagation: "shared".into(), ..bind("/a", "/b") })
        );
        assert_eq!(parse("type=bind,\"src=/a,b\",destination=/b,readonly=false"), Ok(bind("/a,b", "/b")));
        assert_eq!(
            parse("type=tmpfs,dst=/t,tmpfs-size=64m,tmpfs-mode=1777"),
            Ok(Mount {
                kind: Kind::Tmpfs.into(),
                target: "/t".into(),
                options: vec!["size=67108864".into(), "mode=1777".into()],
                ..Mount::default()
            })
        );
        assert_eq!(parse("target=/b"), Ok(volume("", "/b")));
        assert_eq!(
            parse("type=volume,source=v,target=/b,readonly,volume-nocopy"),
            Ok(Mount { read_only: true, no_copy: true, ..volume("v", "/b") })
        );
        for (bad, reason) in [
            ("", "unknown key ''"),
            ("type=bind,source=/a", "'target' is missing"),
            ("type=bind,target=/b", "a bind needs an absolute 'source'"),
            ("type=bind,source=a,target=/b", "a bind needs an absolute 'source'"),
            ("source=/a,target=/b", "'/a' is not a volume's name; for a path of the host say type=bind"),
            ("type=volume,source=a,target=/b,bind-propagation=slave", "'bind-…' is for type=bind"),
            ("type=bind,source=/a,target=/b,volume-nocopy", "'volume-nocopy' is for type=volume"),
            (
                "type=squashfs,source=/a,target=/b",
                "type 'squashfs' is not supported yet; known are volume, bind and tmpfs",
            ),
            ("type=tmpfs,source=/a,target=/b", "'source' is for type=bind and type=volume"),
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
            assert_eq!(parse(bad).unwrap_err(), reason, "{bad}");
        }
    }
}
