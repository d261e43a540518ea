//! Removals that may have ended long ago. A store that has lost its end may tell of a removal that was finished, and of nothing
//! that came after it: a volume of the same name with data of its own. Later starts find that store whole, so the names are
//! noted in a file; such a volume is removed only when it is asked for again.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::cause::chain;
use crate::domain::id::VolumeName;
use crate::domain::volume::Phase;
use crate::engine::Engine;
use crate::rootfs::write_atomically;

/// Notes the removals that the store has no end of. To be called when it is not whole.
pub async fn doubt_removals(engine: &Arc<Engine>) {
    let of = engine.clone();
    let noting = tokio::task::spawn_blocking(move || {
        let names = going(&of);
        if names.is_empty() {
            return;
        }
        let text: String = names.iter().map(|name| format!("{name}\n")).collect();
        if let Err(error) = write_atomically(&of.layout.volumes_in_doubt(), text.as_bytes(), 0o600, true) {
            of.warn(chain(&error));
        }
    });
    if let Err(panic) = noting.await {
        engine.warn(format!("interrupted removals of volumes were not noted: {panic}"));
    }
}

/// Those of the recorded removals that are in doubt, or why that is not known. Forgets what was removed since. Blocks.
pub(super) fn in_doubt(engine: &Engine) -> Result<BTreeSet<VolumeName>, String> {
    let path = engine.layout.volumes_in_doubt();
    let failed = |what: &str, error: std::io::Error| format!("cannot {what} `{}`: {error}", path.display());
    let text = match std::fs::read_to_string(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(BTreeSet::new()),
        read => read.map_err(|error| failed("read", error))?,
    };
    let going = going(engine);
    let doubtful: BTreeSet<_> =
        text.lines().filter_map(|line| line.parse().ok()).filter(|name| going.contains(name)).collect();
    if doubtful.is_empty() {
        std::fs::remove_file(&path).map_err(|error| failed("remove", error))?;
    }
    Ok(doubtful)
}

fn going(engine: &Engine) -> BTreeSet<VolumeName> {
    let records = engine.volumes.records.snapshot();
    let going = records.iter().filter(|(_, entity)| entity.state.phase == Phase::Removing);
    going.map(|(name, _)| name.clone()).collect()
}
