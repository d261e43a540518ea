//! From a name to a document, and the small documents below it.

use std::sync::Arc;

use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderValue};

use super::endpoints::{self, Endpoint};
use super::remote::Remote;
use super::transport::Transports;
use super::{Credentials, Registry, RegistryError, Source, auth_file};
use crate::domain::id::Digest;
use crate::image::manifest::document::{DOCKER_LIST, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST};
use crate::image::manifest::{Descriptor, Document, MANIFEST_LIMIT, digest_of};
use crate::image::reference::Reference;

const CONTENT_DIGEST: &str = "docker-content-digest";

/// What a name stands for.
#[derive(Debug)]
pub struct Resolved {
    /// Of `bytes`.
    pub digest: Digest,
    pub media_type: String,
    pub bytes: Vec<u8>,
    /// `bytes`, parsed.
    pub document: Document,
    /// Where everything else of the image is.
    pub source: Source,
}

impl Registry {
    /// Asks each endpoint in turn what the name stands for: mirrors first, for names on docker.io. A digest in the name
    /// decides over its tag, and is verified. `credentials` are for the registry that the name names, never for mirrors; without them
    /// those kept by `login` or other tools are used.
    pub async fn resolve(
        &self,
        reference: &Reference,
        credentials: Option<&Credentials>,
    ) -> Result<Resolved, RegistryError> {
        let transports = Arc::new(Transports::new(self.settings.clone()));
        let mut refusals: Vec<RegistryError> = Vec::new();
        for endpoint in endpoints::of_image(reference, &self.settings).await? {
            match self.resolve_at(&endpoint, reference, credentials, &transports).await {
                Ok(resolved) => return Ok(resolved),
                Err(error) => {
                    tracing::debug!("`{}` did not provide {reference}: {}", endpoint.name, crate::cause::chain(&error));
                    refusals.push(error);
                }
            }
        }
        let answers: Vec<String> = refusals.iter().map(|error| crate::cause::chain(error)).collect();
        let last = refusals.pop().expect("a name has an endpoint at least");
        if refusals.is_empty() {
            return Err(last);
        }
        let what = format!("`{}`", reference.familiar());
        Err(RegistryError::NoEndpoint { what, answers: answers.join("; "), last: Box::new(last) })
    }

    /// A manifest of an index, verified. At most as long as the descriptor says.
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

    async fn resolve_at(
        &self,
        endpoint: &Endpoint,
        reference: &Reference,
        given: Option<&Credentials>,
        transports: &Arc<Transports>,
    ) -> Result<Resolved, RegistryError> {
        let credentials = match given {
            Some(given) if endpoint.is_origin => Some(given.clone()),
            Some(_) | None => self.kept_for(format!("{}/{}", endpoint.name, reference.repository())).await?,
        };
        let mut last = None;
        for base in &endpoint.bases {
            let repository = Some(reference.repository().to_owned());
            let remote = Remote::new(transports.clone(), base.clone(), repository, credentials.clone());
            match resolve_with(remote, reference).await {
                // The first scheme's failure says more than "nobody there either".
                Err(RegistryError::Unreachable { .. }) if last.is_some() => break,
                Err(error) if error.is_of_connection() => last = Some(error),
                outcome => return outcome,
            }
        }
        Err(last.expect("an endpoint has an address at least"))
    }

    /// Credentials from files, for `host/path` or `host`.
    pub(super) async fn kept_for(&self, name: String) -> Result<Option<Credentials>, RegistryError> {
        let settings = self.settings.clone();
        tokio::task::spawn_blocking(move || auth_file::find(&settings.auth_file, &settings.other_auth_files, &name))
            .await
            .map_err(|source| RegistryError::Task { source })?
    }
}

async fn resolve_with(remote: Remote, reference: &Reference) -> Result<Resolved, RegistryError> {
    let host = remote.host().to_owned();
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
    let media_type = document.media_type().to_owned();
    Ok(Resolved { digest, media_type, bytes, document, source: Source(Arc::new(remote)) })
}

async fn verified(
    source: &Source,
    path: &str,
    headers: HeaderMap,
    descriptor: &Descriptor,
    limit: u64,
    what: &str,
) -> Result<Vec<u8>, RegistryError> {
    let (host, what) = (source.host().to_owned(), what.to_owned());
    if descriptor.size > limit {
        return Err(RegistryError::TooLarge { host, what, limit });
    }
    let (bytes, _) = source.0.read(path, &headers, descriptor.size, &what).await?;
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
