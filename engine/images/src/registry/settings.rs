//! The administrator's settings for registries.

use std::path::PathBuf;
use std::str::FromStr;

use reqwest::Url;

use super::{InsecureRule, Patience};

#[derive(Debug, Clone)]
pub struct Settings {
    /// Mirrors for names on docker.io: asked in this order, then docker.io itself.
    pub mirrors: Vec<Mirror>,
    pub insecure: Vec<InsecureRule>,
    /// Whether registries on this machine need no rule to be insecure.
    pub insecure_loopback: bool,
    /// `<host[:port]>/` below it holds `*.crt` (authorities), `*.cert` and `*.key` (client certificates).
    pub certs_dir: PathBuf,
    /// Where `login` keeps credentials.
    pub auth_file: PathBuf,
    /// Where other tools keep theirs; only read. Usually [`standard_auth_files`].
    pub other_auth_files: Vec<PathBuf>,
    pub patience: Patience,
}

impl Settings {
    /// No mirrors, nothing insecure but this machine itself.
    pub fn new(certs_dir: PathBuf, auth_file: PathBuf) -> Self {
        Self {
            mirrors: Vec::new(),
            insecure: Vec::new(),
            insecure_loopback: true,
            certs_dir,
            auth_file,
            other_auth_files: standard_auth_files(),
            patience: Patience::default(),
        }
    }
}

/// A setting that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}`: {problem}")]
pub struct InvalidSetting {
    pub text: String,
    pub problem: String,
}

/// The address of a mirror: `https://mirror.example[:port][/path]`. Without a scheme it is https.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirror(pub(super) Url);

impl FromStr for Mirror {
    type Err = InvalidSetting;

    fn from_str(text: &str) -> Result<Self, InvalidSetting> {
        // An invalid setting may have a password in it.
        let shown = text.rsplit('@').next().unwrap_or_default();
        let invalid = |problem: &str| InvalidSetting { text: shown.to_owned(), problem: problem.to_owned() };
        let whole = if text.contains("://") { text.to_owned() } else { format!("https://{text}") };
        let url: Url = whole.parse().map_err(|_| invalid("it is not a URL such as https://mirror.example"))?;
        if !matches!(url.scheme(), "https" | "http") || url.host_str().is_none() {
            return Err(invalid("a mirror is reached over https or http"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(invalid("credentials do not belong in a URL: use `isula login`"));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(invalid("a mirror's URL ends with its path"));
        }
        Ok(Self(url))
    }
}

impl std::fmt::Display for Mirror {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0.as_str())
    }
}

/// Where the tools of the container world keep credentials, in the order in which they are asked.
pub fn standard_auth_files() -> Vec<PathBuf> {
    let named = std::env::var_os("REGISTRY_AUTH_FILE").map(PathBuf::from);
    let run = PathBuf::from("/run/containers/0/auth.json");
    let home = std::env::var_os("HOME").map(PathBuf::from).filter(|home| home.is_absolute());
    let homes =
        home.iter().flat_map(|home| [".config/containers/auth.json", ".docker/config.json"].map(|f| home.join(f)));
    named.into_iter().chain([run]).chain(homes).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mirrors_are_urls_without_secrets() {
        assert_eq!("mirror.example".parse::<Mirror>().unwrap().to_string(), "https://mirror.example/");
        assert_eq!("http://m.example:5000/hub".parse::<Mirror>().unwrap().to_string(), "http://m.example:5000/hub");
        for text in ["ftp://m.example", "https://u:geheim@m.example", "https://m.example/?a=b", "https://", "a b"] {
            let error = text.parse::<Mirror>().unwrap_err().to_string();
            assert!(!error.contains("geheim"), "{error}");
        }
    }
}
