//! Images that our code had no part in: made by GNU tar, `umoci` and `skopeo`, or by hand.

mod gallery;
mod layout;
mod tape;

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::command::tool;

pub use gallery::{BASIC, CROWD, DEEP, ODD, scratch};
pub use layout::{
    Layout, OCI_CONFIG, OCI_INDEX, OCI_LAYER, OCI_LAYER_GZIP, OCI_MANIFEST, architecture, descriptor, digest,
};
pub use tape::{Entry, Tape, pack};

/// An image in an OCI layout.
#[derive(Debug, Clone)]
pub struct Image {
    layout: PathBuf,
    tag: String,
}

impl Image {
    pub fn new(layout: PathBuf, tag: &str) -> Self {
        Self { layout, tag: tag.to_owned() }
    }

    /// An image without layers or settings, in a new layout.
    pub fn empty(layout: &Path) -> Self {
        let image = Self::new(layout.to_owned(), "it");
        tool(&["umoci", "init", "--layout", &layout.display().to_string()]);
        tool(&["umoci", "new", "--image", &image.place()]);
        image
    }

    /// Adds a layer: an uncompressed archive as it is. It is kept with gzip.
    #[must_use]
    pub fn layer(self, archive: &Path) -> Self {
        tool(&["umoci", "raw", "add-layer", "--image", &self.place(), &archive.display().to_string()]);
        self
    }

    /// The same with an archive in memory.
    #[must_use]
    pub fn tape(self, archive: &[u8]) -> Self {
        let file = self.layout.with_extension("layer");
        fs::write(&file, archive).expect("the directory is ours");
        let image = self.layer(&file);
        fs::remove_file(&file).expect("it is there");
        image
    }

    /// Changes settings, with the flags of `umoci config`.
    #[must_use]
    pub fn config(self, flags: &[&str]) -> Self {
        let place = self.place();
        tool(&[&["umoci", "config", "--image", &place], flags].concat());
        self
    }

    /// As umoci names it.
    fn place(&self) -> String {
        format!("{}:{}", self.layout.display(), self.tag)
    }

    /// As skopeo names it.
    pub fn source(&self) -> String {
        format!("oci:{}", self.place())
    }

    pub fn layout(&self) -> &Path {
        &self.layout
    }

    fn blob(&self, digest: &Value) -> Vec<u8> {
        let hex = digest.as_str().and_then(|text| text.strip_prefix("sha256:")).expect("digests are of sha256");
        fs::read(self.layout.join("blobs/sha256").join(hex)).expect("the layout is whole")
    }

    fn json(bytes: &[u8]) -> Value {
        serde_json::from_slice(bytes).expect("a layout's documents are JSON")
    }

    /// The digest of its manifest.
    pub fn digest(&self) -> String {
        let index = Self::json(&fs::read(self.layout.join("index.json")).expect("the layout is whole"));
        let manifests = index["manifests"].as_array().expect("an index has manifests");
        let named = manifests.iter().find(|it| it["annotations"]["org.opencontainers.image.ref.name"] == self.tag);
        named.and_then(|it| it["digest"].as_str()).expect("the tag is in the index").to_owned()
    }

    pub fn manifest(&self) -> Value {
        Self::json(&self.blob(&self.digest().into()))
    }

    /// Its id: the digest of its configuration.
    pub fn id(&self) -> String {
        self.manifest()["config"]["digest"].as_str().expect("a manifest has a configuration").to_owned()
    }

    /// Its configuration.
    pub fn configuration(&self) -> Value {
        Self::json(&self.blob(&self.manifest()["config"]["digest"]))
    }

    /// The digests of its layers as they are kept, and their sizes.
    pub fn layers(&self) -> Vec<(String, u64)> {
        let manifest = self.manifest();
        let layers = manifest["layers"].as_array().expect("a manifest has layers").iter();
        let facts = |layer: &Value| (layer["digest"].as_str().unwrap_or_default().to_owned(), layer["size"].as_u64());
        layers.map(facts).map(|(digest, size)| (digest, size.unwrap_or(0))).collect()
    }

    /// Unpacks it with umoci: the root filesystem is `dir` itself, which must not exist.
    pub fn unpack(&self, dir: &Path) {
        tool(&["umoci", "raw", "unpack", "--image", &self.place(), &dir.display().to_string()]);
    }

    /// Copies it to another of skopeo's places.
    pub fn copy(&self, target: &str, flags: &[&str]) {
        let words = ["skopeo", "copy", "--quiet", "--insecure-policy"];
        tool(&[&words[..], flags, &[&self.source(), target]].concat());
    }
}
