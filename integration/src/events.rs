//! Waiting for events of the journal.

use std::time::Duration;

use cri_api::isula::v1::{Event, EventsRequest, LogsRequest};

use crate::deadline::PATIENCE;
use crate::node::Node;

impl Node {
    /// The whole journal as it is now.
    pub fn events(&self) -> Vec<Event> {
        let reading = async {
            let mut stream =
                self.system().events(EventsRequest::default()).await.expect("events are served").into_inner();
            let mut events = Vec::new();
            while let Some(event) = stream.message().await.expect("events are served whole") {
                events.push(event);
            }
            events
        };
        let read = self.block_on(async { tokio::time::timeout(PATIENCE, reading).await });
        read.unwrap_or_else(|_| panic!("the journal is not served to its end within {} s", PATIENCE.as_secs()))
    }

    /// The last sequence number of the journal.
    pub fn seq(&self) -> u64 {
        self.info().journal_seq
    }

    /// Waits for the first event after `seq` that is wanted.
    ///
    /// # Panics
    /// When it does not come in time, with the events that came instead.
    #[track_caller]
    pub fn event_after(&self, seq: u64, wanted: impl Fn(&Event) -> bool) -> Event {
        self.event_within(PATIENCE, seq, wanted).unwrap_or_else(|seen| panic!("no such event; there were {seen:#?}"))
    }

    /// The journal's own name of the next event of a container, such as `Exited`.
    #[track_caller]
    pub fn event_named(&self, seq: u64, id: &str, name: &str) -> Event {
        self.event_after(seq, |event| event.id == id && event.name == name)
    }

    /// Waits for the first event after `seq` that is wanted; `Err` is a short list of those that came instead.
    pub fn event_within(
        &self,
        patience: Duration,
        seq: u64,
        wanted: impl Fn(&Event) -> bool,
    ) -> Result<Event, Vec<String>> {
        let mut seen = Vec::new();
        let following = async {
            let request = EventsRequest { follow: true, since_seq: seq + 1, ..EventsRequest::default() };
            let mut stream = self.system().events(request).await.expect("events are served").into_inner();
            while let Some(event) = stream.message().await.expect("events are served") {
                if wanted(&event) {
                    return event;
                }
                seen.push(format!("{} {} {}", event.seq, event.name, event.id.get(..12).unwrap_or_default()));
            }
            panic!("the stream of events has ended");
        };
        let found = self.block_on(async { tokio::time::timeout(patience, following).await });
        found.map_err(|_| seen)
    }

    /// # Panics
    /// When the journal, from its first event to its last, has a gap or something that cannot be read.
    #[track_caller]
    pub fn assert_journal_whole(&self) {
        let last = self.seq();
        let events = self.events();
        let numbers: Vec<u64> = events.iter().map(|event| event.seq).take_while(|seq| *seq <= last).collect();
        let wanted: Vec<u64> = (1..=last).collect();
        assert_eq!(numbers, wanted, "the journal has a gap");
        assert!(events.iter().zip(events.iter().skip(1)).all(|(a, b)| a.id != b.id || a.time <= b.time));
    }

    /// The names of a container's events, in order.
    pub fn story(&self, id: &str) -> Vec<String> {
        self.events().into_iter().filter(|event| event.id == id).map(|event| event.name).collect()
    }

    /// Waits until the container has written this line.
    ///
    /// # Panics
    /// When it ends, or [`PATIENCE`] is over, without it.
    #[track_caller]
    pub fn written(&self, container: &str, line: &str) {
        let request = LogsRequest { container: container.to_owned(), follow: true, ..LogsRequest::default() };
        let reading = async {
            let mut entries = self.containers().logs(request).await.expect("logs are served").into_inner();
            let mut text = Vec::new();
            while let Some(batch) = entries.message().await.expect("logs are served") {
                batch.pieces.iter().for_each(|piece| text.extend_from_slice(&piece.text));
                let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
                let lines: Vec<u8> = text.drain(..whole).collect();
                if lines.split(|byte| *byte == b'\n').any(|found| found.trim_ascii_end() == line.as_bytes()) {
                    return true;
                }
            }
            // The last one may have no end.
            text.trim_ascii_end() == line.as_bytes()
        };
        let found = self.block_on(async { tokio::time::timeout(PATIENCE, reading).await });
        assert_eq!(found, Ok(true), "container {container} does not write `{line}`");
    }
}
