//! Volumes: directories with data that outlive containers.

pub mod records;

use records::Records;

/// The volumes of the engine.
#[derive(Debug, Default)]
pub struct Volumes {
    pub records: Records,
}
