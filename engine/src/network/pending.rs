//! Detaching that has failed: kept on disk, tried again with growing pauses, and at every start of the daemon. Nobody waits
//! for it; the namespace stays pinned, since some plugins find by it what they have to give back. After a day it is given up:
//! the record is kept for whoever looks after the machine, and tells what may be left.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;

use super::attach::{Place, blocking, detach, remove_file};
use super::ports::Ports;
use super::record::Record;
use super::{NetworkError, Settings, netns};
use crate::cause::chain;

/// At once.
const PARALLEL: usize = 4;
/// What is not tried again.
const GIVEN_UP: &str = "given-up";

/// How long it is tried.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    pub first_pause: Duration,
    pub longest_pause: Duration,
    pub attempts: usize,
}

/// A day.
const PATIENCE: Patience =
    Patience { first_pause: Duration::from_secs(1), longest_pause: Duration::from_secs(600), attempts: 150 };

/// What is still to be given back.
#[derive(Debug)]
pub struct Pending {
    patience: Patience,
    dir: PathBuf,
    /// Those of what is pending are not free: packets to them still go its way.
    ports: Arc<Ports>,
    entries: Mutex<BTreeMap<String, Entry>>,
    /// Records that are not tried again, until somebody removes them.
    given_up: Mutex<BTreeSet<PathBuf>>,
    places: Semaphore,
}

#[derive(Debug, Clone)]
struct Entry {
    owner: String,
    netns: PathBuf,
    networks: Vec<String>,
    problem: String,
}

impl Pending {
    pub fn new(dir: PathBuf, ports: Arc<Ports>) -> Self {
        let places = Semaphore::new(PARALLEL);
        Self { patience: PATIENCE, dir, ports, entries: Mutex::default(), given_up: Mutex::default(), places }
    }

    #[cfg(test)]
    pub fn patient(self, patience: Patience) -> Self {
        Self { patience, ..self }
    }

    /// Takes a record over; afterwards its place is free. `name` is that of a file and not used again. A record that cannot
    /// be read is kept as given up.
    pub async fn put_off(
        self: &Arc<Self>,
        settings: &Settings,
        place: &Place,
        name: &str,
        problem: String,
    ) -> Result<(), NetworkError> {
        let (pending, from, to) = (self.clone(), place.clone(), self.place(name));
        let record = blocking(move |_| pending.take_over(&from, &to)).await?;
        if let Some(record) = record {
            self.clone().begin(settings.clone(), name.to_owned(), &record, problem);
        }
        Ok(())
    }

    /// Goes on with what an earlier daemon has left. Blocks on the disk. Answers what cannot be read. To be called in the
    /// runtime.
    pub fn resume(self: &Arc<Self>, settings: &Settings) -> Vec<NetworkError> {
        let mut troubles = Vec::new();
        for path in self.files(&mut troubles) {
            let Some(name) = path.file_stem().and_then(OsStr::to_str) else { continue };
            if path.extension() == Some(OsStr::new(GIVEN_UP)) {
                lock(&self.given_up).insert(path);
                continue;
            }
            if path.extension() != Some(OsStr::new("json")) {
                continue;
            }
            match Record::read(&path) {
                Ok(Some(record)) => {
                    let problem = "it was not finished before".to_owned();
                    self.clone().begin(settings.clone(), name.to_owned(), &record, problem);
                }
                Ok(None) => {}
                Err(error) => troubles.push(error),
            }
        }
        troubles
    }

    /// For `isula info`. Blocks on the disk: what was given up is told of until its file is removed.
    pub fn warnings(&self) -> Vec<String> {
        lock(&self.given_up).retain(|path| path.exists());
        let of = |(name, entry): (&String, &Entry)| {
            let path = self.place(name).record;
            let (owner, problem) = (&entry.owner, &entry.problem);
            format!("{owner}: its network is not given back, which is tried again by `{}`: {problem}", path.display())
        };
        let given_up = lock(&self.given_up).clone();
        let given_up = given_up.into_iter().map(|path| NetworkError::GivenUp { path }.to_string());
        lock(&self.entries).iter().map(of).chain(given_up).collect()
    }

    /// Namespaces that are still needed.
    pub fn needs(&self, netns: &Path) -> bool {
        lock(&self.entries).values().any(|entry| entry.netns == netns)
    }

    /// Whose attachments to a network are still to be given back.
    pub fn users(&self, network: &str) -> Vec<String> {
        let entries = lock(&self.entries);
        let users = entries.values().filter(|entry| entry.networks.iter().any(|name| name == network));
        users.map(|entry| format!("{}, which has not given it back yet", entry.owner)).collect()
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
        Record::read(&to.record).or_else(|error| {
            let path = self.give_up(&to.record)?;
            tracing::error!(path = %path.display(), error = chain(&error), "a network cannot be given back: see its record");
            Ok(None)
        })
    }

    fn begin(self: Arc<Self>, settings: Settings, name: String, record: &Record, problem: String) {
        let networks = record.networks.iter().map(|attachment| attachment.network.clone()).collect();
        let entry = Entry { owner: record.owner.clone(), netns: record.netns.clone(), networks, problem };
        self.ports.remember(&name, &record.ports);
        if lock(&self.entries).insert(name.clone(), entry).is_some() {
            return;
        }
        tokio::spawn(async move {
            // Whatever becomes of an attempt, there is another.
            while let Err(error) = tokio::spawn(self.clone().finish(settings.clone(), name.clone())).await {
                if !error.is_panic() {
                    return;
                }
                tracing::error!(name, %error, "an attempt to give a network back ended abnormally");
            }
        });
    }

    async fn finish(self: Arc<Self>, settings: Settings, name: String) {
        let place = self.place(&name);
        let mut pause = self.patience.first_pause;
        for _ in 0..self.patience.attempts {
            tokio::time::sleep(pause).await;
            let outcome = {
                let _place = self.places.acquire().await;
                detach(&settings, &place, None).await
            };
            let Err(error) = outcome else {
                if let Some(entry) = self.forget(&name) {
                    tracing::info!(owner = entry.owner, "its network is given back at last");
                }
                return;
            };
            tracing::warn!(record = %place.record.display(), error = chain(&error), "a network is still not given back");
            if let Some(entry) = lock(&self.entries).get_mut(&name) {
                entry.problem = chain(&error);
            }
            let path = place.record.clone();
            // Some of its plugins may have done their part.
            if let Ok(Some(record)) = blocking(move |_| Record::read(&path)).await {
                self.ports.remember(&name, &record.ports);
            }
            pause = (pause * 2).min(self.patience.longest_pause);
        }
        let Some(entry) = self.forget(&name) else { return };
        let (pending, pin) = (self.clone(), entry.netns.clone());
        let ended = blocking(move |_| {
            let path = pending.give_up(&place.record)?;
            remove_file(&place.busy)?;
            netns::remove(&pin)?;
            Ok(path)
        });
        match ended.await {
            Ok(path) => tracing::error!(
                owner = entry.owner,
                problem = entry.problem,
                "its network could not be given back, which is not tried again: remove `{}` when nothing of it is left",
                path.display()
            ),
            Err(error) => tracing::error!(owner = entry.owner, error = chain(&error), "its network cannot be given up"),
        }
    }

    /// Answers the record's new name.
    fn give_up(&self, record: &Path) -> Result<PathBuf, NetworkError> {
        let path = record.with_extension(GIVEN_UP);
        std::fs::rename(record, &path).map_err(NetworkError::io("rename", record))?;
        lock(&self.given_up).insert(path.clone());
        Ok(path)
    }

    fn forget(&self, name: &str) -> Option<Entry> {
        self.ports.give_back(name);
        lock(&self.entries).remove(name)
    }

    fn files(&self, troubles: &mut Vec<NetworkError>) -> Vec<PathBuf> {
        match std::fs::read_dir(&self.dir) {
            Ok(entries) => entries.flatten().map(|entry| entry.path()).collect(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => vec![],
            Err(error) => {
                troubles.push(NetworkError::io("read", &self.dir)(error));
                vec![]
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
