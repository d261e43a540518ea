//! `-v`: the short spelling.

use cri_api::isula::v1::Mount;
use cri_api::isula::v1::mount::Kind;

use super::{PROPAGATIONS, is_volume_name, set_propagation, target_path};

/// Mount options that mean the same for the engine and for mount(8).
const PLAIN_OPTIONS: [&str; 6] = ["nosuid", "nodev", "noexec", "suid", "dev", "exec"];

/// `-v [SOURCE:]CONTAINER[:OPTIONS]`. A path of the host is absolute or begins with a dot; other words are names of
/// volumes, and without a source it is a new one.
pub(super) fn parse(text: &str) -> Result<Mount, String> {
    let parts: Vec<&str> = text.split(':').collect();
    let (source, target, options) = match parts[..] {
        [target] => ("", target, ""),
        [source, target] => (source, target, ""),
        [source, target, options] if !options.is_empty() => (source, target, options),
        _ => return Err("want [SOURCE:]CONTAINER[:OPTIONS]".into()),
    };
    if parts.len() > 1 && source.is_empty() {
        return Err("the source is empty".into());
    }
    let bind = source.starts_with(['/', '.']);
    if !bind && !source.is_empty() && !is_volume_name(source) {
        return Err(format!(
            "'{source}' is neither a path (which begins with / or .) nor a volume's name (letters, digits, _ . -)"
        ));
    }
    let mut mount = Mount {
        kind: if bind { Kind::Bind } else { Kind::Volume }.into(),
        source: source.to_owned(),
        target: target_path(target)?,
        create_source: bind,
        ..Mount::default()
    };
    let mut mode = None;
    for option in options.split(',').filter(|option| !option.is_empty()) {
        match option {
            "ro" | "rw" => once(&mut mode, option, "ro or rw")?,
            "nocopy" if !bind => mount.no_copy = true,
            "nocopy" => return Err("option 'nocopy' is for volumes".into()),
            word if !bind && (PROPAGATIONS.contains(&word) || matches!(word, "bind" | "rbind")) => {
                return Err(format!("option '{word}' is for directories of the host"));
            }
            "bind" => mount.non_recursive = true,
            "rbind" => mount.non_recursive = false,
            "z" | "Z" => return Err(format!("option '{option}' is not supported yet")),
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
    use super::super::tests::{bind, volume};
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
        assert_eq!(parse("/b"), Ok(volume("", "/b")));
        assert_eq!(parse("name:/b"), Ok(volume("name", "/b")));
        assert_eq!(
            parse("a_B.c-1:/b:ro,nocopy,noexec"),
            Ok(Mount { read_only: true, no_copy: true, options: vec!["noexec".into()], ..volume("a_B.c-1", "/b") })
        );
        for (bad, reason) in [
            ("b", "the path in the container must be absolute: 'b'"),
            ("", "the path in the container must be absolute: ''"),
            (":/b", "the source is empty"),
            ("name:/b:rslave", "option 'rslave' is for directories of the host"),
            ("/a:/b:nocopy", "option 'nocopy' is for volumes"),
            (
                "a/b:/b",
                "'a/b' is neither a path (which begins with / or .) nor a volume's name (letters, digits, _ . -)",
            ),
            ("/a:b", "the path in the container must be absolute: 'b'"),
            ("/a:/", "the container's root cannot be mounted over"),
            ("/a:/../.", "the container's root cannot be mounted over"),
            ("/a:/b:ro,rw", "ro or rw may be given once"),
            ("/a:/b:shared,slave", "a propagation may be given once"),
            ("/a:/b:bogus", "unknown option 'bogus'"),
            ("/a:/b:", "want [SOURCE:]CONTAINER[:OPTIONS]"),
            ("/a:/b:ro:x", "want [SOURCE:]CONTAINER[:OPTIONS]"),
            ("/a:/b:z", "option 'z' is not supported yet"),
        ] {
            assert_eq!(parse(bad).unwrap_err(), reason, "{bad}");
        }
    }
}
