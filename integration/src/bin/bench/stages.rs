//! Where the time of a start goes, by the times of its own events in the journal.

use std::collections::HashMap;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context;
use cri_api::isula::v1::EventsRequest;

use crate::daemon::Daemon;
use crate::figures::{Sample, row};

/// The events of a start, in order. Some are written together, and then share a time.
const EVENTS: [&str; 2] = ["StartRequested", "Started"];
const STAGES: [&str; 3] = [
    "  client, request, definition synced → StartRequested",
    "  append, mounts, spec, shim, runtime → Started",
    "  append, reply, client's end → returned",
];

/// When something began and ended, by the clock that the events carry.
pub(crate) struct Span {
    pub container: String,
    pub begun: u64,
    pub ended: u64,
}

/// Nanoseconds since 1970.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64)
}

#[derive(Default)]
pub(crate) struct Stages {
    spans: Vec<Span>,
    samples: [Sample; STAGES.len()],
}

impl Stages {
    pub(crate) fn push(&mut self, span: Span) {
        self.spans.push(span);
    }

    /// Reads the events of all that was pushed.
    pub(crate) async fn collect(&mut self, daemon: &Daemon<'_>) -> anyhow::Result<()> {
        let since = self.spans.iter().map(|span| span.begun).min().unwrap_or(0);
        let request = EventsRequest { since_time: since as i64, ..EventsRequest::default() };
        let mut events = daemon.system().events(request).await?.into_inner();
        let mut times: HashMap<(String, String), u64> = HashMap::new();
        while let Some(event) = events.message().await? {
            times.insert((event.id, event.name), event.time as u64);
        }
        for span in self.spans.drain(..) {
            let mut before = span.begun;
            let mut ends = Vec::with_capacity(STAGES.len());
            for name in EVENTS {
                let at = times.get(&(span.container.clone(), name.to_owned()));
                ends.push(*at.with_context(|| format!("there is no event {name} of {}", span.container))?);
            }
            ends.push(span.ended);
            for (sample, end) in self.samples.iter_mut().zip(ends) {
                sample.push(end.saturating_sub(before) as f64 / 1e6);
                before = end;
            }
        }
        Ok(())
    }

    pub(crate) fn show(&self) {
        for (label, sample) in STAGES.iter().zip(&self.samples) {
            row(label, "ms", sample, None);
        }
    }
}
