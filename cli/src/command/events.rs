//! `isula events`: the daemon's journal, which also has the events of things that are gone.

use clap::{ArgMatches, Command};
use cri_api::isula::v1::{Event, EventsRequest};
use serde_json::json;

use super::{Invocation, Verb};
use crate::failure::{Failure, GENERAL};
use crate::text::{moment, one_line};
use crate::{flag, output};

pub(super) const VERB: Verb = Verb {
    name: "events",
    about: "Show what happened, from the journal",
    usage: "events [OPTIONS]",
    refusal: GENERAL,
    hidden: false,
    flags,
    run: |invocation| Box::pin(run(invocation)),
};

const FILTERS: [&str; 6] = ["container", "event", "image", "label", "type", "volume"];

/// An end of the range of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bound {
    Time(i64),
    Sequence(u64),
}

fn flags(command: Command) -> Command {
    let bound = |long, help| flag::value(long, "BOUND", help).value_parser(bound);
    command
        .arg(flag::switch("follow", "Go on with what happens from now").short('f'))
        .arg(bound("since", "From here: a time, unix seconds, how long ago (10m), or seq:N").short('S'))
        .arg(bound("until", "Up to here, spelled likewise").short('U'))
        .arg(flag::value("name", "CONTAINER", "Only of this container").short('n'))
        .arg(flag::list(
            "filter",
            "KEY=VALUE",
            "container, event, image, label, type (container, image, journal, volume), volume",
        ))
        .arg(flag::value("format", "FORMAT", "json: one object a line").value_parser(["json"]))
}

/// A bare number is a time, as everywhere else; a place in the journal has the prefix `seq:`.
fn bound(text: &str) -> Result<Bound, &'static str> {
    match text.strip_prefix("seq:") {
        Some(number) => number.parse().map(Bound::Sequence).map_err(|_| "want seq: and a number"),
        None => moment::parse(text, moment::now()).map(Bound::Time),
    }
}

async fn run(Invocation { matches, daemon, .. }: Invocation) -> Result<u8, Failure> {
    let request = request(&matches)?;
    let json = flag::text(&matches, "format").is_some();
    let client = daemon.connect().await?;
    let mut events = client.system().events(request).await?.into_inner();
    let mut code = 0;
    while let Some(event) = events.message().await? {
        output::line(&if json { as_json(&event) } else { as_text(&event) })?;
        if event.kind == "journal" && event.verb == "gap" {
            output::complain(&format!("isula: events {} are lost; see `isula info`", event.id));
            code = GENERAL;
        }
    }
    Ok(code)
}

fn request(matches: &ArgMatches) -> Result<EventsRequest, Failure> {
    let mut request = EventsRequest { follow: flag::is_on(matches, "follow"), ..EventsRequest::default() };
    match matches.get_one::<Bound>("since") {
        Some(Bound::Time(time)) => request.since_time = *time,
        Some(Bound::Sequence(seq)) => request.since_seq = *seq,
        None => {}
    }
    match matches.get_one::<Bound>("until") {
        Some(Bound::Time(time)) => request.until_time = *time,
        Some(Bound::Sequence(seq)) => request.until_seq = *seq,
        None => {}
    }
    let named = flag::text(matches, "name").map(|name| format!("container={name}"));
    for given in named.iter().map(String::as_str).chain(flag::texts(matches, "filter")) {
        request.filters.push(flag::filter(given, &FILTERS)?);
    }
    Ok(request)
}

/// `<time> container die <id> (exitCode=7, name=web)`. An event is one line, for all contents of its labels.
fn as_text(event: &Event) -> String {
    let mut attributes: Vec<String> = event.attributes.iter().map(|(key, value)| format!("{key}={value}")).collect();
    attributes.sort();
    let Event { time, kind, verb, id, .. } = event;
    let text = format!("{} {kind} {verb} {id} ({})", moment::rfc3339(*time), attributes.join(", "));
    one_line(&text).into_owned()
}

fn as_json(event: &Event) -> String {
    let mut attributes: Vec<_> = event.attributes.iter().collect();
    attributes.sort();
    let attributes: serde_json::Map<_, _> =
        attributes.into_iter().map(|(key, value)| (key.clone(), value.as_str().into())).collect();
    json!({
        "seq": event.seq,
        "time": moment::rfc3339(event.time),
        "timeNano": event.time,
        "kind": event.kind,
        "verb": event.verb,
        "id": event.id,
        "attributes": attributes,
        "actor": event.actor,
        "operation": event.operation,
        "name": event.name,
    })
    .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event() -> Event {
        Event {
            seq: 9,
            time: 1_136_214_245_000_000_007,
            kind: "container".into(),
            verb: "die".into(),
            id: "abc".into(),
            attributes: [("name".into(), "web".into()), ("exitCode".into(), "7".into())].into(),
            actor: "shim".into(),
            operation: "op".into(),
            name: "Exited".into(),
        }
    }

    #[test]
    fn lines() {
        assert_eq!(as_text(&event()), "2006-01-02T15:04:05.000000007Z container die abc (exitCode=7, name=web)");
        assert_eq!(
            as_json(&event()),
            "{\"seq\":9,\"time\":\"2006-01-02T15:04:05.000000007Z\",\"timeNano\":1136214245000000007,\"kind\":\"container\",\
             \"verb\":\"die\",\"id\":\"abc\",\"attributes\":{\"exitCode\":\"7\",\"name\":\"web\"},\"actor\":\"shim\",\
             \"operation\":\"op\",\"name\":\"Exited\"}"
        );
    }

    #[test]
    fn bounds() {
        assert_eq!(bound("seq:42"), Ok(Bound::Sequence(42)));
        assert_eq!(bound("42"), Ok(Bound::Time(42_000_000_000)));
        for bad in ["seq:", "seq:-1", "seq:x", "x"] {
            assert!(bound(bad).is_err(), "{bad}");
        }
    }
}
