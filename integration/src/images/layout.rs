//! OCI layouts written by hand, with contents that no tool would write.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::Image;

pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
pub const OCI_LAYER_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// `sha256:<hex>`
pub fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

/// A blob's descriptor.
pub fn descriptor(media_type: &str, bytes: &[u8]) -> Value {
    json!({"mediaType": media_type, "digest": digest(bytes), "size": bytes.len()})
}

/// A layout's directory.
#[derive(Debug, Clone)]
pub struct Layout {
    dir: PathBuf,
}

impl Layout {
    pub fn new(dir: &Path) -> Self {
        fs::create_dir_all(dir.join("blobs/sha256")).expect("the directory is the test's");
        fs::write(dir.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).expect("it is ours");
        let layout = Self { dir: dir.to_owned() };
        layout.index(&[]);
        layout
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Stores bytes and describes them.
    pub fn blob(&self, media_type: &str, bytes: &[u8]) -> Value {
        let descriptor = descriptor(media_type, bytes);
        fs::write(self.blob_file(descriptor["digest"].as_str().unwrap_or_default()), bytes).expect("it is ours");
        descriptor
    }

    pub fn json(&self, media_type: &str, value: &Value) -> Value {
        self.blob(media_type, value.to_string().as_bytes())
    }

    pub fn blob_file(&self, digest: &str) -> PathBuf {
        self.dir.join("blobs/sha256").join(digest.trim_start_matches("sha256:"))
    }

    /// A manifest for uncompressed layers with this configuration, to which it adds the required keys. Returns its
    /// descriptor.
    pub fn image(&self, config: &Value, layers: &[Vec<u8>]) -> Value {
        let mut config = config.clone();
        let set = |config: &mut Value, key: &str, value: Value| {
            if config[key].is_null() {
                config[key] = value;
            }
        };
        set(&mut config, "architecture", architecture().into());
        set(&mut config, "os", "linux".into());
        let diff_ids: Vec<String> = layers.iter().map(|layer| digest(layer)).collect();
        set(&mut config, "rootfs", json!({"type": "layers", "diff_ids": diff_ids}));
        let platform = json!({"architecture": config["architecture"], "os": config["os"]});
        let config = self.json(OCI_CONFIG, &config);
        let layers: Vec<Value> = layers.iter().map(|layer| self.blob(OCI_LAYER, layer)).collect();
        let mut described = self.manifest(&config, &layers);
        described["platform"] = platform;
        described
    }

    /// A manifest of these descriptors. Describes it.
    pub fn manifest(&self, config: &Value, layers: &[Value]) -> Value {
        let manifest = json!({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": layers});
        self.json(OCI_MANIFEST, &manifest)
    }

    /// An index of manifests. Describes it.
    pub fn nested(&self, manifests: &[Value]) -> Value {
        let index = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": manifests});
        self.json(OCI_INDEX, &index)
    }

    /// Writes `index.json`: each with its name, or none.
    pub fn index(&self, manifests: &[(Option<&str>, Value)]) {
        let named = manifests.iter().map(|(name, descriptor)| {
            let mut descriptor = descriptor.clone();
            if let Some(name) = name {
                descriptor["annotations"] = json!({"org.opencontainers.image.ref.name": name});
            }
            descriptor
        });
        let index = json!({"schemaVersion": 2, "manifests": named.collect::<Vec<_>>()});
        fs::write(self.dir.join("index.json"), index.to_string()).expect("it is ours");
    }

    /// The image of one manifest.
    pub fn single(self, manifest: Value) -> Image {
        self.index(&[(Some("it"), manifest)]);
        Image::new(self.dir, "it")
    }
}

/// As images call this machine's.
pub fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}
