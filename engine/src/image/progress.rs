//! The progress of an image: written by its workers, read by any number of watchers, none of which delays the work.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use tokio::sync::watch;

use crate::domain::id::Digest;

/// The stage of a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    Waiting,
    Pulling,
    Storing,
    Done,
    Exists,
    Retrying,
}

impl Stage {
    const ALL: [Self; 6] = [Self::Waiting, Self::Pulling, Self::Storing, Self::Done, Self::Exists, Self::Retrying];
}

/// The present state of one layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LayerState {
    /// As the manifest names it.
    pub digest: Digest,
    pub stage: Stage,
    /// Bytes that came, as they are transported.
    pub current: u64,
    pub total: u64,
}

/// Written by the workers. Counting bytes wakes no watcher; a change of stage does.
#[derive(Debug)]
pub(crate) struct Progress {
    layers: OnceLock<Layers>,
    changed: watch::Sender<()>,
}

#[derive(Debug)]
struct Layers {
    /// The digest that the name stands for.
    digest: Digest,
    cells: Vec<Arc<Cell>>,
}

/// One layer's counters.
#[derive(Debug)]
pub(crate) struct Cell {
    digest: Digest,
    total: u64,
    stage: AtomicU8,
    current: AtomicU64,
    changed: watch::Sender<()>,
}

impl Progress {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { layers: OnceLock::new(), changed: watch::Sender::new(()) })
    }

    /// Publishes the digest and the layers, once.
    pub(crate) fn resolved(&self, digest: Digest, layers: &[(Digest, u64)]) {
        let cell = |&(digest, total): &(Digest, u64)| {
            let (stage, current) = (AtomicU8::new(Stage::Waiting as u8), AtomicU64::new(0));
            Arc::new(Cell { digest, total, stage, current, changed: self.changed.clone() })
        };
        let _ = self.layers.set(Layers { digest, cells: layers.iter().map(cell).collect() });
        self.changed.send_replace(());
    }

    /// The counters of the layer at this place.
    pub(crate) fn cell(&self, index: usize) -> Option<Arc<Cell>> {
        self.layers.get().and_then(|layers| layers.cells.get(index).cloned())
    }

    /// The digest that the name stands for, and all layers; `None` before the name is resolved.
    pub(crate) fn state(&self) -> Option<(Digest, Vec<LayerState>)> {
        let layers = self.layers.get()?;
        Some((layers.digest, layers.cells.iter().map(|cell| cell.state()).collect()))
    }

    /// Wakes after changes of stage.
    pub(crate) fn subscribe(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }
}

impl Cell {
    pub(crate) fn set(&self, stage: Stage) {
        self.stage.store(stage as u8, Ordering::Relaxed);
        self.changed.send_replace(());
    }

    pub(crate) fn add(&self, bytes: u64) {
        self.current.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn stage(&self) -> Stage {
        Stage::ALL[usize::from(self.stage.load(Ordering::Relaxed))]
    }

    fn state(&self) -> LayerState {
        LayerState {
            digest: self.digest,
            stage: self.stage(),
            current: self.current.load(Ordering::Relaxed),
            total: self.total,
        }
    }
}

/// The states that one watcher has seen already.
#[derive(Debug, Default)]
pub(crate) struct Seen(HashMap<usize, LayerState>);

impl Seen {
    /// The layers that have moved on since the last time.
    pub(crate) fn news(&mut self, layers: &[LayerState]) -> Vec<LayerState> {
        let moved =
            |(index, state): (usize, &LayerState)| (self.0.insert(index, *state) != Some(*state)).then_some(*state);
        layers.iter().enumerate().filter_map(moved).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_watcher_gets_changed_layers_only() {
        let progress = Progress::new();
        assert!(progress.state().is_none());
        let mut changes = progress.subscribe();
        progress.resolved(Digest([9; 32]), &[(Digest([1; 32]), 10), (Digest([2; 32]), 20)]);
        changes.changed().await.unwrap();
        let mut seen = Seen::default();
        let news = |seen: &mut Seen| seen.news(&progress.state().unwrap().1);
        assert_eq!(news(&mut seen).len(), 2);
        assert_eq!(news(&mut seen), []);
        let cell = progress.cell(1).unwrap();
        cell.set(Stage::Pulling);
        cell.add(7);
        let expected = LayerState { digest: Digest([2; 32]), stage: Stage::Pulling, current: 7, total: 20 };
        assert_eq!(news(&mut seen), [expected]);
        assert!(progress.cell(2).is_none());
    }
}
