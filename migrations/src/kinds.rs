//! Which number stands for which event, and which shape it is written in today.
//!
//! The numbers are for ever: an event that is no longer written keeps its number and its shapes. Ranges: containers from
//! 1, sandboxes from 100, images from 200, volumes from 300, networks from 400.

use crate::codec::{self, Malformed};
use crate::v1::*;

/// Streams of this kind are containers.
pub const CONTAINER_STREAM: u8 = 1;

/// The shape in which a container's savepoint row is written today.
pub const CONTAINER_ROW_SCHEMA: u16 = 1;

/// A kind of event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kind {
    pub number: u16,
    pub name: &'static str,
    /// The schema number it is written with today.
    pub schema: u16,
}

/// From one table: the numbers, and the enum of events in the shapes of today with its encoding.
macro_rules! container_events {
    ($($number:literal $name:ident($shape:ident) schema $schema:literal,)*) => {
        /// An event of a container, in the shape of today.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum ContainerEvent {
            $($name($shape),)*
        }

        /// Every kind of event that is known.
        pub const KINDS: &[Kind] = &[$(Kind { number: $number, name: stringify!($name), schema: $schema },)*];

        impl ContainerEvent {
            /// The kind it is stored as.
            pub fn kind(&self) -> Kind {
                match self {
                    $(Self::$name(_) => Kind { number: $number, name: stringify!($name), schema: $schema },)*
                }
            }

            /// The stored bytes: context, then the event's own fields.
            pub fn encode(&self, context: &ContextV1) -> Vec<u8> {
                match self {
                    $(Self::$name(event) => codec::encode(&(context, event)),)*
                }
            }

            /// Reads what `encode` made of an event of this kind, in the shape of today; `None` when there is no such
            /// kind. For older shapes see `Upcasts`.
            pub fn decode(kind: u16, bytes: &[u8]) -> Option<Result<(ContextV1, Self), Malformed>> {
                match kind {
                    $($number => Some(
                        codec::decode::<(ContextV1, $shape)>(bytes).map(|(context, event)| (context, Self::$name(event)))
                    ),)*
                    _ => None,
                }
            }
        }
    };
}

container_events! {
    1 CreateRequested(CreateRequestedV1) schema 1,
    2 Created(CreatedV1) schema 1,
    3 CreateFailed(CreateFailedV1) schema 1,
    4 StartRequested(StartRequestedV1) schema 1,
    5 Started(StartedV1) schema 1,
    6 StartFailed(StartFailedV1) schema 1,
    7 PauseRequested(PauseRequestedV1) schema 1,
    8 Paused(PausedV1) schema 1,
    9 PauseFailed(PauseFailedV1) schema 1,
    10 ResumeRequested(ResumeRequestedV1) schema 1,
    11 Resumed(ResumedV1) schema 1,
    12 ResumeFailed(ResumeFailedV1) schema 1,
    13 StopRequested(StopRequestedV1) schema 1,
    14 Killed(KilledV1) schema 1,
    15 Exited(ExitedV1) schema 1,
    16 OomKilled(OomKilledV1) schema 1,
    17 Renamed(RenamedV1) schema 1,
    18 ShimLost(ShimLostV1) schema 1,
    19 ShimAdopted(ShimAdoptedV1) schema 1,
    20 RemoveRequested(RemoveRequestedV1) schema 1,
    21 RemoveFailed(RemoveFailedV1) schema 1,
    22 Removed(RemovedV1) schema 1,
}

/// The kind with this number.
pub fn kind(number: u16) -> Option<Kind> {
    KINDS.iter().copied().find(|kind| kind.number == number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_unique_and_containers_stay_in_their_range() {
        let mut numbers: Vec<_> = KINDS.iter().map(|kind| kind.number).collect();
        numbers.dedup();
        assert_eq!(numbers.len(), KINDS.len());
        assert!(numbers.is_sorted() && numbers.iter().all(|number| (1..100).contains(number)));
    }

    #[test]
    fn an_unknown_kind_is_not_an_error_of_its_bytes() {
        assert!(ContainerEvent::decode(99, b"").is_none());
        assert!(ContainerEvent::decode(22, b"").is_some_and(|decoded| decoded.is_err()));
    }
}
