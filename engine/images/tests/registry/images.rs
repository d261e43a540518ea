//! Images to push: OCI layouts.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::process::Command;

use engine_domain::id::Digest;
use engine_images::manifest::document::{OCI_CONFIG, OCI_INDEX, OCI_MANIFEST};
use engine_images::manifest::{Platform, digest_of};
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};

const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// A layout with one image named `image` for each architecture, all below one index.
pub(crate) struct Layout {
    dir: tempfile::TempDir,
    /// By digest.
    pub blobs: BTreeMap<Digest, Vec<u8>>,
    /// Of each architecture: config and layer.
    pub images: BTreeMap<String, (Digest, Digest)>,
}

impl Layout {
    /// Layers have at least `size` bytes, also when compressed.
    pub(crate) fn new(architectures: &[&str], size: usize) -> Self {
        let mut layout = Self { dir: tempfile::tempdir().unwrap(), blobs: BTreeMap::new(), images: BTreeMap::new() };
        let manifests: Vec<Value> =
            architectures.iter().map(|architecture| layout.add_image(architecture, size)).collect();
        let mut index = json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": manifests });
        if architectures.len() > 1 {
            let whole = layout.add(OCI_INDEX, index.to_string().into_bytes());
            index["manifests"] = json!([whole]);
        }
        index["manifests"][0]["annotations"] = json!({ "org.opencontainers.image.ref.name": "image" });
        std::fs::write(layout.dir.path().join("index.json"), index.to_string()).unwrap();
        std::fs::write(layout.dir.path().join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
        layout
    }

    /// One image for this machine.
    pub(crate) fn single(size: usize) -> Self {
        Self::new(&[&Platform::host().architecture], size)
    }

    /// `skopeo copy` to `address/name`, with further arguments.
    pub(crate) fn push(&self, name: &str, arguments: &[&str]) {
        let from = format!("oci:{}:image", self.dir.path().display());
        let mut skopeo = Command::new("skopeo");
        skopeo.args(["--insecure-policy", "copy", "--all", "--quiet"]).args(arguments);
        super::run(skopeo.arg(from).arg(format!("docker://{name}")));
    }

    fn add_image(&mut self, architecture: &str, size: usize) -> Value {
        let tar = tar(architecture, size);
        let diff_id = digest_of(&tar);
        let mut gzip = GzEncoder::new(Vec::new(), Compression::none());
        gzip.write_all(&tar).unwrap();
        let layer = self.add(LAYER, gzip.finish().unwrap());
        let config = json!({
            "architecture": architecture, "os": "linux", "config": { "Cmd": ["/hello"] },
            "rootfs": { "type": "layers", "diff_ids": [diff_id.to_string()] },
        });
        let config = self.add(OCI_CONFIG, config.to_string().into_bytes());
        let of = |descriptor: &Value| descriptor["digest"].as_str().unwrap().parse().unwrap();
        self.images.insert(architecture.to_owned(), (of(&config), of(&layer)));
        let manifest = json!({ "schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": [layer] });
        let mut descriptor = self.add(OCI_MANIFEST, manifest.to_string().into_bytes());
        descriptor["platform"] = json!({ "architecture": architecture, "os": "linux" });
        descriptor
    }

    fn add(&mut self, media_type: &str, bytes: Vec<u8>) -> Value {
        let digest = digest_of(&bytes);
        let dir = self.dir.path().join("blobs/sha256");
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(dir.join(hex(&digest)), &bytes).unwrap();
        let descriptor = json!({ "mediaType": media_type, "digest": digest.to_string(), "size": bytes.len() });
        self.blobs.insert(digest, bytes);
        descriptor
    }
}

fn hex(digest: &Digest) -> String {
    digest.to_string().trim_start_matches("sha256:").to_owned()
}

/// One file of bytes that cannot be compressed.
fn tar(seed: &str, size: usize) -> Vec<u8> {
    let mut state = seed.bytes().fold(0x9E37_79B9_7F4A_7C15_u64, |state, byte| state.rotate_left(8) ^ u64::from(byte));
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    // Repeated at a distance at which compression does not see it.
    const BLOCK: usize = 256 << 10;
    let block: Vec<u8> = std::iter::repeat_with(next).take(size.min(BLOCK) / 8 + 1).flatten().collect();
    let content = block.repeat(size / block.len() + 1);
    let mut header = tar::Header::new_gnu();
    header.set_size(content.len() as u64);
    header.set_mode(0o755);
    let mut builder = tar::Builder::new(Vec::new());
    builder.append_data(&mut header, Path::new("hello"), content.as_slice()).unwrap();
    builder.into_inner().unwrap()
}
