//! Volumes as records: events and the savepoint row.

use migrations::codec;
use migrations::kinds::{VOLUME_ROW_SCHEMA, VolumeEvent};
use migrations::v1::*;
use migrations::{Upcasts, What};
use store::{NewEvent, Record, Row, SavedRow};

use super::{Context, DecodeError, Problem, VOLUME, load_context, refused, store_context, volume_of};
use crate::domain::id::Timestamp;
use crate::domain::volume::{Event, Phase, Volume};

/// The event as it goes into its volume's stream. Small enough for the journal, if `decide` made it.
pub fn encode(context: &Context, event: &Event) -> NewEvent {
    let event = store(event);
    let kind = event.kind();
    NewEvent { kind: kind.number, schema: kind.schema, payload: event.encode(&store_context(context)) }
}

/// The event that a record holds, in whatever shape it was written.
pub fn decode(record: &Record) -> Result<(Context, Event), DecodeError> {
    let what = What::Event(record.kind);
    let unknown = || DecodeError::UnknownKind { what, stream: record.stream.clone() };
    let damaged = |problem| DecodeError::Damaged { what, stream: record.stream.clone(), problem };
    volume_of(&record.stream).ok_or_else(unknown)?;
    let (_, bytes) = Upcasts::of_today()
        .to_today(what, record.schema, record.payload.to_vec())
        .map_err(|error| refused(what, &record.stream, error))?;
    let decoded = VolumeEvent::decode(record.kind, &bytes).ok_or_else(unknown)?;
    let (context, event) = decoded.map_err(|error| damaged(error.into()))?;
    Ok((load_context(context), load(event).map_err(damaged)?))
}

/// The row that saves this state. Small enough for the journal, if the state came about by `decide`.
pub fn encode_row(volume: &Volume) -> Row {
    let row = VolumeRowV1 {
        labels: volume.labels.clone(),
        anonymous: volume.anonymous,
        created_at: volume.created_at.0,
        phase: match volume.phase {
            Phase::Ready => VolumePhaseV1::Ready,
            Phase::Removing => VolumePhaseV1::Removing,
        },
    };
    Row::Put { schema: VOLUME_ROW_SCHEMA, bytes: codec::encode(&row) }
}

/// The state that a row saves, in whatever shape it was written.
pub fn decode_row(row: &SavedRow) -> Result<Volume, DecodeError> {
    let what = What::Row(VOLUME);
    let damaged = |problem| DecodeError::Damaged { what, stream: row.stream.clone(), problem };
    let name = volume_of(&row.stream).ok_or_else(|| damaged(Problem::StreamId))?;
    let (_, bytes) = Upcasts::of_today()
        .to_today(what, row.schema, row.bytes.clone())
        .map_err(|error| refused(what, &row.stream, error))?;
    let stored: VolumeRowV1 = codec::decode(&bytes).map_err(|error| damaged(error.into()))?;
    Ok(Volume {
        name,
        version: row.version,
        labels: stored.labels,
        anonymous: stored.anonymous,
        created_at: Timestamp(stored.created_at),
        phase: match stored.phase {
            VolumePhaseV1::Ready => Phase::Ready,
            VolumePhaseV1::Removing => Phase::Removing,
        },
    })
}

fn store(event: &Event) -> VolumeEvent {
    match event {
        Event::Created { name, labels, anonymous, at } => VolumeEvent::Created(VolumeCreatedV1 {
            name: name.as_str().to_owned(),
            labels: labels.clone(),
            anonymous: *anonymous,
            created_at: at.0,
        }),
        Event::RemoveRequested => VolumeEvent::RemoveRequested(VolumeRemoveRequestedV1 {}),
        Event::Removed => VolumeEvent::Removed(VolumeRemovedV1 {}),
    }
}

fn load(stored: VolumeEvent) -> Result<Event, Problem> {
    Ok(match stored {
        VolumeEvent::Created(VolumeCreatedV1 { name, labels, anonymous, created_at }) => {
            let name = name.parse().map_err(|_| Problem::Name { text: name })?;
            Event::Created { name, labels, anonymous, at: Timestamp(created_at) }
        }
        VolumeEvent::RemoveRequested(VolumeRemoveRequestedV1 {}) => Event::RemoveRequested,
        VolumeEvent::Removed(VolumeRemovedV1 {}) => Event::Removed,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use store::VALUE_LIMIT;

    use super::*;
    use crate::domain::id::VolumeName;
    use crate::domain::volume::{Command, decide, evolve};
    use crate::journal::record::{Actor, OperationId, volume_stream};

    #[test]
    fn the_largest_history_fits_and_comes_back() {
        let name: VolumeName = "n".repeat(VolumeName::LIMIT).parse().unwrap();
        let exe = "e".repeat(9999);
        let context = Context {
            actor: Actor::Peer { uid: 1, pid: 2, exe },
            operation: OperationId([1; 8]),
            name: name.to_string(),
            image: String::new(),
        };
        let labels = BTreeMap::from([("k".to_owned(), "v".repeat(Volume::LABELS_LIMIT - 17))]);
        let create = Command::Create { labels, anonymous: true, at: Timestamp(9) };
        let (mut live, mut seq) = (None, 0);
        for command in [create, Command::Remove, Command::ReportRemoved] {
            for event in decide(&name, live.as_ref(), &command).unwrap() {
                let stored = encode(&context, &event);
                assert!(stored.payload.len() + 256 < VALUE_LIMIT, "{} bytes", stored.payload.len());
                assert_eq!(migrations::kinds::kind(stored.kind).unwrap().name, event.name());
                seq += 1;
                let record = Record {
                    seq,
                    stream: volume_stream(&name),
                    version: seq,
                    at: 5,
                    boot: [0; 16],
                    kind: stored.kind,
                    schema: stored.schema,
                    ends_stream: false,
                    payload: Arc::from(stored.payload),
                };
                assert_eq!(decode(&record).unwrap().1, event);
                live = evolve(live, &event);
            }
            let Some(volume) = &live else { continue };
            let Row::Put { schema, bytes } = encode_row(volume) else { unreachable!("a volume has a row") };
            assert!(bytes.len() + 256 < VALUE_LIMIT, "{} bytes", bytes.len());
            let row = SavedRow { stream: volume_stream(&name), version: volume.version, seq, schema, bytes };
            assert_eq!(decode_row(&row).unwrap(), *volume);
            let odd = store::StreamId::new(VOLUME, b".odd").unwrap();
            assert!(matches!(
                decode_row(&SavedRow { stream: odd, ..row }),
                Err(DecodeError::Damaged { problem: Problem::StreamId, .. })
            ));
        }
        assert_eq!((live, seq), (None, 3));
    }
}
