//! The credentials of a client at a registry.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::Secret;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credentials {
    Password {
        user: String,
        password: Secret,
    },
    /// A token for the registry's token service, which exchanges it. `user` may be empty.
    IdentityToken {
        user: String,
        token: Secret,
    },
    /// A token for the registry itself.
    RegistryToken {
        token: Secret,
    },
}

impl Credentials {
    pub fn password(user: impl Into<String>, password: impl Into<String>) -> Self {
        Self::Password { user: user.into(), password: Secret::new(password) }
    }
}

/// `user:password` as HTTP and files have it.
pub(super) fn encode(user: &str, password: &Secret) -> Secret {
    Secret::new(STANDARD.encode(format!("{user}:{}", password.expose())))
}

pub(super) fn decode(text: &str) -> Result<(String, Secret), &'static str> {
    let bytes = STANDARD.decode(text.trim()).map_err(|_| "`auth` is not base64")?;
    let text = String::from_utf8(bytes).map_err(|_| "`auth` is not a text")?;
    let (user, password) = text.split_once(':').ok_or("`auth` does not hold user:password")?;
    // Some tools pad with NULs.
    Ok((user.to_owned(), Secret::new(password.trim_end_matches('\0'))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_and_never_in_debug_output() {
        let password = Secret::new("ge:heim");
        let encoded = encode("me", &password);
        assert_eq!(encoded.expose(), "bWU6Z2U6aGVpbQ==");
        assert_eq!(decode(encoded.expose()), Ok(("me".to_owned(), password)));
        assert!(decode("%").is_err() && decode("bWU=").is_err());
        let shown = format!("{:?} {encoded:?}", Credentials::password("me", "geheim"));
        assert!(!shown.contains("geheim") && shown.contains("me"), "{shown}");
    }
}
