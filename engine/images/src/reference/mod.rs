//! Names of images.
//!
//! A name is kept whole (`docker.io/library/busybox:latest`) and shown short (`busybox:latest`). The rules are those
//! that people know from docker: the first component is a registry if it looks like a host, everything else is on
//! docker.io, where names of one component are in `library`.

mod check;
#[cfg(test)]
mod tests;

use std::fmt;
use std::str::FromStr;

use engine_domain::id::Digest;

pub(super) use check::host as check_host;

/// The registry of names that name none.
pub const DEFAULT_REGISTRY: &str = "docker.io";
const OTHER_NAME_OF_DEFAULT: &str = "index.docker.io";
const DEFAULT_NAMESPACE: &str = "library/";
const DEFAULT_TAG: &str = "latest";
/// Far above any name that can be valid; a longer one is not looked at.
const LONGEST: usize = 1024;

/// A valid name of an image, whole. It has a tag, a digest or both.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reference {
    registry: String,
    repository: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

/// The text is not a name of an image.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not the name of an image: {problem}")]
pub struct ReferenceError {
    /// Cut where it is longer than a line.
    pub text: String,
    pub problem: String,
}

impl Reference {
    /// Host and perhaps port: `docker.io`, `localhost:5000`, `[::1]:5000`.
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// The path below the registry: `library/busybox`.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// Registry and repository without tag or digest: `docker.io/library/busybox`.
    pub fn repository_name(&self) -> String {
        format!("{}/{}", self.registry, self.repository)
    }

    /// The same repository by digest alone.
    pub fn with_digest(&self, digest: Digest) -> Self {
        Self { tag: None, digest: Some(digest), ..self.clone() }
    }

    /// The same name by its tag alone; none if it has only a digest.
    pub fn tagged(&self) -> Option<Self> {
        self.tag.as_ref()?;
        Some(Self { digest: None, ..self.clone() })
    }

    /// The short form: without `docker.io/` and `library/`.
    pub fn familiar(&self) -> String {
        format!("{}{}", self.familiar_name(), Suffix(self))
    }

    /// `familiar()` without tag and digest: the column REPOSITORY of a list.
    pub fn familiar_name(&self) -> String {
        if self.registry != DEFAULT_REGISTRY {
            return self.repository_name();
        }
        match self.repository.strip_prefix(DEFAULT_NAMESPACE) {
            // More components than one: without `library/` it would name something else.
            Some(name) if !name.contains('/') => name.to_owned(),
            _ if self.repository.contains('/') && !check::is_host_like(first_component(&self.repository)) => {
                self.repository.clone()
            }
            _ => self.repository_name(),
        }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}{}", self.registry, self.repository, Suffix(self))
    }
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        parse(text).map_err(|problem| ReferenceError { text: shown(text), problem })
    }
}

struct Suffix<'a>(&'a Reference);

impl fmt::Display for Suffix<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(tag) = &self.0.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.0.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

fn parse(text: &str) -> Result<Reference, String> {
    if text.is_empty() {
        return Err("it is empty".to_owned());
    }
    if text.len() > LONGEST {
        return Err(format!("it is {} bytes long", text.len()));
    }
    let (name, digest) = match text.split_once('@') {
        Some((name, digest)) => (name, Some(check::digest(digest)?)),
        None => (text, None),
    };
    let (registry, path) = match name.split_once('/') {
        Some((first, rest)) if check::is_host_like(first) => (first, rest),
        Some(_) | None => (DEFAULT_REGISTRY, name),
    };
    // A colon left of a slash cannot begin a tag; `check::repository` then complains about it.
    let (repository, tag) = match path.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => (repository, Some(check::tag(tag)?)),
        Some(_) | None => (path, None),
    };
    check::host(registry)?;
    let registry = if registry == OTHER_NAME_OF_DEFAULT { DEFAULT_REGISTRY } else { registry };
    let official = registry == DEFAULT_REGISTRY && !repository.contains('/');
    if registry == DEFAULT_REGISTRY && check::is_id(repository.trim_start_matches(DEFAULT_NAMESPACE)) {
        return Err("64 hexadecimal digits are an id, which no repository can be named".to_owned());
    }
    let repository = if official { format!("{DEFAULT_NAMESPACE}{repository}") } else { repository.to_owned() };
    check::repository(&repository, official)?;
    let tag = match (tag, &digest) {
        (None, None) => Some(DEFAULT_TAG.to_owned()),
        (tag, _) => tag.map(str::to_owned),
    };
    Ok(Reference { registry: registry.to_owned(), repository, tag, digest })
}

fn first_component(path: &str) -> &str {
    path.split_once('/').map_or(path, |(first, _)| first)
}

fn shown(text: &str) -> String {
    const LINE: usize = 200;
    if text.chars().count() <= LINE {
        return text.to_owned();
    }
    text.chars().take(LINE).chain(['…']).collect()
}
