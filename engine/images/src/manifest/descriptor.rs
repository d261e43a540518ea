//! Descriptors: the media type, digest and length of some content.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{ManifestError, Platform, json};
use engine_domain::id::Digest;

/// A claim on content that is somewhere else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Descriptor {
    pub media_type: String,
    pub digest: Digest,
    pub size: u64,
    /// In an index: for which platform the image is.
    pub platform: Option<Platform>,
    pub annotations: BTreeMap<String, String>,
}

/// A layer of a manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    pub descriptor: Descriptor,
    pub format: LayerFormat,
}

/// How a layer's tar is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LayerFormat {
    Tar,
    Gzip,
    Zstd,
}

impl LayerFormat {
    /// The format and whether the content is kept outside of registries; none for a media type that is no layer's.
    fn of(media_type: &str) -> Option<(Self, bool)> {
        const BASES: [(&str, &str, bool); 4] = [
            ("application/vnd.oci.image.layer.v1.tar", "+", false),
            ("application/vnd.docker.image.rootfs.diff.tar", ".", false),
            ("application/vnd.oci.image.layer.nondistributable.v1.tar", "+", true),
            ("application/vnd.docker.image.rootfs.foreign.diff.tar", ".", true),
        ];
        BASES.iter().find_map(|(base, separator, foreign)| {
            let format = match media_type.strip_prefix(base)? {
                "" => Self::Tar,
                suffix => match suffix.strip_prefix(separator)? {
                    "gzip" => Self::Gzip,
                    "zstd" => Self::Zstd,
                    _ => return None,
                },
            };
            Some((format, *foreign))
        })
    }
}

impl Descriptor {
    /// Content that is at hand.
    pub fn of(media_type: &str, bytes: &[u8]) -> Self {
        Self::new(media_type, super::digest_of(bytes), bytes.len() as u64)
    }

    pub fn new(media_type: &str, digest: Digest, size: u64) -> Self {
        Self { media_type: media_type.to_owned(), digest, size, platform: None, annotations: BTreeMap::new() }
    }
}

/// As written; every field may be absent here, and is asked for where it is needed.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Raw {
    #[serde(rename = "mediaType", default, deserialize_with = "json::or_default")]
    pub media_type: String,
    #[serde(default, deserialize_with = "json::or_default")]
    digest: String,
    size: Option<i64>,
    platform: Option<super::platform::Raw>,
    #[serde(default, deserialize_with = "json::map")]
    annotations: BTreeMap<String, String>,
    #[serde(default, deserialize_with = "json::or_default")]
    urls: Vec<String>,
}

impl Raw {
    pub(super) fn check(self, document: &'static str, role: &str) -> Result<Descriptor, ManifestError> {
        let invalid = |problem| ManifestError::Invalid { what: document, problem };
        let digest = self
            .digest
            .parse()
            .map_err(|_| invalid(format!("digest `{}` of {role} is not a sha256 digest", cut(&self.digest))))?;
        let size = self.size.ok_or_else(|| invalid(format!("{role} has no size")))?;
        let size = u64::try_from(size).map_err(|_| invalid(format!("the size of {role} is {size}")))?;
        let platform = self.platform.map(super::platform::Raw::into);
        Ok(Descriptor { media_type: self.media_type, digest, size, platform, annotations: self.annotations })
    }

    pub(super) fn check_layer(self, number: usize) -> Result<Layer, ManifestError> {
        let elsewhere = !self.urls.is_empty();
        let descriptor = self.check("manifest", &format!("layer {number}"))?;
        let Some((format, foreign)) = LayerFormat::of(&descriptor.media_type) else {
            return Err(ManifestError::UnknownMediaType { what: "layer", media_type: cut(&descriptor.media_type) });
        };
        if foreign && elsewhere {
            return Err(ManifestError::ForeignLayer { digest: descriptor.digest, media_type: descriptor.media_type });
        }
        Ok(Layer { descriptor, format })
    }
}

/// Foreign text in an error: a line of it.
pub(super) fn cut(text: &str) -> String {
    text.chars().take(120).collect()
}
