//! Directories beneath `<graph>/volumes` that no record knows, after a start of the daemon.
//!
//! A creation that was killed leaves the directories it makes, empty and as it makes them: those go, with `rmdir`
//! alone, which never takes a file along. All else may be data: it is reported and kept. So is whatever a
//! container may mount: the store may have lost the record of a volume and not that of its user.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Volumes;
use super::files::{DATA_MODE, MODE};
use super::users::Uses;
use crate::domain::id::VolumeName;

/// How many are named in one warning.
const NAMED: usize = 5;

impl Volumes {
    /// Sweeps the directories of killed creations, and reports the others. To be called when the store is whole.
    pub(crate) async fn sweep(self: &Arc<Self>) {
        let mut kept = Vec::new();
        let names = self.unknown().await;
        if names.is_empty() {
            return;
        }
        let containers = self.containers.clone();
        let reading =
            tokio::task::spawn_blocking(move || (Uses::of_all_but(&containers, None), containers.has_unknown("")));
        let (uses, any_may_be_used) = match reading.await {
            Ok(read) => read,
            Err(panic) => {
                return self.node.warn(format!("the users of volumes were not read, nothing is swept: {panic}"));
            }
        };
        for name in names {
            let Ok(volume) = name.parse::<VolumeName>() else {
                kept.push(name);
                continue;
            };
            if any_may_be_used || uses.may_include(&volume) {
                kept.push(name);
                continue;
            }
            // A creation or removal that is under way looks after it.
            let Ok(_claim) = self.leases.claim(&volume).await else { continue };
            if self.ledger.get(&volume).is_some() {
                continue;
            }
            let dir = self.node.layout.volume(&volume);
            let removing = tokio::task::spawn_blocking(move || remove_half_made(&dir));
            match removing.await {
                Ok(Ok(true)) => {
                    self.node.warn(format!("directory of volume {name}, whose creation never ended: removed"))
                }
                Ok(Ok(false)) => kept.push(name),
                Ok(Err(error)) => {
                    self.node.warn(format!("the empty directory of volume {name} was not removed: {error}"))
                }
                Err(panic) => self.node.warn(format!("the sweep of volumes ended abnormally: {panic}")),
            }
        }
        self.report(&kept);
    }

    /// Names beneath the directory of all volumes that have no record.
    async fn unknown(&self) -> Vec<String> {
        let all = self.node.layout.volumes();
        let listed = tokio::task::spawn_blocking({
            let all = all.clone();
            move || -> io::Result<Vec<String>> {
                let names = fs::read_dir(all)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
                names.collect()
            }
        });
        let mut names = match listed.await {
            Ok(Ok(names)) => names,
            Ok(Err(error)) if error.kind() == io::ErrorKind::NotFound => return vec![],
            Ok(Err(error)) => {
                self.node.warn(format!("cannot list `{}`: {error}", all.display()));
                return vec![];
            }
            Err(panic) => {
                self.node.warn(format!("the volumes were not listed: {panic}"));
                return vec![];
            }
        };
        // After they were listed: a volume is recorded after its directory is made, so one that is known by now is no
        // orphan.
        let records = self.ledger.snapshot();
        let known = |name: &str| {
            let volume = name.strip_prefix(".removing-").unwrap_or(name).parse::<VolumeName>();
            volume.is_ok_and(|name| records.contains_key(&name))
        };
        names.retain(|name| !known(name));
        names.sort();
        names
    }

    fn report(&self, kept: &[String]) {
        if kept.is_empty() {
            return;
        }
        let named: Vec<String> = kept.iter().take(NAMED).map(|name| format!("`{}`", name.escape_debug())).collect();
        let more = kept.len().saturating_sub(NAMED);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let (place, named) = (self.node.layout.volumes(), named.join(", "));
        self.node.warn(format!(
            "below `{}` lie files of no volume, which are kept: {named}{more}; `isula volume create NAME` takes a \
             directory over",
            place.display(),
        ));
    }
}

/// Removes the directory if a creation has left it before its record. Returns whether it was.
fn remove_half_made(dir: &Path) -> io::Result<bool> {
    if !fs::symlink_metadata(dir)?.is_dir() {
        return Ok(false);
    }
    let data = dir.join("_data");
    let entries: Vec<PathBuf> = fs::read_dir(dir)?.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>()?;
    let made = match entries.as_slice() {
        [] => as_made(dir, MODE)?,
        [only] => *only == data && as_made(dir, MODE)? && as_made(&data, DATA_MODE)? && is_empty(&data)?,
        _ => false,
    };
    if made {
        if !entries.is_empty() {
            fs::remove_dir(&data)?;
        }
        fs::remove_dir(dir)?;
    }
    Ok(made)
}

/// A directory of root's with the mode that a creation gives it: one that people prepare for a container mostly has
/// another.
fn as_made(dir: &Path, mode: u32) -> io::Result<bool> {
    let meta = fs::symlink_metadata(dir)?;
    Ok(meta.is_dir() && meta.uid() == 0 && meta.gid() == 0 && meta.mode() & 0o7777 == mode)
}

fn is_empty(dir: &Path) -> io::Result<bool> {
    Ok(fs::read_dir(dir)?.next().is_none())
}
