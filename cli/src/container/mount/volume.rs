//! `-v`: the short spelling.

use cri_api::isula::v1::Mount;
use cri_api::isula::v1::mount::Kind;

use super::{NO_VOLUMES, PROPAGATIONS, set_propagation, target_path};

/// Mount options that mean the same for the engine and for mount(8).
const PLAIN_OPTIONS: [&str; 6] = ["nosuid", "nodev", "noexec", "suid", "dev", "exec"];

/// `-v HOST:CONTAINER[:OPTIONS]`. A host path is absolute or begins with a dot; other words are names of volumes.
pub(super) fn parse(text: &str) -> Result<Mount, String> {
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

#[cfg(test)]
mod tests {
    use super::super::tests::bind;
    use super::*;

    #[test]
    fn volumes() {
        let made = |mount: Mount| Mount { create_source: true, ..mount };
        assert_eq!(parse("/a:/b"), Ok(made(bind("/a", "/b"))));
        assert_eq!(parse("/a:/b:ro"), Ok(made(Mount { read_only: true, ..bind("/a", "/b") })));
        assert_eq!(
            parse("./a:/b:rw,rslave,bind,noexec"),
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
            assert_eq!(parse(bad).unwrap_err(), reason, "{bad}");
        }
    }
}
