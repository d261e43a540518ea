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
use crate::domain::{image, volume};
use crate::engine::Engine;
use crate::journal::record::{self, Context};
use crate::signals;

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

/// `None` for what this daemon cannot read: of another kind, or of a newer one.
fn tell(engine: &Engine, record: &Record) -> Option<Told> {
    if let Some(id) = record::container_of(&record.stream) {
        let (context, event) = record::decode(record).ok()?;
        let mut attributes = labels(engine, &id);
        attributes.extend(facts(&event));
        attributes.insert("name".to_owned(), context.name.clone());
        attributes.insert("image".to_owned(), context.image.clone());
        let words = Words { kind: CONTAINER, verb: verb(&event), name: event.name() };
        Some(told(record, &context, words, id.to_string(), attributes))
    } else if let Some(id) = record::image_of(&record.stream) {
        let (context, event) = record::image::decode(record).ok()?;
        let words = Words { kind: IMAGE, verb: image_verb(&event), name: event.name() };
        let attributes = image_facts(&context, &event);
        Some(told(record, &context, words, id.to_string(), attributes))
    } else {
        let name = record::volume_of(&record.stream)?;
        let (context, event) = record::volume::decode(record).ok()?;
        let words = Words { kind: VOLUME, verb: volume_verb(&event), name: event.name() };
        let attributes = volume_facts(&context, &event);
        Some(told(record, &context, words, name.to_string(), attributes))
    }
}

struct Words {
    kind: &'static str,
    verb: &'static str,
    name: &'static str,
}

fn told(record: &Record, context: &Context, words: Words, id: String, attributes: HashMap<String, String>) -> Told {
    Told {
        seq: record.seq,
        time: nanoseconds(Timestamp(record.at)),
        kind: words.kind.to_owned(),
        verb: words.verb.to_owned(),
        id,
        attributes,
        actor: context.actor.to_string(),
        operation: context.operation.to_string(),
        name: words.name.to_owned(),
    }
}

fn image_verb(event: &image::Event) -> &'static str {
    match event {
        image::Event::Added { source: image::Source::Pulled, .. } => "pull",
        image::Event::Added { source: image::Source::Loaded, .. } => "load",
        image::Event::Added { source: image::Source::Imported, .. } => "import",
        image::Event::Tagged { .. } => "tag",
        image::Event::Untagged { .. } => "untag",
        image::Event::Removed => "remove",
    }
}

/// `name` and `image` are the same: a name of the image, with which the filter `image` finds it.
fn image_facts(context: &Context, event: &image::Event) -> HashMap<String, String> {
    let fact = |key: &str, value: String| (key.to_owned(), value);
    let mut facts = HashMap::from([fact("name", context.image.clone()), fact("image", context.image.clone())]);
    match event {
        image::Event::Added { facts: told, names, .. } => {
            facts.extend([fact("digest", told.manifest.to_string()), fact("size", told.size.to_string())]);
            if names.len() > 1 {
                facts.extend([fact("names", names.join(","))]);
            }
        }
        image::Event::Tagged { .. } | image::Event::Untagged { .. } | image::Event::Removed => {}
    }
    facts
}

fn volume_verb(event: &volume::Event) -> &'static str {
    match event {
        volume::Event::Created { .. } => "create",
        volume::Event::RemoveRequested => "removing",
        volume::Event::Removed => "remove",
    }
}

fn volume_facts(context: &Context, event: &volume::Event) -> HashMap<String, String> {
    let mut facts = match event {
        volume::Event::Created { labels, anonymous, .. } => {
            let mut facts: HashMap<String, String> = labels.clone().into_iter().collect();
            facts.insert("anonymous".to_owned(), anonymous.to_string());
            facts
        }
        volume::Event::RemoveRequested | volume::Event::Removed => HashMap::new(),
    };
    facts.extend([("driver".to_owned(), "local".to_owned()), ("name".to_owned(), context.name.clone())]);
    facts
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
        Event::RemoveRequested { force, volumes } => {
            vec![fact("force", force.to_string()), fact("volumes", volumes.to_string())]
        }
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
