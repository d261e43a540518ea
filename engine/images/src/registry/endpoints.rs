//! The endpoints for an image: mirrors, then the registry itself.

use reqwest::Url;

use super::RegistryError;
use super::insecure::is_insecure;
use super::settings::Settings;
use crate::reference::{DEFAULT_REGISTRY, Reference};

/// Where docker.io's registry answers.
const DEFAULT_HOST: &str = "registry-1.docker.io";

/// A place to ask, over each of `bases` until one of them answers at all.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Endpoint {
    /// The key of its credentials: `docker.io`, `mirror.example:5000`.
    pub name: String,
    pub bases: Vec<Url>,
    /// The registry that the image's name names, to which credentials given with a request belong.
    pub is_origin: bool,
}

pub(super) async fn for_image(reference: &Reference, settings: &Settings) -> Result<Vec<Endpoint>, RegistryError> {
    let mut endpoints = Vec::new();
    if reference.registry() == DEFAULT_REGISTRY {
        for mirror in &settings.mirrors {
            endpoints.push(of_mirror(&mirror.0));
        }
    }
    endpoints.push(of_server(reference.registry(), settings).await?);
    Ok(endpoints)
}

/// A registry by its name. One that is insecure is asked over TLS first, which is not verified then.
pub(super) async fn of_server(server: &str, settings: &Settings) -> Result<Endpoint, RegistryError> {
    let host = if server == DEFAULT_REGISTRY { DEFAULT_HOST } else { server };
    let url = |scheme: &str| {
        format!("{scheme}://{host}/")
            .parse::<Url>()
            .map_err(|error| RegistryError::InvalidServer { server: server.to_owned(), problem: error.to_string() })
    };
    let mut bases = vec![url("https")?];
    if is_insecure(&bases[0], settings).await {
        bases.push(url("http")?);
    }
    Ok(Endpoint { name: server.to_owned(), bases, is_origin: true })
}

/// A mirror's scheme was written down, and is not changed.
fn of_mirror(url: &Url) -> Endpoint {
    let mut base = url.clone();
    if !base.path().ends_with('/') {
        base.set_path(&format!("{}/", url.path()));
    }
    Endpoint { name: super::transport::authority(url), bases: vec![base], is_origin: false }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn bases(name: &str, mirrors: &[&str], insecure: &[&str]) -> Vec<Vec<String>> {
        let mut settings = Settings::new("/certs".into(), "/auth".into());
        settings.mirrors = mirrors.iter().map(|text| text.parse().unwrap()).collect();
        settings.insecure = insecure.iter().map(|text| text.parse().unwrap()).collect();
        let endpoints = for_image(&name.parse().unwrap(), &settings).await.unwrap();
        endpoints.iter().map(|endpoint| endpoint.bases.iter().map(Url::to_string).collect()).collect()
    }

    #[tokio::test]
    async fn mirrors_are_for_docker_io_and_come_first() {
        let mirrors = ["https://m.example", "http://n.example:5000/hub"];
        assert_eq!(
            bases("busybox", &mirrors, &[]).await,
            [
                vec!["https://m.example/".to_owned()],
                vec!["http://n.example:5000/hub/".to_owned()],
                vec!["https://registry-1.docker.io/".to_owned()],
            ]
        );
        assert_eq!(bases("quay.io/x", &mirrors, &[]).await, [["https://quay.io/"]]);
    }

    #[tokio::test]
    async fn only_insecure_registries_are_asked_without_tls() {
        assert_eq!(bases("h.example:5000/x", &[], &[]).await, [["https://h.example:5000/"]]);
        assert_eq!(
            bases("h.example:5000/x", &[], &["h.example:5000"]).await,
            [["https://h.example:5000/", "http://h.example:5000/"]]
        );
        assert_eq!(bases("[::1]:5000/x", &[], &[]).await, [["https://[::1]:5000/", "http://[::1]:5000/"]]);
    }
}
