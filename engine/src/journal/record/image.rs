//! Images as records: events and the savepoint row.

use migrations::codec;
use migrations::kinds::{IMAGE_ROW_SCHEMA, ImageEvent};
use migrations::v2::*;
use migrations::{Upcasts, What};
use store::{NewEvent, Record, Row, SavedRow};

use super::{Context, DecodeError, IMAGE, image_of, load_context, refused, store_context};
use crate::domain::id::{Digest, Timestamp};
use crate::domain::image::{Event, Facts, Image, NameHeld, Source};
use crate::domain::text::cut;

/// The event as it goes into its image's stream. Small enough for the journal, if `decide` made it.
pub fn encode(context: &Context, event: &Event) -> NewEvent {
    let event = store(event);
    let kind = event.kind();
    NewEvent { kind: kind.number, schema: kind.schema, payload: event.encode(&store_context(context)) }
}

/// The event that a record holds, in whatever shape it was written.
pub fn decode(record: &Record) -> Result<(Context, Event), DecodeError> {
    let what = What::Event(record.kind);
    let unknown = || DecodeError::UnknownKind { what, stream: record.stream.clone() };
    let id = image_of(&record.stream).ok_or_else(unknown)?;
    let (_, bytes) = Upcasts::of_today()
        .to_today(what, record.schema, record.payload.to_vec())
        .map_err(|error| refused(what, &record.stream, error))?;
    let (context, event) = ImageEvent::decode(record.kind, &bytes)
        .ok_or_else(unknown)?
        .map_err(|error| DecodeError::Damaged { what, stream: record.stream.clone(), problem: error.into() })?;
    Ok((load_context(context), load(id, event)))
}

/// The row that saves this state. Small enough for the journal, if the state came about by `decide`.
pub fn encode_row(image: &Image) -> Row {
    let names = image.names.iter().map(|held| ImageNameV1 { name: held.name.clone(), since: held.since }).collect();
    let row = ImageRowV1 { facts: store_facts(&image.facts), names };
    Row::Put { schema: IMAGE_ROW_SCHEMA, bytes: codec::encode(&row) }
}

/// The state that a row saves, in whatever shape it was written.
pub fn decode_row(row: &SavedRow) -> Result<Image, DecodeError> {
    let what = What::Row(IMAGE);
    let damaged = |problem| DecodeError::Damaged { what, stream: row.stream.clone(), problem };
    let id = image_of(&row.stream).ok_or_else(|| damaged(super::Problem::StreamId))?;
    let (_, bytes) = Upcasts::of_today()
        .to_today(what, row.schema, row.bytes.clone())
        .map_err(|error| refused(what, &row.stream, error))?;
    let stored: ImageRowV1 = codec::decode(&bytes).map_err(|error| damaged(error.into()))?;
    let names = stored.names.into_iter().map(|held| NameHeld { name: held.name, since: held.since }).collect();
    Ok(Image { id, version: row.version, facts: load_facts(stored.facts), names })
}

fn store(event: &Event) -> ImageEvent {
    match event {
        // The id is the stream's.
        Event::Added { id: _, source, facts, names, since } => {
            let added = ImageAddedV1 { facts: store_facts(facts), names: names.clone(), since: *since };
            match source {
                Source::Pulled => ImageEvent::Pulled(added),
                Source::Loaded => ImageEvent::Loaded(added),
                Source::Imported => ImageEvent::Imported(added),
            }
        }
        Event::Tagged { name, since } => ImageEvent::Tagged(ImageTaggedV1 { name: name.clone(), since: *since }),
        Event::Untagged { name } => ImageEvent::Untagged(ImageUntaggedV1 { name: name.clone() }),
        Event::Removed => ImageEvent::Removed(ImageRemovedV1 {}),
    }
}

fn load(id: Digest, stored: ImageEvent) -> Event {
    let added = |source, ImageAddedV1 { facts, names, since }| Event::Added {
        id,
        source,
        facts: load_facts(facts),
        names,
        since,
    };
    match stored {
        ImageEvent::Pulled(event) => added(Source::Pulled, event),
        ImageEvent::Loaded(event) => added(Source::Loaded, event),
        ImageEvent::Imported(event) => added(Source::Imported, event),
        ImageEvent::Tagged(ImageTaggedV1 { name, since }) => Event::Tagged { name, since },
        ImageEvent::Untagged(ImageUntaggedV1 { name }) => Event::Untagged { name },
        ImageEvent::Removed(ImageRemovedV1 {}) => Event::Removed,
    }
}

fn store_facts(facts: &Facts) -> ImageFactsV1 {
    ImageFactsV1 {
        manifest: facts.manifest.0,
        size: facts.size,
        layers: facts.layers,
        created: facts.created.map(|at| at.0),
        added_at: facts.added_at.0,
        used_at: facts.used_at.0,
        pinned: facts.pinned,
        os: cut(&facts.os, Facts::WORD_LIMIT).to_owned(),
        architecture: cut(&facts.architecture, Facts::WORD_LIMIT).to_owned(),
    }
}

fn load_facts(stored: ImageFactsV1) -> Facts {
    Facts {
        manifest: Digest(stored.manifest),
        size: stored.size,
        layers: stored.layers,
        created: stored.created.map(Timestamp),
        added_at: Timestamp(stored.added_at),
        used_at: Timestamp(stored.used_at),
        pinned: stored.pinned,
        os: stored.os,
        architecture: stored.architecture,
    }
}
