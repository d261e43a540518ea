//! Removals that may have ended long ago. A store that has lost its end may have the record of a removal that was
//! finished, and none of later ones: of a new volume of the same name, with data of its own. Later starts find that
//! store whole, so the names are noted in a file; such a volume is removed only when a client asks for it again.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::Volumes;
use crate::cause::chain;
use crate::domain::id::VolumeName;
use crate::domain::volume::Phase;
use crate::rootfs::write_atomically;

impl Volumes {
    /// Notes the removals that the store has no end of. To be called when it is not whole.
    pub(crate) async fn note_removals_in_doubt(self: &Arc<Self>) {
        let owned = self.clone();
        let noting = tokio::task::spawn_blocking(move || {
            let names = owned.being_removed();
            if names.is_empty() {
                return;
            }
            let text: String = names.iter().map(|name| format!("{name}\n")).collect();
            if let Err(error) = write_atomically(&owned.node.layout.volumes_in_doubt(), text.as_bytes(), 0o600, true) {
                owned.node.warn(chain(&error));
            }
        });
        if let Err(panic) = noting.await {
            self.node.warn(format!("interrupted removals of volumes were not noted: {panic}"));
        }
    }

    /// Those of the recorded removals that are in doubt, or why they are not known. Deletes the note once all are finished.
    /// Blocks.
    pub(super) fn in_doubt(&self) -> Result<BTreeSet<VolumeName>, String> {
        let path = self.node.layout.volumes_in_doubt();
        let failed = |what: &str, error: std::io::Error| format!("cannot {what} `{}`: {error}", path.display());
        let text = match std::fs::read_to_string(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(BTreeSet::new()),
            read => read.map_err(|error| failed("read", error))?,
        };
        let being_removed = self.being_removed();
        let doubtful: BTreeSet<_> =
            text.lines().filter_map(|line| line.parse().ok()).filter(|name| being_removed.contains(name)).collect();
        if doubtful.is_empty() {
            std::fs::remove_file(&path).map_err(|error| failed("remove", error))?;
        }
        Ok(doubtful)
    }

    fn being_removed(&self) -> BTreeSet<VolumeName> {
        let records = self.ledger.snapshot();
        let being_removed = records.iter().filter(|(_, entity)| entity.state.phase == Phase::Removing);
        being_removed.map(|(name, _)| name.clone()).collect()
    }
}
