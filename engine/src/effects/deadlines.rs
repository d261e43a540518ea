//! The deadlines of all parts of effects, and the limits of whole effects, which are computed from them.

use std::time::Duration;

use crate::exec::END_ALL_LIMIT;
use crate::network::KNOWN_PATIENCE;
use crate::network::attach::ATTACH_DEADLINE;
use crate::network::detach::DETACH_DEADLINE;
use crate::records::LAST_COPY_PATIENCE;
use crate::runtime;
use crate::shim_process::{KILL_PATIENCE, RUNTIME_DEADLINE};

/// How long the shim may take after an exit to run the runtime's `delete`.
pub(super) const SHIM_PATIENCE: Duration = Duration::from_secs(60);
/// Unmounting does not wait for processes, but file systems have hung before.
pub(super) const UNMOUNT_PATIENCE: Duration = Duration::from_secs(60);
/// How long copies of a container's files may go on before a start ends them.
pub(super) const COPY_PATIENCE: Duration = Duration::from_secs(10);
/// Limit for copying an image's files into new volumes.
pub(super) const FILL_DEADLINE: Duration = Duration::from_secs(240);
/// How long a start waits for ports of a container that is being released: longer only if a plugin hangs, and then the
/// port is refused.
pub(super) const PORTS_PATIENCE: Duration = Duration::from_secs(20);
/// The preparation mounts and writes files: one that takes longer hangs.
pub(super) const BEGIN_DEADLINE: Duration = Duration::from_secs(60);
/// The shim answers within the runtime's deadlines (the run, and the undoing of a failed one) and some time of its own.
pub(super) const ANSWER_DEADLINE: Duration = sum(&[RUNTIME_DEADLINE, RUNTIME_DEADLINE, Duration::from_secs(20)]);
/// How long attached clients may take to leave: until then they may read missed output in the log of a container that
/// removes itself, and the ends of their sessions are recorded.
pub(super) const CLIENTS_PATIENCE: Duration = Duration::from_secs(20);
/// A writable layer may be large.
const DELETE_PATIENCE: Duration = Duration::from_secs(480);
/// How long an adopting shim may take to answer; it runs no runtime.
pub(super) const ADOPTION: Duration = Duration::from_secs(30);
/// How long a shim that has hung up may take to end.
pub(super) const EXIT_PATIENCE: Duration = Duration::from_secs(5);
/// How long a shim may take after the end of its process: it drains the output before it writes the record.
pub(super) const DRAIN_PATIENCE: Duration = Duration::from_secs(60);
/// For steps without a deadline of their own: small reads and writes, and turns.
const SLACK: Duration = Duration::from_secs(80);

/// The shim is ended, the runtime deletes, the second time by force, the cgroup is emptied, execs are waited for,
/// networks are detached, and mounts are undone.
const GIVE_BACK: Duration = sum(&[
    KILL_PATIENCE,
    runtime::DEADLINE,
    runtime::DEADLINE,
    KILL_PATIENCE,
    END_ALL_LIMIT,
    DETACH_DEADLINE,
    UNMOUNT_PATIENCE,
]);
/// The networks in use become known after a start of the daemon, ports become free, and plugins attach.
const ATTACH: Duration = sum(&[KNOWN_PATIENCE, PORTS_PATIENCE, ATTACH_DEADLINE]);

/// Copies are waited for, leftovers of the last run are released, volumes are filled, networks attached, the start is
/// prepared, the shim answers, and a failed attempt is undone.
pub(crate) const LAUNCH_LIMIT: Duration = sum(&[
    COPY_PATIENCE,
    LAST_COPY_PATIENCE,
    GIVE_BACK,
    FILL_DEADLINE,
    ATTACH,
    BEGIN_DEADLINE,
    ANSWER_DEADLINE,
    GIVE_BACK,
    SLACK,
]);
pub(super) const RELEASE_LIMIT: Duration = sum(&[SHIM_PATIENCE, GIVE_BACK, SLACK]);
pub(super) const DISMANTLE_LIMIT: Duration =
    sum(&[SHIM_PATIENCE, CLIENTS_PATIENCE, LAST_COPY_PATIENCE, GIVE_BACK, DELETE_PATIENCE, SLACK]);
/// A hung shim ends, the adopting one answers, and the old one's record is waited for.
const ADOPT: Duration = sum(&[EXIT_PATIENCE, ADOPTION, DRAIN_PATIENCE, KILL_PATIENCE, SLACK]);
// An adoption has the limit of a release.
const _: () = assert!(ADOPT.as_secs() < RELEASE_LIMIT.as_secs());

const fn sum(parts: &[Duration]) -> Duration {
    let mut total = Duration::ZERO;
    let mut next = 0;
    while next < parts.len() {
        total = total.saturating_add(parts[next]);
        next += 1;
    }
    total
}
