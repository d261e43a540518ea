//! The common part of all aggregates' records: an event is its context and its own fields under a kind's number, a row
//! is a state without its id and version, which its stream has.

use migrations::codec::{self, Malformed};
use migrations::kinds::{ContainerEvent, ImageEvent, Kind, VolumeEvent};
use migrations::v1::ContextV1;
use migrations::{Shape, UpcastError, Upcasts};
use serde::Serialize;
use serde::de::DeserializeOwned;
use store::{NewEvent, Record, Row, SavedRow, StreamId};

use super::{Context, DecodeError, Problem, load_context, store_context};
use crate::domain::aggregate::Aggregate;

/// A kind of aggregate and its present stored shapes.
pub(crate) trait Codec: Aggregate {
    /// The kind of its streams.
    const STREAM: u8;
    const ROW_SCHEMA: u16;

    type StoredEvent: StoredEvent;
    type StoredRow: Serialize + DeserializeOwned;

    /// 1 to 128 bytes that name its stream.
    fn id_bytes(id: &Self::Id) -> &[u8];
    fn id_from(bytes: &[u8]) -> Option<Self::Id>;
    /// Small enough for the journal, if `decide` made the event.
    fn store_event(event: &Self::Event) -> Self::StoredEvent;
    fn load_event(id: Self::Id, stored: Self::StoredEvent) -> Result<Self::Event, Problem>;
    /// Small enough for the journal, if the state came about by `decide`.
    fn store_row(&self) -> Self::StoredRow;
    fn load_row(id: Self::Id, version: u64, stored: Self::StoredRow) -> Result<Self, Problem>;

    /// The stream that has its events and its row.
    fn stream(id: &Self::Id) -> StreamId {
        StreamId::new(Self::STREAM, Self::id_bytes(id)).expect("1 to 128 bytes can name a stream")
    }

    /// The aggregate's id; `None` when the stream is of another kind.
    fn id_of(stream: &StreamId) -> Option<Self::Id> {
        if stream.kind() == Self::STREAM { Self::id_from(stream.id()) } else { None }
    }

    /// The event as stored in its stream.
    fn encode(context: &Context, event: &Self::Event) -> NewEvent {
        let stored = Self::store_event(event);
        let kind = stored.kind();
        NewEvent { kind: kind.number, schema: kind.schema, payload: stored.encode(&store_context(context)) }
    }

    /// The event of a record, in any of its stored shapes. Fails for unknown kinds, newer shapes and damaged bytes.
    fn decode(record: &Record) -> Result<(Context, Self::Event), DecodeError> {
        let (what, stream) = (Shape::Event(record.kind), &record.stream);
        let unknown = || DecodeError::UnknownKind { what, stream: stream.clone() };
        let damaged = |problem| DecodeError::Damaged { what, stream: stream.clone(), problem };
        let id = Self::id_of(stream).ok_or_else(unknown)?;
        let (_, bytes) = Upcasts::current()
            .to_current(what, record.schema, record.payload.to_vec())
            .map_err(|error| refused(what, stream, error))?;
        let decoded = Self::StoredEvent::decode(record.kind, &bytes).ok_or_else(unknown)?;
        let (context, event) = decoded.map_err(|error| damaged(error.into()))?;
        Ok((load_context(context), Self::load_event(id, event).map_err(damaged)?))
    }

    /// The savepoint row of this state, for the batch that records its events.
    fn encode_row(&self) -> Row {
        Row::Put { schema: Self::ROW_SCHEMA, bytes: codec::encode(&self.store_row()) }
    }

    /// The state of a row, in any of its stored shapes. Fails for newer shapes and damaged bytes.
    fn decode_row(row: &SavedRow) -> Result<Self, DecodeError> {
        let (what, stream) = (Shape::Row(row.stream.kind()), &row.stream);
        let damaged = |problem| DecodeError::Damaged { what, stream: stream.clone(), problem };
        if stream.kind() != Self::STREAM {
            return Err(DecodeError::UnknownKind { what, stream: stream.clone() });
        }
        let id = Self::id_of(stream).ok_or_else(|| damaged(Problem::StreamId))?;
        let (_, bytes) = Upcasts::current()
            .to_current(what, row.schema, row.bytes.clone())
            .map_err(|error| refused(what, stream, error))?;
        let stored = codec::decode(&bytes).map_err(|error| damaged(error.into()))?;
        Self::load_row(id, row.version, stored).map_err(damaged)
    }
}

/// The table of a kind's events in their present shapes.
pub(crate) trait StoredEvent: Sized {
    fn kind(&self) -> Kind;
    fn encode(&self, context: &ContextV1) -> Vec<u8>;
    /// `None` when there is no such kind.
    fn decode(kind: u16, bytes: &[u8]) -> Option<Result<(ContextV1, Self), Malformed>>;
}

macro_rules! stored_events {
    ($($table:ident),*) => {
        $(impl StoredEvent for $table {
            fn kind(&self) -> Kind {
                $table::kind(self)
            }

            fn encode(&self, context: &ContextV1) -> Vec<u8> {
                $table::encode(self, context)
            }

            fn decode(kind: u16, bytes: &[u8]) -> Option<Result<(ContextV1, Self), Malformed>> {
                $table::decode(kind, bytes)
            }
        })*
    };
}

stored_events!(ContainerEvent, ImageEvent, VolumeEvent);

fn refused(what: Shape, stream: &StreamId, error: UpcastError) -> DecodeError {
    let stream = stream.clone();
    match error {
        UpcastError::UnknownKind { .. } | UpcastError::UnknownRow { .. } => DecodeError::UnknownKind { what, stream },
        UpcastError::Newer { found, known, .. } => DecodeError::NewerSchema { what, stream, found, known },
        UpcastError::Missing { .. } | UpcastError::Malformed { .. } => {
            DecodeError::Damaged { what, stream, problem: error.into() }
        }
    }
}
