//! Platforms, and the choice of an image for one.

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;

use super::document::is_document;
use super::{Descriptor, Index, ManifestError};

/// The platform that an image runs on, in the words of the Go world (`amd64`, not `x86_64`).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Platform {
    pub os: String,
    pub architecture: String,
    pub variant: Option<String>,
}

/// The text is not `os/architecture[/variant]`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a platform: write `linux/amd64` or `linux/arm64/v8`")]
pub struct InvalidPlatform(pub String);

impl Platform {
    /// In canonical spelling.
    pub fn new(os: &str, architecture: &str, variant: Option<&str>) -> Self {
        let os = os.to_ascii_lowercase();
        let architecture = architecture.to_ascii_lowercase();
        let variant = variant.map(str::to_ascii_lowercase).filter(|variant| !variant.is_empty());
        let (architecture, variant) = match (architecture.as_str(), variant.as_deref()) {
            ("x86_64" | "x86-64" | "amd64", None | Some("v1")) => ("amd64", None),
            ("x86_64" | "x86-64", Some(_)) => ("amd64", variant),
            ("i386" | "i486" | "i586" | "i686", _) => ("386", variant),
            ("aarch64" | "arm64", None | Some("8" | "v8")) => ("arm64", Some("v8".to_owned())),
            ("aarch64", Some(_)) => ("arm64", variant),
            ("armhf" | "armv7l" | "armv7", _) | ("arm", None | Some("" | "7")) => ("arm", Some("v7".to_owned())),
            ("armel" | "armv6l" | "armv6", _) | ("arm", Some("6")) => ("arm", Some("v6".to_owned())),
            ("arm", Some("5")) => ("arm", Some("v5".to_owned())),
            ("arm", Some("8")) => ("arm", Some("v8".to_owned())),
            (_, _) => (architecture.as_str(), variant),
        };
        Self { os, architecture: architecture.to_owned(), variant }
    }

    /// The platform of this machine.
    pub fn host() -> Self {
        let architecture = match std::env::consts::ARCH {
            "x86" => "386",
            "powerpc64" if cfg!(target_endian = "little") => "ppc64le",
            "loongarch64" => "loong64",
            other => other,
        };
        Self::new("linux", architecture, None)
    }

    /// How well an image for `offered` serves here: the smaller the better, none if not at all. Variants of arm and
    /// amd64 run programs for smaller ones.
    fn rank(&self, offered: &Self) -> Option<u32> {
        if (&self.os, &self.architecture) != (&offered.os, &offered.architecture) {
            return None;
        }
        if self.variant == offered.variant {
            return Some(0);
        }
        if !matches!(self.architecture.as_str(), "amd64" | "arm" | "arm64") {
            // An image without a variant is for all.
            return offered.variant.is_none().then_some(1);
        }
        let level = |platform: &Self| match &platform.variant {
            None => Some(1),
            Some(variant) => variant.strip_prefix('v')?.parse::<u32>().ok().filter(|level| *level < 100),
        };
        level(self)?.checked_sub(level(offered)?)
    }

    /// The entry of an index that serves this platform best, the first of equals. Attestations and other entries that
    /// are no images are passed over. A single entry without a platform is taken as it is.
    pub fn choose<'a>(&self, index: &'a Index) -> Result<&'a Descriptor, ManifestError> {
        let images: Vec<&Descriptor> = index.manifests.iter().filter(|entry| is_image(entry)).collect();
        if let [only] = images.as_slice()
            && only.platform.is_none()
        {
            return Ok(only);
        }
        let ranked = images.iter().filter_map(|entry| Some((self.rank(entry.platform.as_ref()?)?, *entry)));
        ranked.min_by_key(|(rank, _)| *rank).map(|(_, entry)| entry).ok_or_else(|| self.missing(&images))
    }

    fn missing(&self, images: &[&Descriptor]) -> ManifestError {
        const SHOWN: usize = 20;
        let platforms = images.iter().filter_map(|entry| entry.platform.as_ref());
        let mut names: Vec<String> = platforms.take(SHOWN).map(Self::to_string).collect();
        names.dedup();
        let available = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        ManifestError::NoPlatform { wanted: self.clone(), available }
    }
}

fn is_image(entry: &Descriptor) -> bool {
    let unknown = entry.platform.as_ref().is_some_and(|platform| platform.os == "unknown");
    let attests = entry.annotations.contains_key("vnd.docker.reference.type");
    is_document(&entry.media_type) && !unknown && !attests
}

impl FromStr for Platform {
    type Err = InvalidPlatform;

    fn from_str(text: &str) -> Result<Self, InvalidPlatform> {
        let parts: Vec<&str> = text.split('/').collect();
        let word = |part: &&str| {
            !part.is_empty()
                && part.len() <= 32
                && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'))
        };
        match parts.as_slice() {
            [os, architecture] if parts.iter().all(word) => Ok(Self::new(os, architecture, None)),
            [os, architecture, variant] if parts.iter().all(word) => Ok(Self::new(os, architecture, Some(variant))),
            _ => Err(InvalidPlatform(text.chars().take(100).collect())),
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        self.variant.as_ref().map_or(Ok(()), |variant| write!(f, "/{variant}"))
    }
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct Raw {
    #[serde(default, deserialize_with = "super::json::or_default")]
    os: String,
    #[serde(default, deserialize_with = "super::json::or_default")]
    architecture: String,
    variant: Option<String>,
}

impl From<Raw> for Platform {
    fn from(raw: Raw) -> Self {
        Self::new(
            &super::descriptor::cut(&raw.os),
            &super::descriptor::cut(&raw.architecture),
            raw.variant.as_deref().map(super::descriptor::cut).as_deref(),
        )
    }
}
