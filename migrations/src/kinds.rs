//! The kinds of events: their numbers, and the schema each is written in at present.
//!
//! The numbers are permanent: an event that is no longer written keeps its number and its shapes. Ranges: containers
//! from 1, sandboxes from 100, images from 200, volumes from 300, networks from 400.

use crate::codec::{self, Malformed};
use crate::v1::*;

/// Streams of this kind are containers. Kind 2 is reserved for sandboxes.
pub const CONTAINER_STREAM: u8 = 1;
/// Streams of this kind are images.
pub const IMAGE_STREAM: u8 = 3;
/// Streams of this kind are volumes.
pub const VOLUME_STREAM: u8 = 4;

/// The schema in which a container's savepoint row is written at present.
pub const CONTAINER_ROW_SCHEMA: u16 = 1;
/// The schema in which an image's savepoint row is written at present.
pub const IMAGE_ROW_SCHEMA: u16 = 1;
/// The schema in which a volume's savepoint row is written at present.
pub const VOLUME_ROW_SCHEMA: u16 = 1;

/// A kind of event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kind {
    pub number: u16,
    pub name: &'static str,
    /// The schema number it is written with at present.
    pub schema: u16,
}

/// Makes from one table the numbers, and the enum of events in their current shapes with its encoding.
macro_rules! events {
    (
        $(#[$doc:meta])*
        $events:ident, $kinds:ident, $prefix:literal:
        $($number:literal $name:ident($shape:ident) schema $schema:literal,)*
    ) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum $events {
            $($name($shape),)*
        }

        #[doc = concat!("Every kind of [`", stringify!($events), "`].")]
        pub const $kinds: &[Kind] =
            &[$(Kind { number: $number, name: concat!($prefix, stringify!($name)), schema: $schema },)*];

        impl $events {
            /// The kind it is stored as.
            pub fn kind(&self) -> Kind {
                match self {
                    $(Self::$name(_) => {
                        Kind { number: $number, name: concat!($prefix, stringify!($name)), schema: $schema }
                    })*
                }
            }

            /// The stored bytes: context, then the event's own fields.
            pub fn encode(&self, context: &ContextV1) -> Vec<u8> {
                match self {
                    $(Self::$name(event) => codec::encode(&(context, event)),)*
                }
            }

            /// Reads bytes that `encode` made of an event of this kind, in its current shape; `None` when there is no
            /// such kind. For older shapes see `Upcasts`.
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

events! {
    /// An event of a container, in its current shape.
    ContainerEvent, CONTAINER_KINDS, "":
    1 Created(CreatedV1) schema 1,
    2 StartRequested(StartRequestedV1) schema 1,
    3 Started(StartedV1) schema 1,
    4 StartFailed(StartFailedV1) schema 1,
    5 PauseRequested(PauseRequestedV1) schema 1,
    6 Paused(PausedV1) schema 1,
    7 PauseFailed(PauseFailedV1) schema 1,
    8 ResumeRequested(ResumeRequestedV1) schema 1,
    9 Resumed(ResumedV1) schema 1,
    10 ResumeFailed(ResumeFailedV1) schema 1,
    11 StopRequested(StopRequestedV1) schema 1,
    12 Killed(KilledV1) schema 1,
    13 Exited(ExitedV1) schema 1,
    14 OomKilled(OomKilledV1) schema 1,
    15 Renamed(RenamedV1) schema 1,
    16 ShimLost(ShimLostV1) schema 1,
    17 ShimAdopted(ShimAdoptedV1) schema 1,
    18 UpdateRequested(UpdateRequestedV1) schema 1,
    19 Updated(UpdatedV1) schema 1,
    20 UpdateFailed(UpdateFailedV1) schema 1,
    21 RestartScheduled(RestartScheduledV1) schema 1,
    22 RestartCancelled(RestartCancelledV1) schema 1,
    23 HealthChanged(HealthChangedV1) schema 1,
    24 ExecStarted(ExecStartedV1) schema 1,
    25 ExecExited(ExecExitedV1) schema 1,
    26 Attached(AttachedV1) schema 1,
    27 Detached(DetachedV1) schema 1,
    28 NetworkAttached(NetworkAttachedV1) schema 1,
    29 NetworkDetached(NetworkDetachedV1) schema 1,
    30 RemoveRequested(RemoveRequestedV1) schema 1,
    31 RemoveFailed(RemoveFailedV1) schema 1,
    32 Removed(RemovedV1) schema 1,
}

events! {
    /// An event of an image, in its current shape.
    ImageEvent, IMAGE_KINDS, "Image":
    200 Pulled(ImageAddedV1) schema 1,
    201 Loaded(ImageAddedV1) schema 1,
    202 Imported(ImageAddedV1) schema 1,
    203 Tagged(ImageTaggedV1) schema 1,
    204 Untagged(ImageUntaggedV1) schema 1,
    205 Removed(ImageRemovedV1) schema 1,
}

events! {
    /// An event of a volume, in its current shape.
    VolumeEvent, VOLUME_KINDS, "Volume":
    300 Created(VolumeCreatedV1) schema 1,
    301 RemoveRequested(VolumeRemoveRequestedV1) schema 1,
    302 Removed(VolumeRemovedV1) schema 1,
}

/// Every known kind of event.
pub fn kinds() -> impl Iterator<Item = Kind> {
    [CONTAINER_KINDS, IMAGE_KINDS, VOLUME_KINDS].into_iter().flatten().copied()
}

/// The kind with this number.
pub fn kind(number: u16) -> Option<Kind> {
    kinds().find(|kind| kind.number == number)
}

/// Checks that the bytes are an event of this kind, in its current shape; `None` when there is no such kind.
pub fn check_event(kind: u16, bytes: &[u8]) -> Option<Result<(), Malformed>> {
    ContainerEvent::decode(kind, bytes)
        .map(|decoded| decoded.map(drop))
        .or_else(|| ImageEvent::decode(kind, bytes).map(|decoded| decoded.map(drop)))
        .or_else(|| VolumeEvent::decode(kind, bytes).map(|decoded| decoded.map(drop)))
}

/// The schema number that rows of this kind of stream are written with at present; `None` when there is no such kind.
pub fn row_schema(stream: u8) -> Option<u16> {
    match stream {
        CONTAINER_STREAM => Some(CONTAINER_ROW_SCHEMA),
        IMAGE_STREAM => Some(IMAGE_ROW_SCHEMA),
        VOLUME_STREAM => Some(VOLUME_ROW_SCHEMA),
        _ => None,
    }
}

/// Checks that the bytes are a row of this kind of stream, in its current shape; `None` when there is no such kind.
pub fn check_row(stream: u8, bytes: &[u8]) -> Option<Result<(), Malformed>> {
    match stream {
        CONTAINER_STREAM => Some(codec::decode::<ContainerRowV1>(bytes).map(drop)),
        IMAGE_STREAM => Some(codec::decode::<ImageRowV1>(bytes).map(drop)),
        VOLUME_STREAM => Some(codec::decode::<VolumeRowV1>(bytes).map(drop)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_unique_and_stay_in_their_ranges() {
        let numbers: Vec<_> = kinds().map(|kind| kind.number).collect();
        assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]), "{numbers:?}");
        for (kinds, range) in [(CONTAINER_KINDS, 1..100), (IMAGE_KINDS, 200..300), (VOLUME_KINDS, 300..400)] {
            assert!(!kinds.is_empty() && kinds.iter().all(|kind| range.contains(&kind.number)), "{kinds:?}");
        }
    }

    #[test]
    fn names_are_unique() {
        let names: std::collections::BTreeSet<_> = kinds().map(|kind| kind.name).collect();
        assert_eq!(names.len(), kinds().count());
    }

    #[test]
    fn an_unknown_kind_is_not_an_error_of_its_bytes() {
        assert!(ContainerEvent::decode(99, b"").is_none());
        assert!(ContainerEvent::decode(32, b"").is_some_and(|decoded| decoded.is_err()));
        assert!(check_event(99, b"").is_none() && check_row(2, b"").is_none());
        for kind in kinds() {
            assert!(check_event(kind.number, b"").is_some_and(|checked| checked.is_err()), "{kind:?}");
        }
    }

    #[test]
    fn every_kind_of_row_has_a_schema_and_a_shape() {
        for stream in 0..=u8::MAX {
            assert_eq!(row_schema(stream).is_some(), check_row(stream, b"").is_some(), "{stream}");
        }
    }
}
