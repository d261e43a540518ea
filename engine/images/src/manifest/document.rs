//! Manifests and indexes of both spellings, docker's and OCI's.

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::descriptor::{Raw as RawDescriptor, cut};
use super::{Descriptor, LAYERS_LIMIT, Layer, MANIFEST_LIMIT, ManifestError, check_length, json};

pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
pub const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
pub const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
const SCHEMA1: &str = "application/vnd.docker.distribution.manifest.v1+";

/// A document that a name can stand for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Document {
    Index(Index),
    Manifest(Manifest),
}

/// One name for images of several platforms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Index {
    pub media_type: String,
    pub manifests: Vec<Descriptor>,
}

/// One image: a config and layers, bottom first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    pub media_type: String,
    pub config: Descriptor,
    pub layers: Vec<Layer>,
}

impl Document {
    /// `media_type` comes from outside the bytes: from a registry's header or a descriptor. It may be vague
    /// (`None`, `application/json` and the like), but must not contradict the document.
    pub fn parse(bytes: &[u8], media_type: Option<&str>) -> Result<Self, ManifestError> {
        check_length("manifest", bytes, MANIFEST_LIMIT)?;
        let outside = media_type.map(essence).filter(|text| !is_vague(text));
        if outside.as_deref().is_some_and(|text| text.starts_with(SCHEMA1)) {
            return Err(ManifestError::Schema1);
        }
        let raw: Raw =
            serde_json::from_slice(bytes).map_err(|source| ManifestError::Json { what: "manifest", source })?;
        if raw.fs_layers.is_some() || raw.schema_version == Some(1) || raw.media_type.starts_with(SCHEMA1) {
            return Err(ManifestError::Schema1);
        }
        if raw.schema_version != Some(2) {
            return Err(invalid("its schemaVersion is not 2"));
        }
        let kind = raw.kind()?;
        let media_type = raw.media_type(kind, outside)?;
        match kind {
            Kind::Index => raw.into_index(media_type).map(Self::Index),
            Kind::Manifest => raw.into_manifest(media_type).map(Self::Manifest),
        }
    }

    pub fn media_type(&self) -> &str {
        match self {
            Self::Index(index) => &index.media_type,
            Self::Manifest(manifest) => &manifest.media_type,
        }
    }
}

/// Whether this is the media type of a manifest or an index, the documents that an index may point to.
pub fn is_document(media_type: &str) -> bool {
    Kind::of(media_type).is_some()
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Index,
    Manifest,
}

impl Kind {
    fn of(media_type: &str) -> Option<Self> {
        match media_type {
            OCI_INDEX | DOCKER_LIST => Some(Self::Index),
            OCI_MANIFEST | DOCKER_MANIFEST => Some(Self::Manifest),
            _ => None,
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Raw {
    schema_version: Option<i64>,
    #[serde(default, deserialize_with = "json::or_default")]
    media_type: String,
    config: Option<RawDescriptor>,
    layers: Option<Vec<RawDescriptor>>,
    manifests: Option<Vec<RawDescriptor>>,
    fs_layers: Option<IgnoredAny>,
}

impl Raw {
    fn kind(&self) -> Result<Kind, ManifestError> {
        let manifest = self.layers.is_some() || self.config.is_some();
        match (&self.manifests, manifest) {
            (Some(_), true) => Err(invalid("it is both a manifest and an index")),
            (Some(_), false) => Ok(Kind::Index),
            (None, true) => Ok(Kind::Manifest),
            // An index without `manifests` and a manifest without anything are distinguished by their media types.
            (None, false) => match Kind::of(&self.media_type) {
                Some(Kind::Index) => Err(invalid("it has no manifests")),
                Some(Kind::Manifest) => Err(invalid("it has neither config nor layers")),
                None if self.media_type.is_empty() => Err(invalid("it is neither a manifest nor an index")),
                None => Err(unknown(&self.media_type)),
            },
        }
    }

    fn media_type(&self, kind: Kind, outside: Option<String>) -> Result<String, ManifestError> {
        let inside = Some(self.media_type.clone()).filter(|text| !text.is_empty());
        for text in [&inside, &outside].into_iter().flatten() {
            match Kind::of(text) {
                None => return Err(unknown(text)),
                Some(said) if said != kind => return Err(invalid(&format!("its content is not of type `{text}`"))),
                Some(_) => {}
            }
        }
        match (inside, outside) {
            (Some(inside), Some(outside)) if inside != outside => {
                Err(invalid(&format!("it is `{inside}` by its own media type and was sent as `{outside}`")))
            }
            (Some(media_type), _) | (None, Some(media_type)) => Ok(media_type),
            (None, None) => Ok(match kind {
                Kind::Index => OCI_INDEX.to_owned(),
                Kind::Manifest => OCI_MANIFEST.to_owned(),
            }),
        }
    }

    fn into_index(self, media_type: String) -> Result<Index, ManifestError> {
        let entries = self.manifests.unwrap_or_default().into_iter().enumerate();
        let manifests = entries.map(|(number, entry)| entry.check("index", &format!("manifest {number}")));
        Ok(Index { media_type, manifests: manifests.collect::<Result<_, _>>()? })
    }

    fn into_manifest(self, media_type: String) -> Result<Manifest, ManifestError> {
        let config = self.config.ok_or_else(|| invalid("it has no config"))?;
        if !is_config(&essence(&config.media_type)) {
            return Err(ManifestError::NotAnImage { media_type: cut(&config.media_type) });
        }
        let config = config.check("manifest", "the config")?;
        let layers = self.layers.unwrap_or_default();
        if layers.len() > LAYERS_LIMIT {
            return Err(ManifestError::TooManyLayers { layers: layers.len() });
        }
        let layers = layers.into_iter().enumerate().map(|(number, layer)| layer.check_layer(number));
        Ok(Manifest { media_type, config, layers: layers.collect::<Result<_, _>>()? })
    }
}

/// Old tools and registries gave the config of an image a vague media type, or none; other content of such a type is
/// refused when it is read. Newer kinds of content always have a type of their own.
fn is_config(media_type: &str) -> bool {
    matches!(media_type, OCI_CONFIG | DOCKER_CONFIG | "text/html") || is_vague(media_type)
}

/// A content type without its parameters.
fn essence(header: &str) -> String {
    header.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// Servers that do not know the media type send one of these.
fn is_vague(media_type: &str) -> bool {
    matches!(media_type, "" | "application/json" | "text/plain" | "application/octet-stream" | "binary/octet-stream")
}

fn invalid(problem: &str) -> ManifestError {
    ManifestError::Invalid { what: "manifest", problem: problem.to_owned() }
}

fn unknown(media_type: &str) -> ManifestError {
    ManifestError::UnknownMediaType { what: "manifest", media_type: cut(media_type) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(config: &str) -> Result<Document, ManifestError> {
        let digest = format!("sha256:{}", "a".repeat(64));
        let config = serde_json::json!({"mediaType":config,"digest":digest,"size":7});
        let manifest = serde_json::json!({"schemaVersion":2,"mediaType":DOCKER_MANIFEST,"config":config,"layers":[]});
        Document::parse(manifest.to_string().as_bytes(), Some(DOCKER_MANIFEST))
    }

    #[test]
    fn configs_of_old_images_have_vague_types_or_none() {
        for media_type in [
            OCI_CONFIG,
            DOCKER_CONFIG,
            "application/octet-stream",
            "application/json",
            "application/json; charset=utf-8",
            "text/html",
            "",
        ] {
            assert!(matches!(parsed(media_type), Ok(Document::Manifest(_))), "{media_type}");
        }
        for media_type in [
            "application/vnd.docker.plugin.v1+json",
            "application/vnd.cncf.helm.config.v1+json",
            "application/vnd.oci.empty.v1+json",
        ] {
            let problem = parsed(media_type).unwrap_err().to_string();
            assert!(problem.contains("it is not an image") && problem.contains(media_type), "{problem}");
        }
    }
}
