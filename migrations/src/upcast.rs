//! From any shape ever written to the shape of today, one schema number at a time.

use std::collections::BTreeMap;

use crate::codec::Malformed;
use crate::kinds::{CONTAINER_STREAM, kind, row_schema};
use crate::v2::upcasts as to_v2;
use crate::v3::upcasts as to_v3;

/// Makes the bytes of one schema into those of the next. Pure.
pub type Upcast = fn(&[u8]) -> Result<Vec<u8>, Malformed>;

/// Stored bytes cannot be brought to the shape of today.
#[derive(Debug, thiserror::Error)]
pub enum UpcastError {
    #[error("events of kind {kind} are not known")]
    UnknownKind { kind: u16 },
    #[error("rows of streams of kind {stream} are not known")]
    UnknownRow { stream: u8 },
    #[error("schema {found} of {what} is newer than {known}, the newest that is known")]
    Newer { what: What, found: u16, known: u16 },
    #[error("nothing leads from schema {schema} of {what} to the next")]
    Missing { what: What, schema: u16 },
    #[error("cannot bring schema {schema} of {what} to the next")]
    Malformed { what: What, schema: u16, source: Malformed },
}

/// What has a schema number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum What {
    /// Events of a kind.
    Event(u16),
    /// Savepoint rows of a kind of stream.
    Row(u8),
}

impl std::fmt::Display for What {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Event(number) => match kind(*number) {
                Some(kind) => write!(f, "event {}", kind.name),
                None => write!(f, "event {number}"),
            },
            Self::Row(stream) => write!(f, "rows of stream kind {stream}"),
        }
    }
}

impl What {
    /// The schema number it is written with today; fails when it is unknown.
    fn schema_of_today(self) -> Result<u16, UpcastError> {
        match self {
            Self::Event(number) => {
                kind(number).map(|kind| kind.schema).ok_or(UpcastError::UnknownKind { kind: number })
            }
            Self::Row(stream) => row_schema(stream).ok_or(UpcastError::UnknownRow { stream }),
        }
    }
}

/// The table of upcasts.
#[derive(Debug, Clone, Default)]
pub struct Upcasts {
    steps: BTreeMap<(What, u16), Upcast>,
}

impl Upcasts {
    /// Those of this program.
    pub fn of_today() -> Self {
        Self::default()
            .with(What::Event(1), 1, to_v2::create_requested)
            .with(What::Event(20), 1, to_v2::remove_requested)
            .with(What::Row(CONTAINER_STREAM), 1, to_v2::container_row)
            .with(What::Event(1), 2, to_v3::create_requested)
            .with(What::Row(CONTAINER_STREAM), 2, to_v3::container_row)
    }

    /// With one more, which leads from `schema` to the next.
    #[must_use]
    pub fn with(mut self, what: What, schema: u16, upcast: Upcast) -> Self {
        self.steps.insert((what, schema), upcast);
        self
    }

    /// One step: the next schema number and the bytes in that shape.
    pub fn upcast(&self, what: What, schema: u16, bytes: &[u8]) -> Result<(u16, Vec<u8>), UpcastError> {
        let step = self.steps.get(&(what, schema)).ok_or(UpcastError::Missing { what, schema })?;
        let bytes = step(bytes).map_err(|source| UpcastError::Malformed { what, schema, source })?;
        Ok((schema + 1, bytes))
    }

    /// All steps to the shape of today; gives its schema number too.
    pub fn to_today(&self, what: What, schema: u16, bytes: Vec<u8>) -> Result<(u16, Vec<u8>), UpcastError> {
        let known = what.schema_of_today()?;
        if schema > known {
            return Err(UpcastError::Newer { what, found: schema, known });
        }
        let (mut schema, mut bytes) = (schema, bytes);
        while schema < known {
            (schema, bytes) = self.upcast(what, schema, &bytes)?;
        }
        Ok((schema, bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STARTED: What = What::Event(5);

    #[test]
    fn what_is_of_today_stays_as_it_is() {
        let bytes = b"anything".to_vec();
        assert_eq!(Upcasts::of_today().to_today(STARTED, 1, bytes.clone()).unwrap(), (1, bytes));
    }

    #[test]
    fn an_older_shape_is_led_to_the_next() {
        let upcasts = Upcasts::of_today().with(STARTED, 0, |bytes| Ok([bytes, b"+"].concat()));
        assert_eq!(upcasts.to_today(STARTED, 0, b"old".to_vec()).unwrap(), (1, b"old+".to_vec()));
    }

    #[test]
    fn what_cannot_be_read_says_why() {
        let upcasts = Upcasts::of_today();
        let error = |what, schema| upcasts.to_today(what, schema, vec![]).unwrap_err().to_string();
        assert_eq!(error(What::Event(99), 1), "events of kind 99 are not known");
        assert_eq!(error(What::Row(9), 1), "rows of streams of kind 9 are not known");
        assert_eq!(error(STARTED, 7), "schema 7 of event Started is newer than 1, the newest that is known");
        assert_eq!(error(STARTED, 0), "nothing leads from schema 0 of event Started to the next");
        assert_eq!(error(What::Row(1), 0), "nothing leads from schema 0 of rows of stream kind 1 to the next");
    }
}
