//! Detaching that has failed: kept on disk, tried again with growing pauses, and at every start of the daemon. Nobody waits
//! for it; the namespace stays pinned, since some plugins find by it what they have to give back.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;

use super::attach::{Place, blocking, detach, remove_file};
use super::record::Record;
use super::{NetworkError, Settings};
use crate::cause::chain;

const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(600);
/// At once.
const PARALLEL: usize = 4;

/// What is still to be given back.
#[derive(Debug)]
pub struct Pending {
    dir: PathBuf,
    entries: Mutex<BTreeMap<String, Entry>>,
    places: Semaphore,
}

#[derive(Debug, Clone)]
struct Entry {
    owner: String,
    netns: PathBuf,
    problem: String,
}

impl Pending {
    pub fn new(dir: PathBuf) -> Self {
        Self { dir, entries: Mutex::default(), places: Semaphore::new(PARALLEL) }
    }

    /// Takes a record over; afterwards its place is free. `name` is that of a file and not used again.
    pub async fn put_off(
        self: &Arc<Self>,
        settings: &Settings,
        place: &Place,
        name: &str,
        problem: String,
    ) -> Result<(), NetworkError> {
        let (pending, from, to) = (self.clone(), place.clone(), self.place(name));
        let record = blocking(move || pending.take_over(&from, &to)).await?;
        if let Some(record) = record {
            self.clone().begin(settings.clone(), name.to_owned(), &record, problem);
        }
        Ok(())
    }

    /// Goes on with what an earlier daemon has left. Blocks on the disk. Answers what cannot be read.
    pub fn resume(self: &Arc<Self>, settings: &Settings) -> Vec<NetworkError> {
        let mut troubles = Vec::new();
        for name in self.names(&mut troubles) {
            match Record::read(&self.place(&name).record) {
                Ok(Some(record)) => {
                    self.clone().begin(settings.clone(), name, &record, "it was not finished before".to_owned());
                }
                Ok(None) => {}
                Err(error) => troubles.push(error),
            }
        }
        troubles
    }

    /// For `isula info`.
    pub fn warnings(&self) -> Vec<String> {
        let of = |entry: &Entry| {
            format!("{}: its network is not given back, which is tried again: {}", entry.owner, entry.problem)
        };
        lock(&self.entries).values().map(of).collect()
    }

    /// Namespaces that are still needed.
    pub fn needs(&self, netns: &Path) -> bool {
        lock(&self.entries).values().any(|entry| entry.netns == netns)
    }

    fn place(&self, name: &str) -> Place {
        Place { record: self.dir.join(format!("{name}.json")), busy: self.dir.join(format!("{name}.call")) }
    }

    fn take_over(&self, from: &Place, to: &Place) -> Result<Option<Record>, NetworkError> {
        std::fs::create_dir_all(&self.dir).map_err(NetworkError::io("make", &self.dir))?;
        // Its lock must be found by whoever finds the record.
        match std::fs::hard_link(&from.busy, &to.busy) {
            Err(error) if !matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::AlreadyExists) => {
                return Err(NetworkError::io("link", &to.busy)(error));
            }
            _ => {}
        }
        match std::fs::rename(&from.record, &to.record) {
            // Taken over by an attempt that was interrupted.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            moved => moved.map_err(NetworkError::io("move", &from.record))?,
        }
        for dir in [Some(self.dir.as_path()), from.record.parent()].into_iter().flatten() {
            std::fs::File::open(dir).and_then(|dir| dir.sync_all()).map_err(NetworkError::io("sync", dir))?;
        }
        remove_file(&from.busy)?;
        Record::read(&to.record)
    }

    fn begin(self: Arc<Self>, settings: Settings, name: String, record: &Record, problem: String) {
        let entry = Entry { owner: record.owner.clone(), netns: record.netns.clone(), problem };
        if lock(&self.entries).insert(name.clone(), entry).is_none() {
            tokio::spawn(self.finish(settings, name));
        }
    }

    async fn finish(self: Arc<Self>, settings: Settings, name: String) {
        let place = self.place(&name);
        let mut pause = FIRST_PAUSE;
        loop {
            tokio::time::sleep(pause).await;
            let outcome = {
                let _place = self.places.acquire().await;
                detach(&settings, &place).await
            };
            match outcome {
                Ok(()) => {
                    if let Some(entry) = lock(&self.entries).remove(&name) {
                        tracing::info!(owner = entry.owner, "its network is given back at last");
                    }
                    return;
                }
                Err(error) => {
                    tracing::warn!(name, error = chain(&error), "a network is still not given back");
                    if let Some(entry) = lock(&self.entries).get_mut(&name) {
                        entry.problem = chain(&error);
                    }
                }
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    fn names(&self, troubles: &mut Vec<NetworkError>) -> Vec<String> {
        let entries = match std::fs::read_dir(&self.dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return vec![],
            Err(error) => {
                troubles.push(NetworkError::io("read", &self.dir)(error));
                return vec![];
            }
        };
        let paths = entries.flatten().map(|entry| entry.path());
        let records = paths.filter(|path| path.extension() == Some(OsStr::new("json")));
        records.filter_map(|path| path.file_stem().and_then(OsStr::to_str).map(str::to_owned)).collect()
    }
}

fn lock(entries: &Mutex<BTreeMap<String, Entry>>) -> MutexGuard<'_, BTreeMap<String, Entry>> {
    entries.lock().unwrap_or_else(PoisonError::into_inner)
}
