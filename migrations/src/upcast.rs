//! From any shape ever written to the shape of today, one schema number at a time.

use std::collections::BTreeMap;

use crate::codec::Malformed;
use crate::kinds::{kind, row_schema};

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
    /// Those of this program: none, as long as there is one format.
    pub fn of_today() -> Self {
        Self::default()
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
        self.lead(what, schema, what.schema_of_today()?, bytes)
    }

    fn lead(&self, what: What, schema: u16, known: u16, bytes: Vec<u8>) -> Result<(u16, Vec<u8>), UpcastError> {
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

    const STARTED: What = What::Event(3);

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
    fn every_step_is_taken_in_order() {
        let upcasts = Upcasts::default()
            .with(STARTED, 1, |bytes| Ok([bytes, b"+"].concat()))
            .with(STARTED, 2, |bytes| Ok([bytes, b"-"].concat()))
            .with(What::Row(1), 2, |_| unreachable!("rows are not events"));
        let led = |schema| upcasts.lead(STARTED, schema, 3, b"old".to_vec()).unwrap();
        assert_eq!(led(1), (3, b"old+-".to_vec()));
        assert_eq!(led(2), (3, b"old-".to_vec()));
        assert_eq!(led(3), (3, b"old".to_vec()));
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
