//! Events: the journal's records for clients. They survive restarts of the daemon and removals of containers.

mod convert;

pub(super) use convert::health_word;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use cri_api::isula::v1::{Event as WireEvent, EventsRequest};
use store::{Gap, Record, SubscriptionItem};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::container::nanoseconds;
use super::{ApiError, Native, limits};
use crate::domain::id::Timestamp;
use crate::engine::Engine;
use convert::{KnownLabels, convert};

type Sender = mpsc::Sender<Result<WireEvent, Status>>;

/// Events in flight to a client; each may have all labels of a container.
const IN_FLIGHT: usize = 32;

const CONTAINER: &str = "container";
const IMAGE: &str = "image";
const VOLUME: &str = "volume";
/// The kind of gaps in the journal: numbers without an event.
const JOURNAL: &str = "journal";
const KINDS: [&str; 4] = [CONTAINER, IMAGE, JOURNAL, VOLUME];

impl Native {
    pub(super) fn stream_events(
        &self,
        request: EventsRequest,
    ) -> Result<ReceiverStream<Result<WireEvent, Status>>, ApiError> {
        let wanted = Wanted::parse(&request)?;
        let journal = &self.engine.journal;
        // Without a first number: all events, or only new ones.
        let from = match (request.since_seq, request.since_time, request.follow) {
            (0, 0, true) => journal.last() + 1,
            (0, _, _) => journal.oldest(),
            (seq, _, _) => seq,
        };
        let last = if request.follow { u64::MAX } else { journal.last() };
        let until = if request.until_seq == 0 { last } else { request.until_seq.min(last) };
        let (sender, receiver) = mpsc::channel(IN_FLIGHT);
        let range = Range { from: from.max(1), until, since_time: request.since_time, until_time: request.until_time };
        tokio::spawn(send_events(self.engine.clone(), range, wanted, sender));
        Ok(ReceiverStream::new(receiver))
    }
}

#[derive(Debug, Clone, Copy)]
struct Range {
    from: u64,
    until: u64,
    since_time: i64,
    /// 0 is for ever.
    until_time: i64,
}

impl Range {
    fn holds(&self, time: i64) -> bool {
        time >= self.since_time && (self.until_time == 0 || time <= self.until_time)
    }
}

async fn send_events(engine: Arc<Engine>, range: Range, wanted: Wanted, sender: Sender) {
    let sending = pass_on(&engine, range, &wanted, &sender);
    let outcome = if range.until_time == 0 {
        tokio::select! {
            outcome = sending => outcome,
            () = sender.closed() => return,
        }
    } else {
        let now = nanoseconds(crate::clock::now());
        let left = std::time::Duration::from_nanos(u64::try_from(range.until_time - now).unwrap_or(0));
        // History first, even when the end time has passed; then new events until the end time.
        let history = Range { until: range.until.min(engine.journal.last()), ..range };
        if let Err(status) = pass_on(&engine, history, &wanted, &sender).await {
            Err(status)
        } else if history.until < range.until {
            let future = Range { from: (history.until + 1).max(range.from), ..range };
            tokio::select! {
                outcome = pass_on(&engine, future, &wanted, &sender) => outcome,
                () = tokio::time::sleep(left) => Ok(()),
                () = sender.closed() => return,
            }
        } else {
            Ok(())
        }
    };
    if let Err(status) = outcome {
        let _ = sender.send(Err(status)).await;
    }
}

async fn pass_on(engine: &Arc<Engine>, range: Range, wanted: &Wanted, sender: &Sender) -> Result<(), Status> {
    if range.from > range.until {
        return Ok(());
    }
    let mut subscription = engine.journal.subscribe(range.from);
    // Gaps without a known time yet: it is that of the event behind them.
    let mut gaps: Vec<Gap> = Vec::new();
    // By position, not by events: the last numbers may have no event.
    while subscription.position() <= range.until
        && let Some(next) = subscription.next().await
    {
        match next.map_err(|error| ApiError::failed(crate::cause::chain(&error)))? {
            SubscriptionItem::Records(records) => {
                for portion in records.chunks(IN_FLIGHT) {
                    for (time, event) in convert_all(engine, range, portion.to_vec()).await? {
                        if range.holds(time) {
                            send_gaps(engine, &mut gaps, time, sender).await?;
                        }
                        gaps.clear();
                        if let Some(event) = event.filter(|event| wanted.matches(event)) {
                            sender.send(Ok(event)).await.map_err(|_| left())?;
                        }
                    }
                }
            }
            SubscriptionItem::Gap(gap) => gaps.push(Gap { last: gap.last.min(range.until), ..gap }),
        }
        // There is no event behind the gap yet that would give its time.
        if subscription.position() > engine.journal.last().min(range.until) {
            let now = nanoseconds(crate::clock::now());
            send_gaps(engine, &mut gaps, now, sender).await?;
        }
    }
    Ok(())
}

/// The times of the records in range, with the events that are within the time limits. On a thread that may block,
/// since labels may have to be read.
async fn convert_all(
    engine: &Arc<Engine>,
    range: Range,
    records: Vec<Record>,
) -> Result<Vec<(i64, Option<WireEvent>)>, Status> {
    let engine = engine.clone();
    let converting = tokio::task::spawn_blocking(move || {
        let mut known = KnownLabels::new();
        let in_range = records.iter().take_while(|record| record.seq <= range.until);
        let events = in_range.map(|record| {
            let time = nanoseconds(Timestamp(record.at));
            (time, range.holds(time).then(|| convert(&engine, record, &mut known)).flatten())
        });
        events.collect()
    });
    converting.await.map_err(|panic| ApiError::failed(panic.to_string()).into())
}

/// Sends gaps to all clients, despite their filters, since the lost events may have matched.
async fn send_gaps(engine: &Engine, gaps: &mut Vec<Gap>, time: i64, sender: &Sender) -> Result<(), Status> {
    for gap in gaps.drain(..) {
        let (first, last, cause) = (gap.first, gap.last, gap.cause.word());
        engine.node.warn(format!("events {first} to {last} are not in the journal any more ({cause})"));
        let attributes = [("first", first.to_string()), ("last", last.to_string()), ("cause", cause.to_owned())];
        let event = WireEvent {
            seq: first,
            time,
            kind: JOURNAL.to_owned(),
            verb: "gap".to_owned(),
            id: format!("{first}-{last}"),
            attributes: attributes.map(|(key, value)| (key.to_owned(), value)).into(),
            name: "Gap".to_owned(),
            ..WireEvent::default()
        };
        sender.send(Ok(event)).await.map_err(|_| left())?;
    }
    Ok(())
}

/// The end of a stream after its client has left.
fn left() -> Status {
    Status::cancelled("the client has left")
}

/// A client's filters: values of one key are alternatives, keys must all match.
#[derive(Debug, Default)]
struct Wanted {
    containers: Vec<String>,
    verbs: Vec<String>,
    images: Vec<String>,
    labels: Vec<String>,
    types: Vec<String>,
    volumes: Vec<String>,
}

impl Wanted {
    fn parse(request: &EventsRequest) -> Result<Self, ApiError> {
        limits::filters(&request.filters)?;
        let mut wanted = Self::default();
        for filter in &request.filters {
            let list = match filter.key.as_str() {
                "container" => &mut wanted.containers,
                "event" => &mut wanted.verbs,
                "image" => &mut wanted.images,
                "label" => &mut wanted.labels,
                "type" => &mut wanted.types,
                "volume" => &mut wanted.volumes,
                other => return Err(ApiError::invalid(format!("Invalid filter '{other}'"))),
            };
            list.push(filter.value.clone());
        }
        if let Some(other) = wanted.types.iter().find(|kind| !KINDS.contains(&kind.as_str())) {
            return Err(ApiError::invalid(format!(
                "Invalid filter 'type={other}': container, image, journal or volume"
            )));
        }
        Ok(wanted)
    }

    fn matches(&self, event: &WireEvent) -> bool {
        let any = |list: &[String], test: &dyn Fn(&String) -> bool| list.is_empty() || list.iter().any(test);
        let attribute = |key: &str| event.attributes.get(key).map(String::as_str);
        // A filter by container excludes images and volumes; and so on.
        any(&self.types, &|wanted| event.kind == *wanted)
            && any(&self.containers, &|wanted| {
                event.kind == CONTAINER
                    && (attribute("name") == Some(wanted)
                        || (!wanted.is_empty() && event.id.starts_with(wanted.as_str())))
            })
            && any(&self.volumes, &|wanted| event.kind == VOLUME && event.id == *wanted)
            && any(&self.verbs, &|wanted| event.verb == *wanted || event.name == *wanted)
            && any(&self.images, &|wanted| {
                let id = event.id.trim_start_matches("sha256:");
                attribute("image") == Some(wanted)
                    || (event.kind == IMAGE
                        && wanted.len() >= 4
                        && (event.id == *wanted || id.starts_with(wanted.as_str())))
            })
            && any(&self.labels, &|wanted| match wanted.split_once('=') {
                Some((key, value)) => attribute(key) == Some(value),
                None => attribute(wanted).is_some(),
            })
    }
}
