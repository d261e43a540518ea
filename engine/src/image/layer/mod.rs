//! Layers: from a tar stream to a directory that an overlay can be made of, and back.
// STUB, not committed
use crate::domain::id::Digest;
#[derive(Debug, Clone)]
pub struct Facts {
    pub diff_id: Digest,
    pub tar_size: u64,
    pub size: u64,
    pub entries: u64,
}
#[derive(Debug, thiserror::Error)]
pub enum LayerError {
    #[error("stub")]
    Stub,
    #[error("stopped")]
    Stopped,
}
#[derive(Debug, Clone, Default)]
pub struct Limits {
    pub bytes: u64,
    pub entries: u64,
    pub ratio: u64,
    pub ratio_floor: u64,
}
pub struct Unpacked {
    pub facts: Facts,
    pub source: (Digest, u64),
}
pub fn read_facts(_dir: &std::path::Path) -> Result<Facts, LayerError> {
    Err(LayerError::Stub)
}
pub fn unpack(
    _s: impl std::io::Read,
    _d: &std::path::Path,
    _l: &Limits,
    _stop: &dyn Fn() -> bool,
) -> Result<Unpacked, LayerError> {
    Err(LayerError::Stub)
}
pub fn assemble(_d: &std::path::Path, _o: impl std::io::Write) -> Result<(Digest, u64), LayerError> {
    Err(LayerError::Stub)
}
