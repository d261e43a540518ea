//! Translates a user's profile from docker's format into the OCI spec's: the conditions on
//! capabilities, processors and kernels are decided here, since a runtime does not know them.

use std::borrow::Cow;

use serde::Deserialize;

use super::super::capabilities::CapabilitySet;
use super::super::host::Architecture;
use super::super::oci;

/// Why a profile cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    #[error("the profile cannot be read at line {line}, column {column}")]
    Json { line: usize, column: usize, source: serde_json::Error },
    #[error("the profile has both `architectures` and `archMap`")]
    TwoArchitectureLists,
    #[error("rule {rule} of the profile has both `name` and `names`")]
    TwoNameLists { rule: usize },
    #[error("rule {rule} of the profile names no system call")]
    NoNames { rule: usize },
    #[error("unknown action `{action}` in the profile")]
    UnknownAction { action: String },
    #[error("unknown comparison `{op}` in rule {rule} of the profile")]
    UnknownComparison { rule: usize, op: String },
    #[error("rule {rule} of the profile compares argument {index}, but there are six, from 0")]
    ArgumentIndex { rule: usize, index: u32 },
    #[error("`{version}` in rule {rule} of the profile is not a kernel version")]
    KernelVersion { rule: usize, version: String },
    #[error("a profile was asked for, but the kernel does not support seccomp")]
    NoKernelSupport,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Profile {
    default_action: String,
    #[serde(default)]
    default_errno_ret: Option<u32>,
    #[serde(default)]
    architectures: Option<Vec<String>>,
    #[serde(default)]
    arch_map: Option<Vec<ArchitectureMap>>,
    #[serde(default)]
    flags: Option<Vec<String>>,
    #[serde(default)]
    syscalls: Option<Vec<Rule>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ArchitectureMap {
    architecture: String,
    #[serde(default)]
    sub_architectures: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Rule {
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    names: Option<Vec<String>>,
    action: String,
    #[serde(default)]
    errno_ret: Option<u32>,
    #[serde(default)]
    args: Option<Vec<Argument>>,
    #[serde(default)]
    includes: Option<Condition>,
    #[serde(default)]
    excludes: Option<Condition>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Argument {
    index: u32,
    value: u64,
    #[serde(default)]
    value_two: u64,
    op: String,
}

/// Each given list has to match: one of the processors, all of the capabilities, the kernel at least.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Condition {
    #[serde(default)]
    arches: Option<Vec<String>>,
    #[serde(default)]
    caps: Option<Vec<String>>,
    #[serde(default)]
    min_kernel: Option<String>,
}

const ACTIONS: [&str; 9] = [
    "SCMP_ACT_ALLOW",
    "SCMP_ACT_ERRNO",
    "SCMP_ACT_KILL",
    "SCMP_ACT_KILL_PROCESS",
    "SCMP_ACT_KILL_THREAD",
    "SCMP_ACT_LOG",
    "SCMP_ACT_NOTIFY",
    "SCMP_ACT_TRACE",
    "SCMP_ACT_TRAP",
];

const COMPARISONS: [&str; 7] =
    ["SCMP_CMP_EQ", "SCMP_CMP_GE", "SCMP_CMP_GT", "SCMP_CMP_LE", "SCMP_CMP_LT", "SCMP_CMP_MASKED_EQ", "SCMP_CMP_NE"];

/// Reads and translates a profile for a container with `capabilities` on this machine.
pub(super) fn translate(
    json: &str,
    capabilities: CapabilitySet,
    architecture: Architecture,
    kernel: (u32, u32),
) -> Result<oci::Seccomp, ProfileError> {
    let profile: Profile = serde_json::from_str(json).map_err(|source| ProfileError::Json {
        line: source.line(),
        column: source.column(),
        source,
    })?;
    let machine = Machine { capabilities, architecture, kernel };
    let architectures = architectures(profile.architectures, profile.arch_map, architecture)?;
    let mut syscalls = Vec::new();
    for (index, rule) in profile.syscalls.unwrap_or_default().into_iter().enumerate() {
        syscalls.extend(machine.translate(index + 1, rule)?);
    }
    Ok(oci::Seccomp {
        default_action: action(profile.default_action)?,
        default_errno_ret: profile.default_errno_ret,
        architectures,
        flags: profile.flags.unwrap_or_default(),
        syscalls,
    })
}

/// Of a map, only this processor's entry: rules for others would be compiled for nothing at every start.
fn architectures(
    list: Option<Vec<String>>,
    map: Option<Vec<ArchitectureMap>>,
    architecture: Architecture,
) -> Result<Vec<Cow<'static, str>>, ProfileError> {
    let (list, map) = (list.unwrap_or_default(), map.unwrap_or_default());
    if !list.is_empty() && !map.is_empty() {
        return Err(ProfileError::TwoArchitectureLists);
    }
    let native = map.into_iter().find(|entry| entry.architecture == native_name(architecture));
    let mapped = native
        .into_iter()
        .flat_map(|entry| std::iter::once(entry.architecture).chain(entry.sub_architectures.unwrap_or_default()));
    Ok(list.into_iter().chain(mapped).map(Cow::Owned).collect())
}

fn native_name(architecture: Architecture) -> &'static str {
    match architecture {
        Architecture::X86_64 => "SCMP_ARCH_X86_64",
        Architecture::Aarch64 => "SCMP_ARCH_AARCH64",
        Architecture::Riscv64 => "SCMP_ARCH_RISCV64",
        Architecture::Other => "",
    }
}

/// The machine and container that conditions are decided against.
struct Machine {
    capabilities: CapabilitySet,
    architecture: Architecture,
    kernel: (u32, u32),
}

impl Machine {
    /// `None` when the rule is not for this container.
    fn translate(&self, number: usize, rule: Rule) -> Result<Option<oci::Syscalls>, ProfileError> {
        let mut names = rule.names.unwrap_or_default();
        match rule.name.filter(|name| !name.is_empty()) {
            Some(_) if !names.is_empty() => return Err(ProfileError::TwoNameLists { rule: number }),
            Some(name) => names.push(name),
            None => {}
        }
        if names.is_empty() {
            return Err(ProfileError::NoNames { rule: number });
        }
        let args = rule.args.unwrap_or_default().into_iter().map(|argument| translate_argument(number, argument));
        let syscalls = oci::Syscalls {
            names: names.into_iter().map(Cow::Owned).collect(),
            action: action(rule.action)?,
            errno_ret: rule.errno_ret,
            args: args.collect::<Result<_, _>>()?,
        };
        let included = self.includes(number, &rule.includes.unwrap_or_default())?;
        let excluded = self.excludes(number, &rule.excludes.unwrap_or_default())?;
        Ok((included && !excluded).then_some(syscalls))
    }

    fn includes(&self, rule: usize, condition: &Condition) -> Result<bool, ProfileError> {
        let arches = condition.arches.as_deref().unwrap_or_default();
        let caps = condition.caps.as_deref().unwrap_or_default();
        Ok((arches.is_empty() || arches.iter().any(|name| self.is(name)))
            && caps.iter().all(|name| self.has(name))
            && self.is_kernel(rule, condition)?.unwrap_or(true))
    }

    /// Any match excludes.
    fn excludes(&self, rule: usize, condition: &Condition) -> Result<bool, ProfileError> {
        let arches = condition.arches.as_deref().unwrap_or_default();
        let caps = condition.caps.as_deref().unwrap_or_default();
        Ok(arches.iter().any(|name| self.is(name))
            || caps.iter().any(|name| self.has(name))
            || self.is_kernel(rule, condition)?.unwrap_or(false))
    }

    /// In Go's names of processors.
    fn is(&self, name: &str) -> bool {
        match self.architecture {
            Architecture::X86_64 => name == "amd64",
            Architecture::Aarch64 => name == "arm64",
            Architecture::Riscv64 => name == "riscv64",
            Architecture::Other => false,
        }
    }

    /// An unknown capability is one that the container does not have.
    fn has(&self, name: &str) -> bool {
        CapabilitySet::named(name).is_some_and(|one| self.capabilities.contains(one))
    }

    fn is_kernel(&self, rule: usize, condition: &Condition) -> Result<Option<bool>, ProfileError> {
        let Some(version) = condition.min_kernel.as_deref().filter(|version| !version.is_empty()) else {
            return Ok(None);
        };
        let parsed =
            version.split_once('.').and_then(|(major, minor)| Some((major.parse().ok()?, minor.parse().ok()?)));
        let wanted = parsed.ok_or_else(|| ProfileError::KernelVersion { rule, version: version.to_owned() })?;
        Ok(Some(self.kernel >= wanted))
    }
}

fn translate_argument(rule: usize, argument: Argument) -> Result<oci::Argument, ProfileError> {
    let Argument { index, value, value_two, op } = argument;
    if index > 5 {
        return Err(ProfileError::ArgumentIndex { rule, index });
    }
    match COMPARISONS.iter().find(|known| **known == op) {
        Some(op) => Ok(oci::Argument { index, value, value_two, op: (*op).into() }),
        None => Err(ProfileError::UnknownComparison { rule, op }),
    }
}

fn action(action: String) -> Result<Cow<'static, str>, ProfileError> {
    match ACTIONS.iter().find(|known| **known == action) {
        Some(known) => Ok((*known).into()),
        None => Err(ProfileError::UnknownAction { action }),
    }
}
