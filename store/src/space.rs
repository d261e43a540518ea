//! Space on the disk. The database must never meet a full disk, and urgent appends must work even on one: below a
//! floor only urgent appends are accepted, and a reserve file is held for them.

use crate::{Options, Urgency};
use nix::fcntl::posix_fallocate;
use nix::sys::statvfs::statvfs;
use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use tracing::{info, warn};

/// Free space below which even an urgent append is rejected: the database grows by half of it at a time.
const LAST_RESORT: u64 = 1 << 20;
/// Free space below which cleanup appends are rejected: it is left for events that have to be recorded.
const FOR_CLEANUP: u64 = 2 << 20;

/// The appends that are accepted at present.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Room {
    Plenty,
    UrgentOnly,
}

pub(crate) struct Space {
    dir: PathBuf,
    reserve: PathBuf,
    reserve_bytes: u64,
    floor: u64,
    held: bool,
    /// Set by a failed attempt to take the reserve: the next attempt follows only after space has been short again.
    gave_up: bool,
}

impl Space {
    pub(crate) fn new(dir: &Path, options: &Options) -> Self {
        let reserve = dir.join("reserve");
        let held = fs::metadata(&reserve).is_ok_and(|file| file.len() >= options.reserve_bytes);
        let (reserve_bytes, floor) = (options.reserve_bytes, options.floor_bytes);
        Self { dir: dir.into(), reserve, reserve_bytes, floor, held, gave_up: false }
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Releases the reserve on a short disk before the database is opened, since opening writes.
    pub(crate) fn before_open(&mut self) {
        if self.free().is_some_and(|free| free < self.floor) {
            self.release();
        }
    }

    /// The appends that are accepted at present. Takes the reserve (back) when there is plenty of space.
    pub(crate) fn check(&mut self) -> Room {
        match self.free() {
            Some(free) if free < self.floor => {
                self.gave_up = false;
                Room::UrgentOnly
            }
            Some(free) => {
                if !self.held && !self.gave_up && free >= self.floor + self.reserve_bytes {
                    self.take();
                }
                Room::Plenty
            }
            None => Room::Plenty,
        }
    }

    /// Makes room for an append that is not ordinary, from the reserve if necessary. The error is the free space, at
    /// most.
    pub(crate) fn make_room(&mut self, urgency: Urgency) -> Result<(), u64> {
        let needed = match urgency {
            // An ordinary append may not use reserved space.
            Urgency::Ordinary => return Err(self.free().unwrap_or(0)),
            Urgency::Cleanup => FOR_CLEANUP,
            Urgency::Urgent => LAST_RESORT,
        };
        let enough = |free: Option<u64>| free.is_none_or(|free| free >= needed);
        if enough(self.free()) {
            return Ok(());
        }
        self.release();
        let free = self.free();
        if enough(free) { Ok(()) } else { Err(free.unwrap_or(0)) }
    }

    fn free(&self) -> Option<u64> {
        let stat =
            statvfs(&self.dir).inspect_err(|error| warn!(%error, "cannot determine the journal's free space")).ok()?;
        #[allow(clippy::useless_conversion, reason = "these types differ between targets")]
        Some(u64::from(stat.blocks_available()).saturating_mul(u64::from(stat.fragment_size())))
    }

    fn take(&mut self) {
        match self.allocate() {
            Ok(()) => self.held = true,
            Err(error) => {
                self.gave_up = true;
                let _ = fs::remove_file(&self.reserve);
                warn!(%error, path = %self.reserve.display(), "cannot hold space in reserve for the journal");
            }
        }
    }

    fn allocate(&self) -> io::Result<()> {
        let mut options = OpenOptions::new();
        let file = options.write(true).create(true).truncate(true).mode(0o600).open(&self.reserve)?;
        let length = self.reserve_bytes.try_into().map_err(io::Error::other)?;
        Ok(posix_fallocate(&file, 0, length)?)
    }

    fn release(&mut self) {
        if !self.held {
            return;
        }
        self.held = false;
        match fs::remove_file(&self.reserve) {
            Ok(()) => info!(path = %self.reserve.display(), "disk full: released the journal's reserve"),
            Err(error) => warn!(%error, path = %self.reserve.display(), "cannot release the journal's reserve"),
        }
    }
}
