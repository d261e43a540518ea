//! On a terminal: a bar for each layer.

use std::collections::HashMap;

use cri_api::isula::v1::LayerProgress;
use cri_api::isula::v1::layer_progress::State;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::{Wording, short};

const MOVING: &str = "{prefix}: {msg:13} [{bar:24}] {bytes}/{total_bytes}";
const STILL: &str = "{prefix}: {msg}";
const GROWING: &str = "{prefix}: {bytes}";

pub(crate) struct Bars {
    wording: &'static Wording,
    all: MultiProgress,
    layers: HashMap<String, ProgressBar>,
    finished: bool,
}

impl Bars {
    pub(super) fn new(wording: &'static Wording) -> Self {
        let all = MultiProgress::with_draw_target(ProgressDrawTarget::stderr());
        Self { wording, all, layers: HashMap::new(), finished: false }
    }

    /// A bar below the others, unless it has one.
    pub(super) fn expect(&mut self, digest: &str, size: u64) {
        if self.layers.contains_key(digest) {
            return;
        }
        let bar = self.all.add(ProgressBar::new(size).with_style(style(STILL)).with_prefix(short(digest).to_owned()));
        bar.set_message("Waiting");
        self.layers.insert(digest.to_owned(), bar);
    }

    pub(super) fn layer(&mut self, layer: &LayerProgress) {
        self.expect(&layer.digest, layer.total);
        let bar = &self.layers[&layer.digest];
        if bar.is_finished() {
            return;
        }
        if layer.total > 0 {
            bar.set_length(layer.total);
        }
        bar.set_position(layer.current);
        let (shape, text) = match layer.state() {
            State::Waiting => (STILL, "Waiting"),
            State::Pulling => (MOVING, self.wording.busy),
            State::Storing => (STILL, "Storing"),
            State::Retrying => (MOVING, "Retrying"),
            State::Done => (STILL, self.wording.done),
            State::Exists => (STILL, "Already exists"),
        };
        if bar.message() != text {
            bar.set_style(style(shape));
            bar.set_message(text);
        }
        if matches!(layer.state(), State::Done | State::Exists) {
            bar.abandon();
        }
    }

    /// A bar for an archive of this size.
    pub(super) fn sending(&mut self, size: Option<u64>) -> ProgressBar {
        let bar = match size {
            Some(size) => ProgressBar::new(size).with_style(style(MOVING)),
            None => ProgressBar::no_length().with_style(style(GROWING)),
        };
        let bar = self.all.add(bar.with_prefix("archive"));
        bar.set_message("Sending");
        bar
    }

    /// Leaves the bars of the layers as they are.
    pub(super) fn finish(mut self) {
        self.layers.values().for_each(ProgressBar::abandon);
        self.finished = true;
    }
}

impl Drop for Bars {
    fn drop(&mut self) {
        if !self.finished {
            // A terminal that cannot be written to has nothing to take away.
            let _ = self.all.clear();
        }
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("the templates are fixed, and right").progress_chars("=> ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates() {
        for template in [MOVING, STILL, GROWING] {
            style(template);
        }
    }
}
