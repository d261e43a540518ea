use std::sync::Arc;

use migrations::codec;
use migrations::kinds::{kind, kinds};
use migrations::v1::{CardV1, ContainerRowV1, LastV1, PhaseV1, RemovedV1, RenamedV1};
use proptest::prelude::*;
use store::{NewEvent, Record, Row, SavedRow, StreamId, VALUE_LIMIT};

use super::*;
use crate::domain::container::testing::random::{Turn, ideas, live, started};
use crate::domain::container::testing::{BOOT, CODE, ID, PROCESS, SHIM, START, at, card, container, end, run};
use crate::domain::container::{
    Attachment, Container, End, Event, Phase, Removing, RestartPolicy, Restarting, Update, evolve,
};
use crate::domain::id::{Digest, Name, SessionId, Signal, StartId};
use crate::domain::image::Image;
use crate::domain::volume::Volume;

/// An upper bound of the envelopes that the journal adds to a payload or a row of a container.
const ENVELOPE: usize = 128;

fn context() -> Context {
    Context {
        actor: Actor::Peer { uid: 1000, pid: 42, exe: "/usr/bin/isula".to_owned() },
        operation: OperationId([0, 1, 2, 3, 4, 5, 6, 0xff]),
        name: "web".to_owned(),
        image: "nginx:1.27".to_owned(),
    }
}

fn record(event: NewEvent) -> Record {
    Record {
        seq: 17,
        stream: Container::stream(&ID),
        version: 3,
        at: 5,
        boot: BOOT.0,
        kind: event.kind,
        schema: event.schema,
        ends_stream: false,
        payload: Arc::from(event.payload),
    }
}

fn saved(container: &Container, row: Row) -> SavedRow {
    let Row::Put { schema, bytes } = row else { panic!("a living container has a row, not {row:?}") };
    SavedRow { stream: Container::stream(&container.id), version: container.version, seq: 17, schema, bytes }
}

fn actors() -> [Actor; 4] {
    [
        Actor::Peer { uid: 0, pid: 42, exe: "/usr/bin/isula".to_owned() },
        Actor::RestartPolicy,
        Actor::Recovery,
        Actor::Engine,
    ]
}

#[test]
fn actors_and_operations_have_readable_texts() {
    let words: Vec<_> = actors().iter().map(Actor::to_string).collect();
    assert_eq!(words, ["uid=0 pid=42 exe=/usr/bin/isula", "restart-policy", "recovery", "engine"]);
    assert_eq!(context().operation.to_string(), "00010203040506ff");
}

#[test]
fn every_actor_survives_encoding() {
    for actor in actors() {
        let context = Context { actor, ..context() };
        let (decoded, event) = Container::decode(&record(Container::encode(&context, &Event::Removed))).unwrap();
        assert_eq!((decoded, event), (context, Event::Removed));
    }
}

#[test]
fn a_stream_names_its_container() {
    assert_eq!(Container::id_of(&Container::stream(&ID)), Some(ID));
    assert_eq!(Container::id_of(&StreamId::new(Container::STREAM + 1, ID.as_bytes()).unwrap()), None);
    assert_eq!(Container::id_of(&StreamId::new(Container::STREAM, b"short").unwrap()), None);
}

#[test]
fn events_are_stored_under_their_own_names() {
    for turn in live(&started()) {
        for event in turn.decision.unwrap() {
            assert_eq!(kind(Container::encode(&context(), &event).kind).unwrap().name, event.name());
        }
    }
}

#[test]
fn an_unknown_kind_a_newer_schema_and_damage_are_distinguished() {
    let good = record(Container::encode(&context(), &Event::Removed));
    let unknown = Record { kind: 4711, ..good.clone() };
    assert!(matches!(Container::decode(&unknown), Err(DecodeError::UnknownKind { what: Shape::Event(4711), .. })));
    let foreign = Record { stream: StreamId::new(9, b"x").unwrap(), ..good.clone() };
    assert!(matches!(Container::decode(&foreign), Err(DecodeError::UnknownKind { .. })));
    let newer = Record { schema: 2, ..good.clone() };
    assert!(matches!(Container::decode(&newer), Err(DecodeError::NewerSchema { found: 2, known: 1, .. })));
    let ancient = Record { schema: 0, ..good.clone() };
    assert!(matches!(Container::decode(&ancient), Err(DecodeError::Damaged { problem: Problem::Upcast(_), .. })));
    let torn = Record { payload: Arc::from(&good.payload[1..]), ..good };
    let error = Container::decode(&torn).unwrap_err();
    assert!(matches!(error, DecodeError::Damaged { problem: Problem::Shape(_), .. }));
    assert!(error.to_string().starts_with("event Removed of stream `1/"), "{error}");
}

#[test]
fn an_invalid_name_is_damage() {
    let shape = migrations::kinds::ContainerEvent::Renamed(RenamedV1 { from: "web".to_owned(), to: "../x".to_owned() });
    let payload = shape.encode(&store_context(&context()));
    let error = Container::decode(&record(NewEvent { kind: shape.kind().number, schema: 1, payload })).unwrap_err();
    assert!(matches!(error, DecodeError::Damaged { problem: Problem::Name { text }, .. } if text == "../x"));
}

#[test]
fn unreadable_rows_report_the_cause() {
    let container = container(Phase::Created);
    let good = saved(&container, Container::encode_row(&container));
    let foreign = SavedRow { stream: StreamId::new(9, b"x").unwrap(), ..good.clone() };
    assert!(matches!(Container::decode_row(&foreign), Err(DecodeError::UnknownKind { what: Shape::Row(9), .. })));
    let newer = SavedRow { schema: 9, ..good.clone() };
    assert!(matches!(Container::decode_row(&newer), Err(DecodeError::NewerSchema { found: 9, known: 1, .. })));
    let torn = SavedRow { bytes: good.bytes[1..].to_vec(), ..good.clone() };
    assert!(matches!(Container::decode_row(&torn), Err(DecodeError::Damaged { problem: Problem::Shape(_), .. })));
    let shape: ContainerRowV1 = codec::decode(&good.bytes).unwrap();
    let odd = ContainerRowV1 { phase: PhaseV1::Created, last: LastV1::AsPhase, ..shape.clone() };
    let odd = SavedRow { bytes: codec::encode(&odd), ..good.clone() };
    assert!(matches!(Container::decode_row(&odd), Err(DecodeError::Damaged { problem: Problem::LastEnd, .. })));
    let nameless = ContainerRowV1 { card: CardV1 { name: String::new(), ..shape.card.clone() }, ..shape };
    let nameless = SavedRow { bytes: codec::encode(&nameless), ..good };
    assert!(matches!(
        Container::decode_row(&nameless),
        Err(DecodeError::Damaged { problem: Problem::Name { .. }, .. })
    ));
}

#[test]
fn an_end_is_stored_once() {
    let error = Some("e".repeat(500));
    let ended = End { error, ..end() };
    let exited = Container { last: Some(ended.clone()), ..container(Phase::Exited(ended)) };
    let once = saved(&exited, Container::encode_row(&exited));
    assert!(once.bytes.len() < 1000, "{}", once.bytes.len());
    assert_eq!(Container::decode_row(&once).unwrap(), exited);
    // Not by itself the rule: an end other than the phase's is kept too.
    let other = Container { last: Some(End { start: StartId(1), ..end() }), ..exited };
    assert_eq!(Container::decode_row(&saved(&other, Container::encode_row(&other))).unwrap(), other);
}

fn huge() -> impl Strategy<Value = String> {
    ("[a\u{e9}\u{20ac}\u{1f433}]{0,3}", 0usize..6000, prop::char::any())
        .prop_map(|(start, length, fill)| start + &fill.to_string().repeat(length))
}

prop_compose! {
    fn huge_context()(actor in 0usize..4, exe in huge(), name in huge(), image in huge()) -> Context {
        let actor = match &actors()[actor] {
            Actor::Peer { .. } => Actor::Peer { uid: u32::MAX, pid: u32::MAX, exe },
            actor => actor.clone(),
        };
        Context { actor, name, image, ..context() }
    }
}

prop_compose! {
    fn huge_card()(
        image in huge(), runtime in huge(), command in huge(), name in "[a-z]{255}",
        image_id in any::<Option<[u8; 32]>>(),
    ) -> crate::domain::container::Card {
        crate::domain::container::Card {
            name: name.parse().unwrap(),
            image,
            image_id: image_id.map(Digest),
            runtime,
            command,
            ..card()
        }
    }
}

fn huge_event() -> impl Strategy<Value = Event> {
    let name = || "[a-z]{255}".prop_map(|name| name.parse::<Name>().unwrap());
    prop_oneof![
        huge_card().prop_map(|card| Event::Created { id: ID, card }),
        huge().prop_map(|message| Event::StartFailed { start: START, code: 255, message, at: at(1) }),
        huge().prop_map(|message| Event::PauseFailed { message }),
        huge().prop_map(|message| Event::ResumeFailed { message }),
        huge().prop_map(|message| Event::RemoveFailed { message }),
        (name(), name()).prop_map(|(from, to)| Event::Renamed { from, to }),
        Just(Event::Started { start: START, process: PROCESS, shim: Some(SHIM), at: at(1) }),
        Just(Event::StopRequested { start: START, signal: Signal::KILL, deadline: at(1), then_start: true }),
        Just(Event::Exited { start: START, status: CODE, at: at(1) }),
        huge().prop_map(|message| Event::UpdateFailed { message }),
        (huge(), huge()).prop_map(|(argv, user)| Event::ExecStarted {
            start: START,
            exec: SessionId([255; 8]),
            argv,
            user,
            tty: true,
            detached: true
        }),
        (huge(), prop::collection::vec(huge(), 0..20)).prop_map(|(network, addresses)| Event::NetworkAttached {
            start: START,
            network,
            addresses
        }),
    ]
}

prop_compose! {
    /// The largest states: a failed removal of a running container with a failed last start, and the like.
    fn huge_container()(
        card in huge_card(), error in huge(), other in huge(), which in 0..4, network in huge(), count in 0usize..9,
    ) -> Container {
        let ended = End { error: Some(error), ..end() };
        let phase = match which {
            0 => Phase::Removing(Removing { run: Some(run()), failed: Some(other), volumes: true }),
            1 => Phase::Exited(End { error: Some(other), ..end() }),
            2 => Phase::Restarting(Restarting { end: End { error: Some(other), ..end() }, due: at(1), attempt: u32::MAX }),
            _ => Phase::Exited(ended.clone()),
        };
        let attachment = Attachment { start: START, network: network.clone(), addresses: vec![network; count] };
        let update = Some(Update { definition: Digest([1; 32]), restart: RestartPolicy::OnFailure { retries: u32::MAX } });
        Container { card, last: Some(ended), update, networks: vec![attachment; count], ..container(phase) }
    }
}

fn turns() -> impl Strategy<Value = Vec<Turn>> {
    ideas().prop_map(|ideas| live(&[started(), ideas].concat()))
}

proptest! {
    #[test]
    fn any_event_fits_into_the_journal(context in huge_context(), event in huge_event()) {
        let stored = Container::encode(&context, &event);
        prop_assert!(stored.payload.len() + ENVELOPE < VALUE_LIMIT, "{} bytes", stored.payload.len());
        let (context, event) = Container::decode(&record(stored.clone())).unwrap();
        // A text is cut only once.
        prop_assert_eq!(Container::encode(&context, &event), stored);
    }

    #[test]
    fn any_row_fits_into_the_journal(container in huge_container()) {
        let row = saved(&container, Container::encode_row(&container));
        prop_assert!(row.bytes.len() + ENVELOPE < VALUE_LIMIT, "{} bytes", row.bytes.len());
        let decoded = Container::decode_row(&row).unwrap();
        prop_assert_eq!(saved(&decoded, Container::encode_row(&decoded)), row);
    }

    /// The state replayed from the journal equals the state at the time, for every prefix, with and without a row to
    /// begin with.
    #[test]
    fn the_replay_of_stored_records_is_the_state_of_the_time(turns in turns()) {
        let mut replayed: Option<Container> = None;
        let mut behind_row: Option<Container> = None;
        for (index, turn) in turns.iter().enumerate() {
            for event in turn.decision.iter().flatten() {
                let (told_by, stored) = Container::decode(&record(Container::encode(&context(), event))).unwrap();
                prop_assert_eq!(&stored, event);
                prop_assert_eq!(told_by, context());
                replayed = evolve(replayed, &stored);
                behind_row = evolve(behind_row, &stored);
            }
            prop_assert_eq!(&replayed, &turn.after);
            prop_assert_eq!(&behind_row, &turn.after);
            // Rows are not written with every batch.
            if index % 3 == 0 && let Some(container) = &turn.after {
                behind_row = Some(Container::decode_row(&saved(container, Container::encode_row(container))).unwrap());
            }
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(schema in 0u16..3, bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        for kind in kinds() {
            let record = record(NewEvent { kind: kind.number, schema, payload: bytes.clone() });
            let _ = Container::decode(&record);
            let _ = Image::decode(&Record { stream: Image::stream(&Digest([7; 32])), ..record.clone() });
            let _ = Volume::decode(&Record { stream: Volume::stream(&"data".parse().unwrap()), ..record });
        }
        for stream in [Container::stream(&ID), Image::stream(&Digest([7; 32])), Volume::stream(&"data".parse().unwrap())] {
            let row = SavedRow { stream, version: 1, seq: 1, schema, bytes: bytes.clone() };
            let _ = Container::decode_row(&row);
            let _ = Image::decode_row(&row);
            let _ = Volume::decode_row(&row);
        }
    }
}

#[test]
fn the_removed_shape_has_no_fields_of_its_own() {
    let bytes = Container::encode(&context(), &Event::Removed).payload;
    assert_eq!(bytes, codec::encode(&(store_context(&context()), RemovedV1 {})));
    assert_eq!(bytes, codec::encode(&store_context(&context())));
}
