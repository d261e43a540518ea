//! The attempts to open the database, from the gentlest to the most destructive.

use super::aside::{self, OpeningCopy};
use super::examine::{self, Unusable};
use super::{Loaded, repair, salvage};
use crate::archive::Archive;
use crate::backend::disk::Disk;
use crate::space::Room;
use crate::{Fault, OpenError, OpenReport, Options, Seq};
use std::path::{Path, PathBuf};
use tracing::warn;

pub(super) struct Store<'a> {
    pub(super) dir: &'a Path,
    pub(super) archive: &'a Archive,
    pub(super) options: &'a Options,
    /// The journal has been opened successfully before: an empty database then means a loss.
    pub(super) existed: bool,
    /// The number in the mark: events up to here were acknowledged, and must be there; `None` if the mark is
    /// unreadable.
    pub(super) acknowledged: Option<Seq>,
}

impl Store<'_> {
    pub(super) fn open(&self, room: Room, report: &mut OpenReport) -> Result<(Disk, Loaded), OpenError> {
        if let Some(aside) = salvage::interrupted(self.dir)? {
            return self.salvage(aside, report);
        }
        let mut copy = OpeningCopy::copy(self.dir, room)?;
        let refusal = match self.attempt(&mut copy, report) {
            Err(Refusal::Damaged(refusal)) => refusal,
            result => return result.map_err(|refusal| refusal.into_error(self.dir)),
        };
        warn!(path = %self.dir.display(), reason = %refusal, "the journal's database is damaged");
        let aside = copy.keep()?;
        report.set_aside = Some(aside.clone());
        if aside::drop_snapshots(self.dir, &aside)? {
            match self.attempt(&mut copy, report) {
                Err(Refusal::Damaged(refusal)) => {
                    warn!(path = %self.dir.display(), reason = %refusal, "the journal's database does not open without its snapshot either");
                }
                result => {
                    report.snapshot_dropped = result.is_ok();
                    return result.map_err(|refusal| refusal.into_error(self.dir));
                }
            }
        }
        self.salvage(aside, report)
    }

    fn salvage(&self, aside: PathBuf, report: &mut OpenReport) -> Result<(Disk, Loaded), OpenError> {
        salvage::begin(self.dir, &aside)?;
        aside::clear(self.dir)?;
        let found = salvage::collect(&aside, self.archive, self.acknowledged.unwrap_or(0))?;
        let backend = Disk::open(self.dir, None)?;
        salvage::rebuild(&backend, found, self.archive, self.options)?;
        drop(backend);
        salvage::end(self.dir)?;
        (report.lost, report.set_aside) = (true, Some(aside.clone()));
        let mut copy = OpeningCopy::from_kept(self.dir, aside);
        self.attempt(&mut copy, report).map_err(|refusal| refusal.into_error(self.dir))
    }

    fn attempt(&self, copy: &mut OpeningCopy, report: &mut OpenReport) -> Result<(Disk, Loaded), Refusal> {
        let backend = Disk::open(self.dir, self.options.before_sync.clone()).map_err(Refusal::of)?;
        let foreign = self.archive.drop_foreign(|seq| examine::hash_of(&backend, seq));
        report.unreadable_archives.extend(foreign);
        let mut found = match examine::examine(&backend, self.archive.end(), self.existed) {
            Ok(found) => found,
            Err(Unusable::Damaged(problem)) => return Err(Refusal::Damaged(problem)),
            Err(Unusable::Fault(fault)) => return Err(Refusal::of(fault)),
        };
        if let Some(meta) = found.meta.filter(|meta| meta.format != self.options.format) {
            // Reached only if the format file was lost: only the database itself has written so far.
            return Err(Refusal::Format { found: meta.format, known: self.options.format });
        }
        let end = found.last.max(found.cut.map_or(0, |(_, last)| last));
        if let Some(acknowledged) = self.acknowledged.filter(|acknowledged| end < *acknowledged) {
            let problem = format!("it ends at event {end}, but event {acknowledged} was acknowledged");
            return Err(Refusal::Damaged(problem));
        }
        found.keep_numbers(self.acknowledged.or(Some(Seq::MAX).filter(|_| self.existed)));
        if found.is_damaged() {
            report.set_aside = Some(copy.keep().map_err(Refusal::Error)?);
        }
        let loaded = repair::repair(&backend, found, self.archive, self.options.format, report).map_err(Refusal::of)?;
        Ok((backend, loaded))
    }
}

enum Refusal {
    Damaged(String),
    Format { found: u16, known: u16 },
    Error(OpenError),
}

impl Refusal {
    /// An error of the machine (full disk, no descriptors, no permission) does not mean damage.
    fn of(fault: Fault) -> Self {
        match &fault {
            Fault::Database { source, .. } if source.raw_os_error().is_none() => {
                Self::Damaged(format!("{fault}: {source}"))
            }
            _ => Self::Error(fault.into()),
        }
    }

    fn into_error(self, dir: &Path) -> OpenError {
        match self {
            Self::Damaged(problem) => OpenError::Damaged { path: dir.into(), problem },
            Self::Format { found, known } if found < known => OpenError::OlderFormat { path: dir.into(), found, known },
            Self::Format { found, known } => {
                let problem = format!("it has format {found}, newer than {known}, and its format file is lost");
                OpenError::Damaged { path: dir.into(), problem }
            }
            Self::Error(error) => error,
        }
    }
}
