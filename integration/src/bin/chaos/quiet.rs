//! A quiet moment: no client and no kill is active, the daemon serves, and everything is compared.

use std::time::{Duration, Instant};

use super::compare;
use super::journal;
use super::world::World;

/// Until a daemon serves and has verified everything. Only a hang takes as long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// Waits until the daemon has verified everything; `false` when it does not.
pub(crate) fn verified(world: &World) -> bool {
    let end = Instant::now() + PATIENCE;
    loop {
        match world.wire.info() {
            Ok(info) if info.unverified == 0 => return world.journal.reaches(info.journal_seq),
            _ if Instant::now() > end => {
                world.report.violation(world, "every container is verified", None, "not so after two minutes");
                return false;
            }
            _ => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}

pub(crate) fn look(world: &World) {
    if !verified(world) {
        return;
    }
    world.trace("quiet");
    journal::compare(world, 0);
    compare::lists(world);
    compare::transients(world);
    compare::containers(world);
    let history = world.journal.read();
    let (events, there) = (history.last(), history.model.present().count());
    drop(history);
    let verdict = if world.report.none() { "all holds" } else { "broken" };
    println!("chaos: {}: {events} events, {there} containers there, {verdict}", world.clock());
    world.trace("quiet no more");
}
