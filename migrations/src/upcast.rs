//! Converts any shape ever stored to the current shape, one schema number at a time.

use std::collections::BTreeMap;

use crate::codec::Malformed;
use crate::kinds::{kind, row_schema};

/// Converts the bytes of one schema to those of the next. Pure.
pub type Upcast = fn(&[u8]) -> Result<Vec<u8>, Malformed>;

/// The reason why stored bytes cannot be converted to the current shape.
#[derive(Debug, thiserror::Error)]
pub enum UpcastError {
    #[error("events of kind {kind} are not known")]
    UnknownKind { kind: u16 },
    #[error("rows of streams of kind {stream} are not known")]
    UnknownRow { stream: u8 },
    #[error("schema {found} of {shape} is newer than {known}, the newest that is known")]
    Newer { shape: Shape, found: u16, known: u16 },
    #[error("nothing leads from schema {schema} of {shape} to the next")]
    Missing { shape: Shape, schema: u16 },
    #[error("cannot bring schema {schema} of {shape} to the next")]
    Malformed { shape: Shape, schema: u16, source: Malformed },
}

/// A kind of stored shape: each has schema numbers of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Shape {
    /// Events of a kind.
    Event(u16),
    /// Savepoint rows of a kind of stream.
    Row(u8),
}

impl std::fmt::Display for Shape {
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

impl Shape {
    /// The schema number it is written with at present; fails when it is unknown.
    fn current_schema(self) -> Result<u16, UpcastError> {
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
    steps: BTreeMap<(Shape, u16), Upcast>,
}

impl Upcasts {
    /// The upcasts of this program: none, as long as there is one format.
    pub fn current() -> Self {
        Self::default()
    }

    /// Adds an upcast from `schema` to the next.
    #[must_use]
    pub fn with(mut self, shape: Shape, schema: u16, upcast: Upcast) -> Self {
        self.steps.insert((shape, schema), upcast);
        self
    }

    /// One step: the next schema number and the bytes in that shape.
    pub fn upcast(&self, shape: Shape, schema: u16, bytes: &[u8]) -> Result<(u16, Vec<u8>), UpcastError> {
        let step = self.steps.get(&(shape, schema)).ok_or(UpcastError::Missing { shape, schema })?;
        let bytes = step(bytes).map_err(|source| UpcastError::Malformed { shape, schema, source })?;
        Ok((schema + 1, bytes))
    }

    /// All steps to the current shape; also returns its schema number.
    pub fn to_current(&self, shape: Shape, schema: u16, bytes: Vec<u8>) -> Result<(u16, Vec<u8>), UpcastError> {
        self.convert(shape, schema, shape.current_schema()?, bytes)
    }

    fn convert(&self, shape: Shape, schema: u16, known: u16, bytes: Vec<u8>) -> Result<(u16, Vec<u8>), UpcastError> {
        if schema > known {
            return Err(UpcastError::Newer { shape, found: schema, known });
        }
        let (mut schema, mut bytes) = (schema, bytes);
        while schema < known {
            (schema, bytes) = self.upcast(shape, schema, &bytes)?;
        }
        Ok((schema, bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STARTED: Shape = Shape::Event(3);

    #[test]
    fn a_current_shape_is_unchanged() {
        let bytes = b"anything".to_vec();
        assert_eq!(Upcasts::current().to_current(STARTED, 1, bytes.clone()).unwrap(), (1, bytes));
    }

    #[test]
    fn an_older_shape_is_converted_to_the_next() {
        let upcasts = Upcasts::current().with(STARTED, 0, |bytes| Ok([bytes, b"+"].concat()));
        assert_eq!(upcasts.to_current(STARTED, 0, b"old".to_vec()).unwrap(), (1, b"old+".to_vec()));
    }

    #[test]
    fn upcasts_are_applied_in_order() {
        let upcasts = Upcasts::default()
            .with(STARTED, 1, |bytes| Ok([bytes, b"+"].concat()))
            .with(STARTED, 2, |bytes| Ok([bytes, b"-"].concat()))
            .with(Shape::Row(1), 2, |_| unreachable!("rows are not events"));
        let converted = |schema| upcasts.convert(STARTED, schema, 3, b"old".to_vec()).unwrap();
        assert_eq!(converted(1), (3, b"old+-".to_vec()));
        assert_eq!(converted(2), (3, b"old-".to_vec()));
        assert_eq!(converted(3), (3, b"old".to_vec()));
    }

    #[test]
    fn an_error_names_the_shape_and_schema() {
        let upcasts = Upcasts::current();
        let error = |shape, schema| upcasts.to_current(shape, schema, vec![]).unwrap_err().to_string();
        assert_eq!(error(Shape::Event(99), 1), "events of kind 99 are not known");
        assert_eq!(error(Shape::Row(9), 1), "rows of streams of kind 9 are not known");
        assert_eq!(error(STARTED, 7), "schema 7 of event Started is newer than 1, the newest that is known");
        assert_eq!(error(STARTED, 0), "nothing leads from schema 0 of event Started to the next");
        assert_eq!(error(Shape::Row(1), 0), "nothing leads from schema 0 of rows of stream kind 1 to the next");
    }
}
