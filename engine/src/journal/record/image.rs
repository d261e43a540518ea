//! Images as records: events and the savepoint row.

use migrations::kinds::{IMAGE_ROW_SCHEMA, IMAGE_STREAM, ImageEvent};
use migrations::v1::*;

use super::{Codec, Problem};
use crate::domain::id::{Digest, Timestamp};
use crate::domain::image::{Event, Facts, Image, NameHeld, Source};
use crate::domain::text::cut;

impl Codec for Image {
    const STREAM: u8 = IMAGE_STREAM;
    const ROW_SCHEMA: u16 = IMAGE_ROW_SCHEMA;

    type StoredEvent = ImageEvent;
    type StoredRow = ImageRowV1;

    fn id_bytes(id: &Digest) -> &[u8] {
        &id.0
    }

    fn id_from(bytes: &[u8]) -> Option<Digest> {
        bytes.try_into().ok().map(Digest)
    }

    fn store_event(event: &Event) -> ImageEvent {
        store(event)
    }

    fn load_event(id: Digest, stored: ImageEvent) -> Result<Event, Problem> {
        Ok(load(id, stored))
    }

    fn store_row(&self) -> ImageRowV1 {
        let names = self.names.iter().map(|held| ImageNameV1 { name: held.name.clone(), since: held.since }).collect();
        ImageRowV1 { facts: store_facts(&self.facts), names }
    }

    fn load_row(id: Digest, version: u64, stored: ImageRowV1) -> Result<Self, Problem> {
        let names = stored.names.into_iter().map(|held| NameHeld { name: held.name, since: held.since }).collect();
        Ok(Self { id, version, facts: load_facts(stored.facts), names })
    }
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;
    use store::{NewEvent, Record, Row, SavedRow, VALUE_LIMIT};

    use super::*;
    use crate::domain::image::{Command, decide, evolve};
    use crate::journal::record::{Actor, Context, DecodeError, OperationId};

    const ID: Digest = Digest([7; 32]);

    fn record(event: NewEvent) -> Record {
        Record {
            seq: 17,
            stream: Image::stream(&ID),
            version: 3,
            at: 5,
            boot: [0; 16],
            kind: event.kind,
            schema: event.schema,
            ends_stream: false,
            payload: Arc::from(event.payload),
        }
    }

    prop_compose! {
        /// The largest possible.
        fn context()(exe in ".{0,600}", image in ".{0,600}") -> Context {
            let actor = Actor::Peer { uid: 1, pid: 2, exe };
            Context { actor, operation: OperationId([1; 8]), name: String::new(), image }
        }
    }

    prop_compose! {
        fn facts()(size in any::<u64>(), layers in any::<u16>(), created in any::<Option<u64>>(), word in ".{0,100}") -> Facts {
            let created = created.map(Timestamp);
            let (os, architecture) = (word.clone(), word);
            let (added_at, used_at) = (Timestamp(5), Timestamp(6));
            Facts { manifest: Digest([8; 32]), size, layers, created, added_at, used_at, pinned: true, os, architecture }
        }
    }

    fn command() -> impl Strategy<Value = Command> {
        let source = prop_oneof![Just(Source::Pulled), Just(Source::Loaded), Just(Source::Imported)];
        let names = || prop::collection::vec("[a-f]{1,3}|[a-z]{1,500}", 0..12);
        prop_oneof![
            (source, facts(), names(), any::<u64>()).prop_map(|(source, facts, names, since)| Command::Add {
                source,
                facts,
                names,
                since
            }),
            ("[a-f]{1,3}|[a-z]{1,500}", any::<u64>()).prop_map(|(name, since)| Command::Tag { name, since }),
            "[a-f]{1,3}".prop_map(|name| Command::Untag { name }),
        ]
    }

    proptest! {
        /// Every history that `decide` allows can be stored, and leads to the same state when it is read back.
        #[test]
        fn any_history_fits_into_the_journal_and_is_restored(
            context in context(), commands in prop::collection::vec(command(), 1..20),
        ) {
            let (mut live, mut replayed) = (None, None);
            for command in &commands {
                for event in decide(ID, live.as_ref(), command).unwrap_or_default() {
                    live = evolve(live, &event);
                    let stored = Image::encode(&context, &event);
                    prop_assert!(stored.payload.len() + 128 < VALUE_LIMIT, "{} bytes", stored.payload.len());
                    prop_assert_eq!(migrations::kinds::kind(stored.kind).unwrap().name, event.name());
                    let (_, event) = Image::decode(&record(stored)).unwrap();
                    replayed = evolve(replayed, &event);
                }
                let Some(image) = &live else { continue };
                let Row::Put { schema, bytes } = Image::encode_row(image) else { unreachable!("an image has a row") };
                prop_assert!(bytes.len() + 128 < VALUE_LIMIT, "{} bytes", bytes.len());
                let saved = SavedRow { stream: Image::stream(&ID), version: image.version, seq: 1, schema, bytes };
                let mut loaded = Image::decode_row(&saved).unwrap();
                prop_assert_eq!(Some(&loaded), replayed.as_ref());
                // Long words are cut, once.
                loaded.facts.os.clone_from(&image.facts.os);
                loaded.facts.architecture.clone_from(&image.facts.architecture);
                prop_assert_eq!(&loaded, image);
            }
        }
    }

    #[test]
    fn unreadable_records_report_the_cause() {
        let context = Context::new(Actor::Engine);
        let good = record(Image::encode(&context, &Event::Removed));
        assert_eq!(Image::decode(&good).unwrap().1, Event::Removed);
        let other = store::StreamId::new(Image::STREAM + 1, &ID.0).unwrap();
        assert!(matches!(
            Image::decode(&Record { stream: other.clone(), ..good.clone() }),
            Err(DecodeError::UnknownKind { .. })
        ));
        assert!(matches!(
            Image::decode(&Record { kind: 1, ..good.clone() }),
            Err(DecodeError::Damaged { .. } | DecodeError::UnknownKind { .. })
        ));
        assert!(matches!(Image::decode(&Record { schema: 9, ..good.clone() }), Err(DecodeError::NewerSchema { .. })));
        let torn = Record { payload: Arc::from(&good.payload[1..]), ..good };
        assert!(matches!(Image::decode(&torn), Err(DecodeError::Damaged { .. })));
        let row = SavedRow { stream: other, version: 1, seq: 1, schema: 1, bytes: vec![] };
        assert!(matches!(Image::decode_row(&row), Err(DecodeError::UnknownKind { .. })));
        let empty = SavedRow { stream: Image::stream(&ID), ..row };
        assert!(matches!(Image::decode_row(&empty), Err(DecodeError::Damaged { .. })));
    }
}
