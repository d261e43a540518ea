//! Events: the journal, told. They survive restarts of the daemon and removals of containers.

use std::collections::HashMap;
use std::sync::Arc;

use cri_api::isula::v1::{Event as Told, EventsRequest};
use store::Record;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::container::nanoseconds;
use super::{ApiError, Native};
use crate::clock::rfc3339;
use crate::domain::container::{Event, ExitStatus};
use crate::domain::id::Timestamp;
use crate::engine::Engine;
use crate::journal::record::{self, Context};
use crate::signals;

type Sender = mpsc::Sender<Result<Told, Status>>;

const IN_FLIGHT: usize = 256;

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
                other => return Err(ApiError::invalid(format!("Invalid filter '{other}'"))),
            };
            list.push(filter.value.clone());
        }
        Ok(wanted)
    }

    fn matches(&self, told: &Told) -> bool {
        let any = |list: &[String], test: &dyn Fn(&String) -> bool| list.is_empty() || list.iter().any(test);
        let attribute = |key: &str| told.attributes.get(key).map(String::as_str);
        any(&self.containers, &|wanted| {
            attribute("name") == Some(wanted) || (!wanted.is_empty() && told.id.starts_with(wanted.as_str()))
        }) && any(&self.verbs, &|wanted| told.verb == *wanted || told.name == *wanted)
            && any(&self.images, &|wanted| attribute("image") == Some(wanted))
            && any(&self.labels, &|wanted| match wanted.split_once('=') {
                Some((key, value)) => attribute(key) == Some(value),
                None => attribute(wanted).is_some(),
            })
    }
}

/// `None` for what this daemon cannot read: of another kind, or of a newer one.
fn tell(engine: &Engine, record: &Record) -> Option<Told> {
    let id = record::container_of(&record.stream)?;
    let (context, event) = record::decode(record).ok()?;
    let mut attributes = labels(engine, &id);
    attributes.extend(facts(&event));
    let Context { actor, operation, name, image } = context;
    attributes.insert("name".to_owned(), name);
    attributes.insert("image".to_owned(), image);
    Some(Told {
        seq: record.seq,
        time: nanoseconds(Timestamp(record.at)),
        kind: "container".to_owned(),
        verb: verb(&event).to_owned(),
        id: id.to_string(),
        attributes,
        actor: actor.to_string(),
        operation: operation.to_string(),
        name: event.name().to_owned(),
    })
}

/// Labels are no part of events (they may be large): told while the container exists and its definition is at hand.
fn labels(engine: &Engine, id: &crate::domain::id::ContainerId) -> HashMap<String, String> {
    let definition = engine.containers.get(id).and_then(|entity| entity.definition());
    definition.map(|definition| definition.labels.clone().into_iter().collect()).unwrap_or_default()
}

/// The reference's verbs for outcomes; intents are told in the present participle.
fn verb(event: &Event) -> &'static str {
    match event {
        Event::CreateRequested { .. } => "creating",
        Event::Created => "create",
        Event::CreateFailed { .. } => "create_failed",
        Event::StartRequested { .. } => "starting",
        Event::Started { .. } => "start",
        Event::StartFailed { .. } => "start_failed",
        Event::PauseRequested => "freezing",
        Event::Paused => "pause",
        Event::PauseFailed { .. } => "pause_failed",
        Event::ResumeRequested => "thawing",
        Event::Resumed => "unpause",
        Event::ResumeFailed { .. } => "unpause_failed",
        Event::StopRequested { then_start: false, .. } => "stopping",
        Event::StopRequested { then_start: true, .. } => "restarting",
        Event::Killed { .. } => "kill",
        Event::Exited { .. } => "die",
        Event::OomKilled { .. } => "oom",
        Event::Renamed { .. } => "rename",
        Event::ShimLost { .. } => "shim_lost",
        Event::ShimAdopted { .. } => "shim_adopted",
        Event::RemoveRequested { .. } => "removing",
        Event::RemoveFailed { .. } => "remove_failed",
        Event::Removed => "remove",
    }
}

fn facts(event: &Event) -> Vec<(String, String)> {
    let fact = |key: &str, value: String| (key.to_owned(), value);
    match event {
        Event::Started { process, at, .. } => {
            vec![fact("pid", process.pid.to_string()), fact("startedAt", rfc3339(Some(*at)))]
        }
        // The true time: the record's own is when the daemon learnt of it.
        Event::Exited { status, at, .. } => {
            let mut facts = vec![fact("finishedAt", rfc3339(Some(*at)))];
            facts.extend(match status {
                ExitStatus::Code(code) => vec![fact("exitCode", code.to_string())],
                ExitStatus::Signal(signal) => {
                    vec![fact("exitCode", (128 + signal.0).to_string()), fact("signal", signals::name(signal.0))]
                }
                ExitStatus::Unknown(cause) => {
                    vec![
                        fact("exitCode", "unknown".to_owned()),
                        fact("cause", super::container::cause_text(*cause).to_owned()),
                    ]
                }
            });
            facts
        }
        Event::StartFailed { code, message, .. } => {
            vec![fact("exitCode", code.to_string()), fact("error", message.clone())]
        }
        Event::CreateFailed { message }
        | Event::PauseFailed { message }
        | Event::ResumeFailed { message }
        | Event::RemoveFailed { message } => vec![fact("error", message.clone())],
        Event::StopRequested { signal, .. } | Event::Killed { signal, .. } => {
            vec![fact("signal", signals::name(signal.0))]
        }
        Event::Renamed { from, .. } => vec![fact("oldName", from.to_string())],
        Event::ShimAdopted { shim, .. } => vec![fact("shimPid", shim.pid.to_string())],
        Event::RemoveRequested { force } => vec![fact("force", force.to_string())],
        Event::CreateRequested { .. }
        | Event::Created
        | Event::StartRequested { .. }
        | Event::PauseRequested
        | Event::Paused
        | Event::ResumeRequested
        | Event::Resumed
        | Event::OomKilled { .. }
        | Event::ShimLost { .. }
        | Event::Removed => vec![],
    }
}
