//! The first process of a container: its command, user, environment and limits.

use std::borrow::Cow;

use crate::definition::{Definition, Sharing, Ulimit};
use crate::latest::Environment;
use crate::session::Size;

use super::capabilities::CapabilitySet;
use super::user::Identity;
use super::{Host, SpecError, oci};

const DEFAULT_PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Names as in `ulimit` and in the spec, in the order of `Host::hard_limits`.
const ULIMITS: [(&str, &str); 16] = [
    ("core", "RLIMIT_CORE"),
    ("cpu", "RLIMIT_CPU"),
    ("data", "RLIMIT_DATA"),
    ("fsize", "RLIMIT_FSIZE"),
    ("locks", "RLIMIT_LOCKS"),
    ("memlock", "RLIMIT_MEMLOCK"),
    ("msgqueue", "RLIMIT_MSGQUEUE"),
    ("nice", "RLIMIT_NICE"),
    ("nofile", "RLIMIT_NOFILE"),
    ("nproc", "RLIMIT_NPROC"),
    ("rss", "RLIMIT_RSS"),
    ("rtprio", "RLIMIT_RTPRIO"),
    ("rttime", "RLIMIT_RTTIME"),
    ("sigpending", "RLIMIT_SIGPENDING"),
    ("stack", "RLIMIT_STACK"),
    ("as", "RLIMIT_AS"),
];

/// "No limit" as the kernel writes it.
const UNLIMITED: u64 = u64::MAX;

pub(super) fn plan<'a>(
    definition: &'a Definition,
    host: &Host,
    size: Option<Size>,
    identity: &Identity,
    capabilities: CapabilitySet,
    warnings: &mut Vec<String>,
) -> Result<oci::Process<'a>, SpecError> {
    let process = &definition.process;
    let mut args: Vec<&str> = process.args().collect();
    if args.first().is_none_or(|program| program.is_empty()) {
        return Err(SpecError::NoCommand);
    }
    if definition.init {
        args.insert(0, super::mounts::INIT);
    }
    let cwd = if process.workdir.is_empty() { "/" } else { &process.workdir };
    if !cwd.starts_with('/') {
        return Err(SpecError::RelativeWorkdir { path: cwd.to_owned() });
    }
    Ok(oci::Process {
        terminal: process.tty,
        console_size: size.filter(|_| process.tty).map(|Size { width, height }| oci::ConsoleSize { height, width }),
        user: oci::User { uid: identity.uid, gid: identity.gid, additional_gids: identity.groups.clone() },
        args,
        env: environment(definition, &identity.home),
        cwd,
        capabilities: of_user(capabilities, identity.uid),
        rlimits: rlimits(&definition.ulimits, host, warnings)?,
        no_new_privileges: definition.security.no_new_privileges,
        oom_score_adj: oom_score_adj(definition.oom_score_adj, host, warnings),
    })
}

/// As an exec by that user would leave them: any user but root starts with no effective capabilities. The permitted set
/// bounds a program file's own: with `no_new_privs` the kernel gives a file's capabilities only as far as they were
/// permitted before. The exec removes those that a file does not claim.
fn of_user(capabilities: CapabilitySet, uid: u32) -> oci::Capabilities {
    let held = if uid == 0 { capabilities } else { CapabilitySet::EMPTY };
    oci::Capabilities {
        bounding: capabilities.names().collect(),
        effective: held.names().collect(),
        permitted: capabilities.names().collect(),
    }
}

/// Defaults first, so that the user's values replace them in place. An entry without `=` removes a variable.
fn environment<'a>(definition: &'a Definition, home: &str) -> Vec<Cow<'a, str>> {
    let mut env = Environment::default();
    env.put(DEFAULT_PATH);
    if !definition.hostname.is_empty() && !matches!(definition.namespaces.uts, Sharing::Container(_)) {
        env.put(format!("HOSTNAME={}", definition.hostname));
    }
    if definition.process.tty {
        env.put("TERM=xterm");
    }
    env.put(format!("HOME={home}"));
    for variable in &definition.process.env {
        match variable.contains('=') {
            true => env.put(variable.as_str()),
            false => env.remove(variable),
        }
    }
    env.into_entries().collect()
}

/// Raising a hard limit needs a privilege, and the number of open files is bounded by the kernel for every process.
/// A container with a lower limit runs; one with a limit that cannot be set would not start.
fn rlimits(ulimits: &[Ulimit], host: &Host, warnings: &mut Vec<String>) -> Result<Vec<oci::Rlimit>, SpecError> {
    let mut list: Vec<oci::Rlimit> = Vec::with_capacity(ulimits.len());
    for ulimit in ulimits {
        let index = ULIMITS
            .iter()
            .position(|(name, _)| *name == ulimit.name)
            .ok_or_else(|| SpecError::UnknownUlimit { name: ulimit.name.clone() })?;
        let (soft, hard) = (bound(ulimit.soft), bound(ulimit.hard));
        if soft > hard {
            let (soft, hard) = (ulimit.soft, ulimit.hard);
            return Err(SpecError::UlimitOrder { name: ulimit.name.clone(), soft, hard });
        }
        let most = most(index, host);
        if hard > most {
            warnings.push(format!("The daemon cannot raise ulimit {} above {most}; it is set to that.", ulimit.name));
        }
        let kind = ULIMITS[index].1;
        list.retain(|known| known.kind != kind);
        list.push(oci::Rlimit { kind, soft: soft.min(most), hard: hard.min(most) });
    }
    Ok(list)
}

fn bound(limit: i64) -> u64 {
    u64::try_from(limit).unwrap_or(UNLIMITED)
}

fn most(index: usize, host: &Host) -> u64 {
    let own = if host.may_raise_limits { UNLIMITED } else { host.hard_limits[index].unwrap_or(UNLIMITED) };
    if ULIMITS[index].0 == "nofile" { own.min(host.max_open_files) } else { own }
}

/// Always given: a daemon that protects itself with a low score would otherwise pass it on.
fn oom_score_adj(asked: Option<i32>, host: &Host, warnings: &mut Vec<String>) -> i32 {
    let wanted = asked.unwrap_or(0).clamp(-1000, 1000);
    if wanted >= host.oom_score_adj || host.may_raise_limits {
        return wanted;
    }
    if asked.is_some() {
        let own = host.oom_score_adj;
        warnings.push(format!("The daemon cannot lower the OOM score adjustment below {own}; it is set to that."));
    }
    host.oom_score_adj
}
