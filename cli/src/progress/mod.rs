//! How far layers have come, on standard error: bars on a terminal, a line per change that matters elsewhere.

mod bars;
mod lines;

use std::io::{self, IsTerminal};

use cri_api::isula::v1::{LayerProgress, LayerSize};

use self::bars::Bars;
use self::lines::Lines;
use crate::output;

const SHORT_DIGEST: usize = 12;

/// The words for a layer's states.
pub(crate) struct Wording {
    busy: &'static str,
    done: &'static str,
}

pub(crate) static PULL: Wording = Wording { busy: "Pulling", done: "Pull complete" };
pub(crate) static LOAD: Wording = Wording { busy: "Loading", done: "Load complete" };

/// Dropped before [`Progress::finish`], it erases its lines.
pub(crate) enum Progress {
    Quiet,
    Lines(Lines),
    Bars(Bars),
}

/// Bytes of an archive that were sent.
#[derive(Clone)]
pub(crate) struct Sent(Option<indicatif::ProgressBar>);

impl Progress {
    pub(crate) fn new(quiet: bool, wording: &'static Wording) -> Self {
        match () {
            () if quiet => Self::Quiet,
            () if io::stderr().is_terminal() => Self::Bars(Bars::new(wording)),
            () => Self::Lines(Lines::new(wording)),
        }
    }

    /// The layers that there will be, in order.
    pub(crate) fn expect(&mut self, layers: &[LayerSize]) {
        match self {
            Self::Quiet | Self::Lines(_) => {}
            Self::Bars(bars) => layers.iter().for_each(|layer| bars.expect(&layer.digest, layer.size)),
        }
    }

    /// A layer moved on.
    pub(crate) fn layer(&mut self, layer: &LayerProgress) {
        match self {
            Self::Quiet => {}
            Self::Lines(lines) => {
                if let Some(line) = lines.layer(layer) {
                    output::complain(&line);
                }
            }
            Self::Bars(bars) => bars.layer(layer),
        }
    }

    /// An archive of this size is about to be sent.
    pub(crate) fn sending(&mut self, size: Option<u64>) -> Sent {
        match self {
            Self::Quiet | Self::Lines(_) => Sent(None),
            Self::Bars(bars) => Sent(Some(bars.sending(size))),
        }
    }

    /// Ends the display and leaves its last state on the terminal.
    pub(crate) fn finish(self) {
        match self {
            Self::Quiet | Self::Lines(_) => {}
            Self::Bars(bars) => bars.finish(),
        }
    }
}

impl Sent {
    pub(crate) fn add(&self, bytes: u64) {
        if let Some(bar) = &self.0 {
            bar.inc(bytes);
        }
    }

    pub(crate) fn done(&self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}

/// The first digits of a digest.
fn short(digest: &str) -> &str {
    let digits = digest.split_once(':').map_or(digest, |(_, digits)| digits);
    digits.get(..SHORT_DIGEST).unwrap_or(digits)
}

#[cfg(test)]
mod tests {
    use super::short;

    #[test]
    fn digests() {
        assert_eq!(short("sha256:0123456789abcdef"), "0123456789ab");
        assert_eq!((short("sha256:01"), short("0123456789abcdef"), short("")), ("01", "0123456789ab", ""));
        assert_eq!(short("sha256:éééééééé"), "éééééé");
    }
}
