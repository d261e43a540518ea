//! Events: the journal, told. They survive restarts of the daemon and removals of containers.

mod tell;

pub(super) use tell::health_word;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use cri_api::isula::v1::{Event as Told, EventsRequest};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::container::nanoseconds;
use super::{ApiError, Native};
use crate::domain::id::Timestamp;
use crate::engine::Engine;
use tell::tell;

type Sender = mpsc::Sender<Result<Told, Status>>;

const IN_FLIGHT: usize = 256;

const CONTAINER: &str = "container";
const IMAGE: &str = "image";
const VOLUME: &str = "volume";
const KINDS: [&str; 3] = [CONTAINER, IMAGE, VOLUME];

impl Native {
    pub(super) fn stream_events(
        &self,
        request: EventsRequest,
    ) -> Result<ReceiverStream<Result<Told, Status>>, ApiError> {
        let wanted = Wanted::parse(&request)?;
        let journal = &self.engine.journal;
        // Without a beginning: all there is, or only what comes.
        let from = match (request.since_seq, request.since_time, request.follow) {
            (0, 0, true) => journal.last() + 1,
            (0, _, _) => journal.first(),
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
        // History first, whatever the time; then the future up to its end.
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
    while let Some(records) = subscription.next().await {
        let records = records.map_err(|error| ApiError::failed(crate::cause::chain(&error)))?;
        for record in &records {
            if record.seq > range.until {
                return Ok(());
            }
            let time = nanoseconds(Timestamp(record.at));
            let in_time = time >= range.since_time && (range.until_time == 0 || time <= range.until_time);
            if in_time
                && let Some(told) = tell(engine, record).filter(|told| wanted.matches(told))
                && sender.send(Ok(told)).await.is_err()
            {
                return Ok(());
            }
            if record.seq == range.until {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// What clients ask for; values of one key are alternatives, keys must all match.
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
            return Err(ApiError::invalid(format!("Invalid filter 'type={other}': container, image or volume")));
        }
        Ok(wanted)
    }

    fn matches(&self, told: &Told) -> bool {
        let any = |list: &[String], test: &dyn Fn(&String) -> bool| list.is_empty() || list.iter().any(test);
        let attribute = |key: &str| told.attributes.get(key).map(String::as_str);
        // Who names a container, wants nothing of images and volumes; and so on.
        any(&self.types, &|wanted| told.kind == *wanted)
            && any(&self.containers, &|wanted| {
                told.kind == CONTAINER
                    && (attribute("name") == Some(wanted)
                        || (!wanted.is_empty() && told.id.starts_with(wanted.as_str())))
            })
            && any(&self.volumes, &|wanted| told.kind == VOLUME && told.id == *wanted)
            && any(&self.verbs, &|wanted| told.verb == *wanted || told.name == *wanted)
            && any(&self.images, &|wanted| {
                let id = told.id.trim_start_matches("sha256:");
                attribute("image") == Some(wanted)
                    || (told.kind == IMAGE
                        && wanted.len() >= 4
                        && (told.id == *wanted || id.starts_with(wanted.as_str())))
            })
            && any(&self.labels, &|wanted| match wanted.split_once('=') {
                Some((key, value)) => attribute(key) == Some(value),
                None => attribute(wanted).is_some(),
            })
    }
}
