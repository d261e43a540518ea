//! Without a terminal: a log has lines, and not many of them.

use std::collections::HashMap;

use cri_api::isula::v1::LayerProgress;
use cri_api::isula::v1::layer_progress::State;

use super::{Wording, short};

pub(crate) struct Lines {
    wording: &'static Wording,
    /// The last state shown of each layer.
    shown: HashMap<String, State>,
}

impl Lines {
    pub(super) fn new(wording: &'static Wording) -> Self {
        Self { wording, shown: HashMap::new() }
    }

    /// The line to print for this state, if it is a new one.
    pub(super) fn layer(&mut self, layer: &LayerProgress) -> Option<String> {
        let state = layer.state();
        let shown = self.shown.get(&layer.digest).copied();
        let text = match state {
            State::Waiting | State::Storing => return None,
            // After a retry it goes on as it was.
            State::Pulling if shown.is_some() => {
                self.shown.insert(layer.digest.clone(), state);
                return None;
            }
            State::Pulling => self.wording.busy,
            State::Done => self.wording.done,
            State::Exists => "Already exists",
            State::Retrying => "Retrying",
        };
        if shown == Some(state) {
            return None;
        }
        self.shown.insert(layer.digest.clone(), state);
        Some(format!("{}: {text}", short(&layer.digest)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::PULL;
    use super::*;

    #[test]
    fn only_new_states_are_shown() {
        let mut lines = Lines::new(&PULL);
        let mut shown = Vec::new();
        let states = [
            State::Waiting,
            State::Pulling,
            State::Pulling,
            State::Retrying,
            State::Retrying,
            State::Pulling,
            State::Retrying,
            State::Pulling,
            State::Storing,
            State::Done,
            State::Done,
        ];
        for state in states {
            let layer = LayerProgress { digest: "sha256:aa".into(), state: state.into(), current: 1, total: 2 };
            shown.extend(lines.layer(&layer));
        }
        let other =
            LayerProgress { digest: "sha256:bb".into(), state: State::Exists.into(), ..LayerProgress::default() };
        shown.extend(lines.layer(&other));
        assert_eq!(shown, ["aa: Pulling", "aa: Retrying", "aa: Retrying", "aa: Pull complete", "bb: Already exists"]);
    }
}
