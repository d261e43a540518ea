//! How much a caller may ask for. No program could use more than these limits, and the daemon would have to store it: the
//! messages name the kind, the limit and the given number.

use super::{ContainerError, ContainerSpec};
use crate::exec::Program;

/// Arguments, variables, labels, annotations, lines for the hosts file.
const ENTRIES: usize = 65_536;
/// Bytes of all entries of one of these kinds together.
const BYTES: usize = 4 << 20;
/// The kernel gives a mount namespace 100,000 mounts, and runtimes read the table again and again.
const MOUNTS: usize = 16_384;
/// Entries of lists that are short in real containers.
const FEW: usize = 4_096;
/// Pages of the longest argument or variable that execve(2) takes, its zero byte included.
const PAGES_OF_TEXT: usize = 32;

/// Checks the lengths of a specification before its content is examined.
pub(super) fn creation(spec: &ContainerSpec) -> Result<(), ContainerError> {
    let texts = |list: &[String]| (list.len(), list.iter().map(String::len).sum());
    let pairs = |map: &std::collections::HashMap<String, String>| {
        (map.len(), map.iter().map(|(key, value)| key.len() + value.len()).sum())
    };
    let (entrypoint, command) = (texts(&spec.entrypoint), texts(&spec.command));
    sized("arguments", (entrypoint.0 + command.0, entrypoint.1 + command.1))?;
    sized("environment variables", texts(&spec.env))?;
    sized("labels", pairs(&spec.labels))?;
    sized("annotations", pairs(&spec.annotations))?;
    sized("lines for its hosts file", texts(&spec.extra_hosts))?;
    let mounts = spec.mounts.iter().map(|mount| {
        let options: usize = mount.options.iter().map(String::len).sum();
        mount.source.len() + mount.target.len() + options
    });
    counted("mounts", spec.mounts.len(), MOUNTS)?;
    bytes("mounts", mounts.sum())?;
    for (what, count) in [
        ("ports to expose", spec.expose.len()),
        ("devices", spec.devices.len()),
        ("further groups", spec.group_add.len()),
        ("ulimits", spec.ulimits.len()),
        ("capabilities", spec.cap_add.len() + spec.cap_drop.len()),
        ("sysctls", spec.sysctls.len()),
        ("name servers", spec.dns.len()),
        ("search domains", spec.dns_search.len()),
        ("resolver options", spec.dns_options.len()),
        ("containers to take volumes from", spec.volumes_from.len()),
        ("published ports", spec.ports.len()),
    ] {
        counted(what, count, FEW)?;
    }
    passable(spec.entrypoint.iter().chain(&spec.command), &spec.env)
}

/// Checks the lengths of an exec's program.
pub(super) fn program(program: &Program) -> Result<(), ContainerError> {
    let size = |list: &[String]| (list.len(), list.iter().map(String::len).sum());
    sized("arguments", size(&program.args))?;
    sized("environment variables", size(&program.env))?;
    passable(program.args.iter(), &program.env)
}

fn sized(what: &str, (count, size): (usize, usize)) -> Result<(), ContainerError> {
    counted(what, count, ENTRIES)?;
    bytes(what, size)
}

fn counted(what: &str, count: usize, most: usize) -> Result<(), ContainerError> {
    if count > most {
        return Err(ContainerError::invalid(format!("a container can have {most} {what} at most, not {count}")));
    }
    Ok(())
}

fn bytes(what: &str, size: usize) -> Result<(), ContainerError> {
    if size > BYTES {
        return Err(ContainerError::invalid(format!(
            "the {what} of a container can have {BYTES} bytes together at most, not {size}"
        )));
    }
    Ok(())
}

/// Refuses arguments and variables that execve(2) would refuse by their length alone.
fn passable<'a>(arguments: impl Iterator<Item = &'a String>, env: &[String]) -> Result<(), ContainerError> {
    let most = rustix::param::page_size() * PAGES_OF_TEXT - 1;
    let refuse = |what: String, size: usize| {
        Err(ContainerError::invalid(format!("{what} has {size} bytes: the kernel passes {most} at most to a program")))
    };
    if let Some((index, long)) = arguments.enumerate().find(|(_, text)| text.len() > most) {
        return refuse(format!("argument {index} of the command"), long.len());
    }
    match env.iter().find(|entry| entry.len() > most) {
        Some(long) => {
            let name: String = crate::latest::name_of(long).chars().take(100).collect();
            refuse(format!("environment variable `{name}`"), long.len())
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::containers::MountSpec;

    fn refused(spec: ContainerSpec) -> String {
        creation(&spec).unwrap_err().to_string()
    }

    #[test]
    fn excess_is_refused_with_its_limit() {
        assert!(creation(&ContainerSpec { env: vec!["A=b".into(); ENTRIES], ..Default::default() }).is_ok());
        let many = ContainerSpec { env: vec!["A=b".into(); ENTRIES + 1], ..Default::default() };
        assert_eq!(refused(many), "a container can have 65536 environment variables at most, not 65537");
        let labels = (0..50).map(|n| (n.to_string(), "x".repeat(100_000))).collect();
        assert!(
            refused(ContainerSpec { labels, ..Default::default() })
                .starts_with("the labels of a container can have 4194304 bytes together at most, not 50000")
        );
        let mounts = vec![MountSpec::default(); MOUNTS + 1];
        assert_eq!(
            refused(ContainerSpec { mounts, ..Default::default() }),
            "a container can have 16384 mounts at most, not 16385"
        );
        let group_add = vec!["1".to_owned(); FEW + 1];
        assert!(refused(ContainerSpec { group_add, ..Default::default() }).contains("4096 further groups at most"));
    }

    #[test]
    fn texts_too_long_for_execve_are_refused() {
        let long = "x".repeat(rustix::param::page_size() * PAGES_OF_TEXT);
        let command = vec!["sh".to_owned(), long.clone()];
        assert!(refused(ContainerSpec { command, ..Default::default() }).starts_with("argument 1 of the command has "));
        let env = vec![format!("SECRET={long}")];
        let text = refused(ContainerSpec { env: env.clone(), ..Default::default() });
        assert!(text.starts_with("environment variable `SECRET` has ") && !text.contains("xx"), "{text}");
        assert!(program(&Program { args: vec!["true".into()], env, ..Program::default() }).is_err());
    }
}
