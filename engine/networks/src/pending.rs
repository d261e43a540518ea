//! Detaching that has failed: kept on disk, retried with back-off, and at every start of the daemon. No caller waits
//! for it; the namespace stays pinned, since some plugins look there for the addresses to give back. After a day it is
//! given up: the record is kept, and `isula info` warns the operator.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tokio::sync::{Notify, Semaphore};

use super::attach::{Place, blocking};
use super::detach::{detach_again, remove_file};
use super::ports::Ports;
use super::record::Record;
use super::{NetworkError, Settings, mark, netns};
use engine_host::cause::chain;
use engine_host::panics::contained;

/// Concurrent attempts.
const PARALLEL: usize = 4;
/// The extension of records that are not tried again.
const GIVEN_UP: &str = "given-up";

/// The number of attempts and the pauses between them.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    pub first_pause: Duration,
    pub longest_pause: Duration,
    pub attempts: usize,
}

/// A day.
const PATIENCE: Patience =
    Patience { first_pause: Duration::from_secs(1), longest_pause: Duration::from_secs(600), attempts: 150 };

/// The attachments that are still to be given back.
#[derive(Debug)]
pub struct Pending {
    patience: Patience,
    dir: PathBuf,
    /// Ports of pending attachments are not free: packets to them still go that way.
    ports: Arc<Ports>,
    entries: Mutex<BTreeMap<String, Entry>>,
    /// Records that are not tried again; they stay here until the operator removes their files.
    given_up: Mutex<BTreeSet<PathBuf>>,
    places: Semaphore,
}

#[derive(Debug, Clone)]
struct Entry {
    owner: String,
    netns: PathBuf,
    /// The networks, each with the configuration that was seen last.
    networks: BTreeMap<String, Value>,
    problem: String,
    /// Notified when there is another configuration.
    mended: Arc<Notify>,
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

    /// Retries at once each pending attachment to a network of `record` whose configuration has changed.
    pub fn retry_changed(&self, record: &Record) {
        for entry in lock(&self.entries).values_mut() {
            for attachment in &record.networks {
                let Some(list) = entry.networks.get_mut(&attachment.network) else { continue };
                if *list != attachment.list {
                    list.clone_from(&attachment.list);
                    entry.mended.notify_one();
                }
            }
        }
    }

    /// Where records are kept.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Takes the record of `id`'s attachment over; afterwards its place is free. One that cannot be read is kept as
    /// given up. With an error everything is where it was.
    pub async fn put_off(
        self: &Arc<Self>,
        settings: &Settings,
        place: &Place,
        id: &str,
        problem: String,
    ) -> Result<(), NetworkError> {
        let (pending, settings, from, id) = (self.clone(), settings.clone(), place.clone(), id.to_owned());
        blocking(move |_| pending.take_over(settings, &from, &id, problem)).await
    }

    /// Goes on with the records of earlier daemons. Blocks on the disk. Returns the errors of unreadable ones. To be
    /// called in the runtime.
    pub fn resume(self: &Arc<Self>, settings: &Settings) -> Vec<NetworkError> {
        let mut errors = Vec::new();
        let paths = self.files(&mut errors);
        errors.extend(paths.iter().filter(|path| is_left_over(path)).filter_map(|path| remove_file(path).err()));
        for path in paths {
            let Some(name) = path.file_stem().and_then(OsStr::to_str) else { continue };
            if path.extension() == Some(OsStr::new(GIVEN_UP)) {
                lock(&self.given_up).insert(path);
                continue;
            }
            if path.extension() != Some(OsStr::new("json")) {
                continue;
            }
            match self.place(name).read() {
                Ok(Some(record)) => {
                    let problem = "it was not finished before".to_owned();
                    self.clone().begin(settings.clone(), name.to_owned(), &record, problem);
                }
                Ok(None) => {}
                Err(error) => errors.push(error),
            }
        }
        errors
    }

    /// For `isula info`. Blocks on the disk: a record that was given up is shown until its file is removed.
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

    /// Namespaces that are still needed, however their directory is spelled.
    pub fn needs(&self, pin: &Path) -> bool {
        lock(&self.entries).values().any(|entry| netns::is_same_pin(&entry.netns, pin))
    }

    /// Whether a record of this attachment lies here, also one that is not tried again. A directory that cannot be
    /// listed may hold it. Blocks.
    pub fn has_file_of(&self, attachment: &str) -> bool {
        match std::fs::read_dir(&self.dir) {
            Ok(mut entries) => entries
                .any(|entry| entry.map_or(true, |entry| entry.file_name().to_string_lossy().starts_with(attachment))),
            Err(error) => error.kind() != io::ErrorKind::NotFound,
        }
    }

    /// The owners of attachments to a network that are still to be given back.
    pub fn users(&self, network: &str) -> Vec<String> {
        let entries = lock(&self.entries);
        let users = entries.values().filter(|entry| entry.networks.contains_key(network));
        users.map(|entry| format!("{}, which has not given it back yet", entry.owner)).collect()
    }

    fn place(&self, name: &str) -> Place {
        let (record, busy) = (self.dir.join(format!("{name}.json")), self.dir.join(format!("{name}.call")));
        Place { prefix: name.to_owned(), record, busy }
    }

    fn take_over(
        self: Arc<Self>,
        settings: Settings,
        from: &Place,
        id: &str,
        problem: String,
    ) -> Result<(), NetworkError> {
        std::fs::create_dir_all(&self.dir).map_err(NetworkError::io("make", &self.dir))?;
        let record = match from.read() {
            Ok(Some(record)) => record,
            Ok(None) => return remove_file(&from.busy),
            // The next attempt may read it.
            Err(error @ NetworkError::Io { .. }) => return Err(error),
            Err(error) => return self.keep_aside(from, id, &error),
        };
        // Noted here before the record leaves its place: a reader that looks there first and here then finds it.
        let name = record.container.clone();
        let is_new = self.note(&name, &record, problem);
        let to = self.place(&name);
        if let Err(error) = take(from, &to) {
            if is_new {
                lock(&self.entries).remove(&name);
                let _ = remove_file(&to.busy);
            }
            return Err(error);
        }
        self.ports.remember(&name, &record.ports);
        if is_new {
            self.clone().try_again(settings, name);
        }
        self.leave(from);
        Ok(())
    }

    /// A failure after the move is only logged: the record must stay here, since only these retries give the network
    /// back.
    fn leave(&self, from: &Place) {
        if let Err(error) = self.clear(from) {
            tracing::warn!(error = chain(&error), "a record of a network was moved, and something of it may be left");
        }
    }

    /// Frees the place for the next attachment, and syncs the moved record.
    fn clear(&self, from: &Place) -> Result<(), NetworkError> {
        let removed = remove_file(&from.busy);
        for dir in [Some(self.dir.as_path()), from.record.parent()].into_iter().flatten() {
            std::fs::File::open(dir).and_then(|dir| dir.sync_all()).map_err(NetworkError::io("sync", dir))?;
        }
        removed
    }

    /// Keeps an unreadable record for the operator: there is nothing to retry by.
    fn keep_aside(&self, from: &Place, id: &str, problem: &NetworkError) -> Result<(), NetworkError> {
        let path = self.dir.join(format!("{id}-unreadable-{}.{GIVEN_UP}", mark()?));
        self.give_up(&from.record, &path)?;
        tracing::error!(path = %path.display(), error = chain(problem), "a network cannot be given back: see its record");
        self.leave(from);
        Ok(())
    }

    fn begin(self: Arc<Self>, settings: Settings, name: String, record: &Record, problem: String) {
        self.ports.remember(&name, &record.ports);
        if self.note(&name, record, problem) {
            self.try_again(settings, name);
        }
    }

    /// Returns whether it was unknown.
    fn note(&self, name: &str, record: &Record, problem: String) -> bool {
        let networks = record.networks.iter().map(|attachment| (attachment.network.clone(), attachment.list.clone()));
        let (owner, netns, networks) = (record.owner.clone(), record.netns.clone(), networks.collect());
        let mut entries = lock(&self.entries);
        // Attempts that are under way wait for that of the entry that is there.
        let mended = entries.get(name).map(|entry| entry.mended.clone()).unwrap_or_default();
        entries.insert(name.to_owned(), Entry { owner, netns, networks, problem, mended }).is_none()
    }

    fn try_again(self: Arc<Self>, settings: Settings, name: String) {
        tokio::spawn(async move {
            // Whatever becomes of an attempt, there is another.
            while let Err(error) = tokio::spawn(contained(self.clone().finish(settings.clone(), name.clone()))).await {
                if !error.is_panic() {
                    return;
                }
                tracing::error!(name, %error, "an attempt to give a network back ended abnormally");
            }
        });
    }

    async fn finish(self: Arc<Self>, settings: Settings, name: String) {
        let place = self.place(&name);
        let mended = lock(&self.entries).get(&name).map(|entry| entry.mended.clone()).unwrap_or_default();
        let mut pause = self.patience.first_pause;
        for attempt in 1..=self.patience.attempts {
            let _ = tokio::time::timeout(pause, mended.notified()).await;
            let outcome = {
                let _place = self.places.acquire().await;
                detach_again(&settings, &place, attempt).await
            };
            let Err(error) = outcome else {
                if let Some(entry) = self.forget(&name) {
                    tracing::info!(owner = entry.owner, "its network is given back after retries");
                }
                return;
            };
            tracing::warn!(record = %place.record.display(), error = chain(&error), "a network is still not given back");
            let read_from = place.clone();
            // Some of the networks may be given back.
            let left = blocking(move |_| read_from.read()).await.ok().flatten();
            if let Some(entry) = lock(&self.entries).get_mut(&name) {
                entry.problem = chain(&error);
                if let Some(record) = &left {
                    let stands = |name: &String| record.networks.iter().any(|attachment| attachment.network == *name);
                    entry.networks.retain(|name, _| stands(name));
                }
            }
            if let Some(record) = left {
                self.ports.remember(&name, &record.ports);
            }
            pause = (pause * 2).min(self.patience.longest_pause);
        }
        let Some(entry) = self.forget(&name) else { return };
        let (pending, pin) = (self.clone(), entry.netns.clone());
        let ended = blocking(move |_| {
            let path = place.record.with_extension(GIVEN_UP);
            pending.give_up(&place.record, &path)?;
            remove_file(&place.busy)?;
            if settings.may_pin(&pin) {
                netns::remove(&pin)?;
            }
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

    fn give_up(&self, record: &Path, path: &Path) -> Result<(), NetworkError> {
        std::fs::rename(record, path).map_err(NetworkError::io("move", record))?;
        lock(&self.given_up).insert(path.to_owned());
        Ok(())
    }

    fn forget(&self, name: &str) -> Option<Entry> {
        self.ports.give_back(name);
        lock(&self.entries).remove(name)
    }

    fn files(&self, errors: &mut Vec<NetworkError>) -> Vec<PathBuf> {
        match std::fs::read_dir(&self.dir) {
            Ok(entries) => entries.flatten().map(|entry| entry.path()).collect(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => vec![],
            Err(error) => {
                errors.push(NetworkError::io("read", &self.dir)(error));
                vec![]
            }
        }
    }
}

fn take(from: &Place, to: &Place) -> Result<(), NetworkError> {
    // The lock must be in place before the record is found there.
    match std::fs::hard_link(&from.busy, &to.busy) {
        Err(error) if !matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::AlreadyExists) => {
            return Err(NetworkError::io("link", &to.busy)(error));
        }
        _ => {}
    }
    std::fs::rename(&from.record, &to.record).map_err(NetworkError::io("move", &from.record))
}

/// A file of a daemon that was killed: the call of a record that was not moved yet or is gone already, or a draft of a
/// record. There is no writer until all records are known.
fn is_left_over(path: &Path) -> bool {
    match path.extension().and_then(OsStr::to_str) {
        Some("call") => !path.with_extension("json").try_exists().unwrap_or(true),
        Some("tmp") => true,
        Some(_) | None => false,
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
