//! The image of a pod's own container: the daemon's pause program, built in, so that a pod starts without a pull.
//!
//! It is the same for the same program, byte for byte: so is its id, on every machine.

use serde_json::json;
use sha2::Digest as _;

use crate::domain::id::Digest;

/// A request for this name gets the image, though it was never pulled.
pub(crate) const REFERENCE: &str = "localhost/isulad-pause:1";

/// Built from `engine/pause` by the build script.
static PROGRAM: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/isulad-pause"));

const EPOCH: &str = "1970-01-01T00:00:00Z";

/// The documents and the layer of the image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PauseImage {
    /// The only layer, an uncompressed tar, and its digest.
    pub layer: Vec<u8>,
    pub diff_id: Digest,
    /// Its digest is the image's id.
    pub config: Vec<u8>,
    pub manifest: Vec<u8>,
}

/// The whole image.
pub(crate) fn pause_image() -> PauseImage {
    let layer = pause_layer_tar();
    let diff_id = digest(&layer);
    let config = config(&diff_id);
    let manifest = manifest(&config, &layer, &diff_id);
    PauseImage { layer, diff_id, config, manifest }
}

/// `/pause`, root's, and nothing else.
pub(crate) fn pause_layer_tar() -> Vec<u8> {
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(tar::EntryType::Regular);
    header.set_mode(0o755);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(PROGRAM.len() as u64);
    let mut archive = tar::Builder::new(Vec::new());
    archive
        .append_data(&mut header, "pause", PROGRAM)
        .and_then(|()| archive.into_inner())
        .expect("memory can be written to, and the name is short")
}

fn config(diff_id: &Digest) -> Vec<u8> {
    let config = json!({
        "created": EPOCH,
        "architecture": architecture(),
        "os": "linux",
        "config": { "Entrypoint": ["/pause"], "WorkingDir": "/" },
        "rootfs": { "type": "layers", "diff_ids": [diff_id.to_string()] },
        "history": [{ "created": EPOCH, "created_by": "isulad", "comment": "built in" }],
    });
    config.to_string().into_bytes()
}

fn manifest(config: &[u8], layer: &[u8], diff_id: &Digest) -> Vec<u8> {
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {
            "mediaType": "application/vnd.oci.image.config.v1+json",
            "digest": digest(config).to_string(),
            "size": config.len(),
        },
        "layers": [{
            "mediaType": "application/vnd.oci.image.layer.v1.tar",
            "digest": diff_id.to_string(),
            "size": layer.len(),
        }],
    });
    manifest.to_string().into_bytes()
}

/// As images call it.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn digest(bytes: &[u8]) -> Digest {
    Digest(sha2::Sha256::digest(bytes).into())
}

#[cfg(test)]
#[path = "pause_tests.rs"]
mod tests;
