//! Volumes as records: events and the savepoint row.

use migrations::kinds::{VOLUME_ROW_SCHEMA, VOLUME_STREAM, VolumeEvent};
use migrations::v1::*;

use super::{Codec, Problem};
use crate::domain::id::{Timestamp, VolumeName};
use crate::domain::volume::{Event, Phase, Volume};

impl Codec for Volume {
    const STREAM: u8 = VOLUME_STREAM;
    const ROW_SCHEMA: u16 = VOLUME_ROW_SCHEMA;

    type StoredEvent = VolumeEvent;
    type StoredRow = VolumeRowV1;

    fn id_bytes(name: &VolumeName) -> &[u8] {
        name.as_str().as_bytes()
    }

    fn id_from(bytes: &[u8]) -> Option<VolumeName> {
        std::str::from_utf8(bytes).ok()?.parse().ok()
    }

    fn store_event(event: &Event) -> VolumeEvent {
        store(event)
    }

    fn load_event(_: VolumeName, stored: VolumeEvent) -> Result<Event, Problem> {
        load(stored)
    }

    fn store_row(&self) -> VolumeRowV1 {
        VolumeRowV1 {
            labels: self.labels.clone(),
            anonymous: self.anonymous,
            created_at: self.created_at.0,
            phase: match self.phase {
                Phase::Ready => VolumePhaseV1::Ready,
                Phase::Removing => VolumePhaseV1::Removing,
            },
        }
    }

    fn load_row(name: VolumeName, version: u64, stored: VolumeRowV1) -> Result<Self, Problem> {
        Ok(Self {
            name,
            version,
            labels: stored.labels,
            anonymous: stored.anonymous,
            created_at: Timestamp(stored.created_at),
            phase: match stored.phase {
                VolumePhaseV1::Ready => Phase::Ready,
                VolumePhaseV1::Removing => Phase::Removing,
            },
        })
    }
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

    use store::{Record, Row, SavedRow, VALUE_LIMIT};

    use super::*;
    use crate::domain::id::VolumeName;
    use crate::domain::volume::{Command, decide, evolve};
    use crate::journal::record::{Actor, Context, DecodeError, OperationId};

    #[test]
    fn the_largest_history_fits_and_is_restored() {
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
                let stored = Volume::encode(&context, &event);
                assert!(stored.payload.len() + 256 < VALUE_LIMIT, "{} bytes", stored.payload.len());
                assert_eq!(migrations::kinds::kind(stored.kind).unwrap().name, event.name());
                seq += 1;
                let record = Record {
                    seq,
                    stream: Volume::stream(&name),
                    version: seq,
                    at: 5,
                    boot: [0; 16],
                    kind: stored.kind,
                    schema: stored.schema,
                    ends_stream: false,
                    payload: Arc::from(stored.payload),
                };
                assert_eq!(Volume::decode(&record).unwrap().1, event);
                live = evolve(live, &event);
            }
            let Some(volume) = &live else { continue };
            let Row::Put { schema, bytes } = Volume::encode_row(volume) else { unreachable!("a volume has a row") };
            assert!(bytes.len() + 256 < VALUE_LIMIT, "{} bytes", bytes.len());
            let row = SavedRow { stream: Volume::stream(&name), version: volume.version, seq, schema, bytes };
            assert_eq!(Volume::decode_row(&row).unwrap(), *volume);
            let odd = store::StreamId::new(Volume::STREAM, b".odd").unwrap();
            assert!(matches!(
                Volume::decode_row(&SavedRow { stream: odd, ..row }),
                Err(DecodeError::Damaged { problem: Problem::StreamId, .. })
            ));
        }
        assert_eq!((live, seq), (None, 3));
    }
}
