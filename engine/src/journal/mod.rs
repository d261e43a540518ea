//! The journal as the engine sees it: events of containers, not bytes.

pub mod record;
