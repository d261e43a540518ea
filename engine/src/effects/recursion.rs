//! Whether a runtime can make a bind read-only with all mounts below it (`rro`): it takes a kernel since 5.12, and one
//! of the runtimes that are known to support it. Other runtimes ignore the option or reject it.

use std::collections::HashMap;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::process::Command;

use crate::helper::{self, Limits};
use crate::node::Node;
use crate::runtime::Runtime;

const KERNEL: (u32, u32) = (5, 12);
/// Runtimes that support it, with their first version.
const SUPPORTING: [(&str, (u32, u32)); 2] = [("runc", (1, 1)), ("crun", (1, 4))];
/// Limits for a program that prints its version.
const LIMITS: Limits = Limits { deadline: Duration::from_secs(5), output: 64 << 10, errors: 0 };

/// Each binary is asked once. Blocks.
pub(super) fn supports(node: &Node, runtime: &Runtime) -> bool {
    static KNOWN: Mutex<Option<HashMap<(PathBuf, SystemTime), bool>>> = Mutex::new(None);
    let Ok(modified) = std::fs::metadata(&runtime.path).and_then(|facts| facts.modified()) else { return false };
    if node.host.kernel < KERNEL {
        return false;
    }
    let key = (runtime.path.clone(), modified);
    let known = |known: &Option<HashMap<_, bool>>| known.as_ref().and_then(|known| known.get(&key)).copied();
    if let Some(known) = known(&KNOWN.lock().unwrap_or_else(PoisonError::into_inner)) {
        return known;
    }
    // A runtime that does not answer now is asked again at the next start.
    let Some(version) = node.tasks.block_on(version(runtime)) else { return false };
    let is_sufficient = is_sufficient(&version);
    KNOWN.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_default().insert(key, is_sufficient);
    is_sufficient
}

async fn version(runtime: &Runtime) -> Option<String> {
    let mut command = Command::new(&runtime.path);
    command.arg("--version").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let output = helper::run(command, b"", LIMITS).await.ok()?;
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// `runc version 1.1.5+ds1`, `crun version 1.28`
fn is_sufficient(version: &str) -> bool {
    let mut words = version.split_whitespace();
    let (Some(name), Some("version"), Some(number)) = (words.next(), words.next(), words.next()) else { return false };
    let mut numbers = number.split(|character: char| !character.is_ascii_digit()).map(|part| part.parse().unwrap_or(0));
    let number = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    SUPPORTING.iter().any(|(known, since)| *known == name && number >= *since)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_known_runtimes_of_sufficient_version_support_it() {
        for (text, expected) in [
            ("runc version 1.1.5+ds1\ncommit: 1.1.5+ds1-1+deb12u1\n", true),
            ("runc version 1.3.6\n", true),
            ("runc version 1.0.3\n", false),
            ("crun version 1.8.1\n", true),
            ("crun version 1.28\n", true),
            ("crun version 0.21\n", false),
            ("youki version 0.5.0\n", false),
            ("1.1\n", false),
            ("", false),
        ] {
            assert_eq!(is_sufficient(text), expected, "{text:?}");
        }
    }
}
