//! Linux capabilities: their names, the default set, and the set that a container gets.

use crate::definition::Security;

use super::Host;

/// The name is not one of a capability.
#[derive(Debug, thiserror::Error)]
#[error("unknown capability `{name}`")]
pub struct CapabilityError {
    pub name: String,
}

/// A set of capabilities, by the kernel's numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct CapabilitySet(u64);

/// Indexed by the kernel's number.
const NAMES: [&str; 41] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];

/// A container's capabilities when its definition neither adds nor drops any.
const DEFAULT: [&str; 14] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
];

impl CapabilitySet {
    pub(crate) const EMPTY: Self = Self(0);
    pub(crate) const SYS_RESOURCE: Self = Self(1 << 24);

    pub(crate) const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// All capabilities with a known name, up to the kernel's last one.
    pub(crate) fn up_to(last: u32) -> Self {
        let count = NAMES.len().min(last as usize + 1);
        Self((1 << count) - 1)
    }

    /// The default set.
    pub(crate) fn standard() -> Self {
        DEFAULT.iter().filter_map(|name| Self::named(name)).fold(Self::EMPTY, |set, one| set | one)
    }

    /// One capability, named with or without `CAP_`, in any case.
    pub(crate) fn named(name: &str) -> Option<Self> {
        let bare = |name: &str| -> Option<usize> {
            NAMES.iter().position(|known| known.eq_ignore_ascii_case(name) || known[4..].eq_ignore_ascii_case(name))
        };
        bare(name).map(|number| Self(1 << number))
    }

    pub(crate) fn contains(self, other: Self) -> bool {
        self & other == other
    }

    pub(crate) fn is_empty(self) -> bool {
        self == Self::EMPTY
    }

    pub(crate) fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Full names, in the kernel's order.
    pub(crate) fn names(self) -> impl Iterator<Item = &'static str> {
        NAMES.iter().enumerate().filter(move |(number, _)| self.0 & (1 << number) != 0).map(|(_, name)| *name)
    }
}

impl std::ops::BitOr for CapabilitySet {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl std::ops::BitAnd for CapabilitySet {
    type Output = Self;
    fn bitand(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

/// The container's set. Capabilities that the daemon does not hold cannot be passed on: they are left out, with a
/// warning.
pub(super) fn resolve(
    security: &Security,
    host: &Host,
    warnings: &mut Vec<String>,
) -> Result<CapabilitySet, CapabilityError> {
    let asked = asked(security, host.known_capabilities)?;
    let missing = asked.without(host.capabilities);
    if !missing.is_empty() {
        let names: Vec<_> = missing.names().collect();
        warnings.push(format!("The daemon does not have {}; the container runs without.", names.join(", ")));
    }
    Ok(asked & host.capabilities)
}

fn asked(security: &Security, all: CapabilitySet) -> Result<CapabilitySet, CapabilityError> {
    let (add, drop) = (parse(&security.cap_add, all)?, parse(&security.cap_drop, all)?);
    if security.privileged {
        return Ok(all);
    }
    let start = match (add.all, drop.all) {
        (true, _) => all,
        // An explicitly added capability stays when all others are dropped.
        (false, true) => return Ok(add.named),
        (false, false) => CapabilitySet::standard() | add.named,
    };
    Ok(start.without(drop.named))
}

struct Listed {
    all: bool,
    named: CapabilitySet,
}

/// A name that this table has but this kernel lacks is as unknown as any other.
fn parse(names: &[String], known: CapabilitySet) -> Result<Listed, CapabilityError> {
    let mut listed = Listed { all: false, named: CapabilitySet::EMPTY };
    for name in names {
        if name.eq_ignore_ascii_case("ALL") || name.eq_ignore_ascii_case("CAP_ALL") {
            listed.all = true;
            continue;
        }
        let found = CapabilitySet::named(name).filter(|found| known.contains(*found));
        listed.named = listed.named | found.ok_or_else(|| CapabilityError { name: name.clone() })?;
    }
    Ok(listed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::definition::Seccomp;

    fn security(privileged: bool, add: &[&str], drop: &[&str]) -> Security {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Security {
            privileged,
            cap_add: owned(add),
            cap_drop: owned(drop),
            no_new_privileges: false,
            seccomp: Seccomp::Default,
            sysctls: Default::default(),
        }
    }

    fn set(names: &[&str]) -> CapabilitySet {
        names.iter().map(|name| CapabilitySet::named(name).unwrap()).fold(CapabilitySet::EMPTY, |set, one| set | one)
    }

    #[test]
    fn additions_and_drops_make_the_set() {
        let all = CapabilitySet::up_to(40);
        let standard = CapabilitySet::standard();
        assert_eq!(standard.names().count(), 14);
        let cases: &[(bool, &[&str], &[&str], CapabilitySet)] = &[
            (false, &[], &[], standard),
            (false, &["NET_ADMIN"], &[], standard | set(&["NET_ADMIN"])),
            (false, &["CAP_NET_ADMIN", "sys_time"], &[], standard | set(&["NET_ADMIN", "SYS_TIME"])),
            (false, &[], &["CHOWN", "CAP_MKNOD"], standard.without(set(&["CHOWN", "MKNOD"]))),
            (false, &[], &["ALL"], CapabilitySet::EMPTY),
            (false, &["CHOWN"], &["ALL"], set(&["CHOWN"])),
            (false, &["ALL"], &[], all),
            (false, &["ALL"], &["SYS_ADMIN"], all.without(set(&["SYS_ADMIN"]))),
            (false, &["ALL"], &["ALL"], all),
            (false, &["CHOWN"], &["CHOWN"], standard.without(set(&["CHOWN"]))),
            (true, &[], &["ALL"], all),
        ];
        for (privileged, add, drop, expected) in cases {
            let found = asked(&security(*privileged, add, drop), all).unwrap();
            assert_eq!(found, *expected, "privileged {privileged} add {add:?} drop {drop:?}");
        }
    }

    #[test]
    fn unknown_names_are_refused_even_without_effect() {
        for (add, drop) in [(&["FLY"][..], &[][..]), (&[], &["CAP_"]), (&[], &[""]), (&["ALL"], &["CAP_CAP_KILL"])] {
            for privileged in [false, true] {
                assert!(asked(&security(privileged, add, drop), CapabilitySet::up_to(40)).is_err(), "{add:?} {drop:?}");
            }
        }
    }

    #[test]
    fn an_older_kernel_has_fewer_capabilities() {
        let old = CapabilitySet::up_to(37);
        assert!(asked(&security(false, &["BPF"], &[]), old).is_err());
        assert_eq!(asked(&security(true, &[], &[]), old).unwrap().names().last(), Some("CAP_AUDIT_READ"));
        // A newer kernel may know more than there are names for.
        assert_eq!(CapabilitySet::up_to(45), CapabilitySet::up_to(40));
    }
}
