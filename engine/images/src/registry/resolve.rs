//! From a name to a document, and the small documents below it.

use std::sync::Arc;

use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderValue};

use super::remote::{Place, Remote};
use super::source::first_answer;
use super::transport::Transports;
use super::{Credentials, Registry, RegistryError, Source, auth_file, endpoints};
use crate::manifest::document::{DOCKER_LIST, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST};
use crate::manifest::{Descriptor, Document, MANIFEST_LIMIT, digest_of};
use crate::reference::Reference;
use engine_domain::id::Digest;

const CONTENT_DIGEST: &str = "docker-content-digest";

/// The document that a name stands for.
#[derive(Debug)]
pub struct Resolved {
    /// The digest of `bytes`.
    pub digest: Digest,
    pub media_type: String,
    pub bytes: Vec<u8>,
    /// `bytes`, parsed.
    pub document: Document,
    /// The source of all other content of the image.
    pub source: Source,
}

impl Registry {
    /// Asks each endpoint in turn for the document that the name stands for: mirrors first, for names on docker.io. A
    /// digest in the name decides over its tag, and is verified. `credentials` are for the registry that the name
    /// names, never for mirrors; without them those kept by `login` or other tools are used.
    pub async fn resolve(
        &self,
        reference: &Reference,
        credentials: Option<&Credentials>,
    ) -> Result<Resolved, RegistryError> {
        let remotes = self.remotes(reference, credentials).await?;
        let what = format!("`{}`", reference.familiar());
        let (number, found) = first_answer(&remotes, &what, |remote| resolve_at(remote, reference)).await?;
        let here = &remotes[number];
        let others = remotes[number..].iter().filter(|other| other.endpoint() != here.endpoint()).cloned();
        let source = Source::new(here.clone(), others);
        let Found { digest, bytes, document } = found;
        let media_type = document.media_type().to_owned();
        Ok(Resolved { digest, media_type, bytes, document, source })
    }

    /// A manifest of an index, verified. Its length is limited by the descriptor.
    pub async fn manifest(&self, source: &Source, descriptor: &Descriptor) -> Result<Vec<u8>, RegistryError> {
        let what = format!("manifest {}", descriptor.digest);
        let headers = HeaderMap::from_iter([(ACCEPT, accept())]);
        let path = format!("manifests/{}", descriptor.digest);
        verified(source, &path, headers, descriptor, MANIFEST_LIMIT, &what).await
    }

    /// A blob of at most `limit` bytes, verified: a config.
    pub async fn small_blob(
        &self,
        source: &Source,
        descriptor: &Descriptor,
        limit: u64,
    ) -> Result<Vec<u8>, RegistryError> {
        let what = format!("blob {}", descriptor.digest);
        let path = format!("blobs/{}", descriptor.digest);
        verified(source, &path, HeaderMap::new(), descriptor, limit, &what).await
    }

    /// All endpoints that may have the image, in the order in which they are asked.
    async fn remotes(
        &self,
        reference: &Reference,
        given: Option<&Credentials>,
    ) -> Result<Vec<Arc<Remote>>, RegistryError> {
        let transports = Arc::new(Transports::new(self.settings.clone()));
        let mut remotes = Vec::new();
        for (number, endpoint) in endpoints::for_image(reference, &self.settings).await?.into_iter().enumerate() {
            let credentials = match given {
                Some(given) if endpoint.is_origin => Some(given.clone()),
                Some(_) | None => self.kept_for(format!("{}/{}", endpoint.name, reference.repository())).await?,
            };
            let attempts = self.settings.patience.attempts.min(if endpoint.is_origin { u32::MAX } else { 1 });
            for base in endpoint.bases {
                let place = Place { base, endpoint: number, attempts };
                let repository = Some(reference.repository().to_owned());
                remotes.push(Arc::new(Remote::new(transports.clone(), place, repository, credentials.clone())));
            }
        }
        Ok(remotes)
    }

    /// Credentials from files, for `host/path` or `host`.
    pub(super) async fn kept_for(&self, name: String) -> Result<Option<Credentials>, RegistryError> {
        let settings = self.settings.clone();
        tokio::task::spawn_blocking(move || auth_file::find(&settings.auth_file, &settings.other_auth_files, &name))
            .await
            .map_err(|source| RegistryError::Task { source })?
    }
}

struct Found {
    digest: Digest,
    bytes: Vec<u8>,
    document: Document,
}

async fn resolve_at(remote: Arc<Remote>, reference: &Reference) -> Result<Found, RegistryError> {
    let host = remote.host();
    let what = format!("`{}`", reference.familiar());
    let wanted = match (reference.digest(), reference.tag()) {
        (Some(digest), _) => digest.to_string(),
        (None, Some(tag)) => tag.to_owned(),
        (None, None) => unreachable!("a reference has a tag or a digest"),
    };
    let headers = HeaderMap::from_iter([(ACCEPT, accept())]);
    let (bytes, headers) = remote.read(&format!("manifests/{wanted}"), &headers, MANIFEST_LIMIT, &what).await?;
    let digest = digest_of(&bytes);
    let promised = headers.get(CONTENT_DIGEST).and_then(|value| value.to_str().ok()).and_then(|text| text.parse().ok());
    for expected in [reference.digest().copied(), promised].into_iter().flatten() {
        if expected != digest {
            return Err(RegistryError::DigestMismatch { host, what, expected, found: digest });
        }
    }
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let document = Document::parse(&bytes, content_type).map_err(|source| RegistryError::Document {
        host: host.clone(),
        what: what.clone(),
        source: Box::new(source),
    })?;
    Ok(Found { digest, bytes, document })
}

async fn verified(
    source: &Source,
    path: &str,
    headers: HeaderMap,
    descriptor: &Descriptor,
    limit: u64,
    what: &str,
) -> Result<Vec<u8>, RegistryError> {
    if descriptor.size > limit {
        return Err(RegistryError::TooLarge { host: source.host(), what: what.to_owned(), limit });
    }
    let ask = |remote| verified_at(remote, path, &headers, descriptor, what);
    let (_, bytes) = first_answer(source.remotes(), what, ask).await?;
    Ok(bytes)
}

async fn verified_at(
    remote: Arc<Remote>,
    path: &str,
    headers: &HeaderMap,
    descriptor: &Descriptor,
    what: &str,
) -> Result<Vec<u8>, RegistryError> {
    let (bytes, _) = remote.read(path, headers, descriptor.size, what).await?;
    let (host, what) = (remote.host(), what.to_owned());
    let found = bytes.len() as u64;
    if found != descriptor.size {
        return Err(RegistryError::SizeMismatch { host, what, expected: descriptor.size, found });
    }
    let found = digest_of(&bytes);
    if found != descriptor.digest {
        return Err(RegistryError::DigestMismatch { host, what, expected: descriptor.digest, found });
    }
    Ok(bytes)
}

fn accept() -> HeaderValue {
    let types = [OCI_INDEX, DOCKER_LIST, OCI_MANIFEST, DOCKER_MANIFEST].join(", ");
    HeaderValue::from_str(&types).expect("media types are plain characters")
}
