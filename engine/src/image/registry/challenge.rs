//! What a registry asks for when it answers 401.

use http_auth::parser::ChallengeParser;
use reqwest::header::{HeaderMap, WWW_AUTHENTICATE};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Challenge {
    /// A token of the service at `realm`.
    Bearer { realm: String, service: Option<String>, scope: Option<String> },
    /// User and password.
    Basic,
}

/// The challenge that we answer, tokens first; none if there is none that we could.
pub(super) fn of(headers: &HeaderMap) -> Option<Challenge> {
    let texts = headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok());
    let challenges: Vec<Challenge> = texts.flat_map(parse).collect();
    let is_bearer = |challenge: &&Challenge| matches!(challenge, Challenge::Bearer { .. });
    challenges.iter().find(is_bearer).or(challenges.first()).cloned()
}

fn parse(text: &str) -> Vec<Challenge> {
    let challenges = ChallengeParser::new(text).map_while(Result::ok);
    let known = challenges.filter_map(|challenge| {
        let param = |name: &str| {
            let found = challenge.params.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
            found.map(|(_, value)| value.to_unescaped()).filter(|value| !value.is_empty())
        };
        if challenge.scheme.eq_ignore_ascii_case("bearer") {
            return Some(Challenge::Bearer {
                realm: param("realm")?,
                service: param("service"),
                scope: param("scope"),
            });
        }
        challenge.scheme.eq_ignore_ascii_case("basic").then_some(Challenge::Basic)
    });
    known.collect()
}

/// The code of a refusal that a login cannot help: `insufficient_scope`.
pub(super) fn error_code(headers: &HeaderMap) -> Option<String> {
    let texts = headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok());
    let mut challenges = texts.flat_map(|text| ChallengeParser::new(text).map_while(Result::ok));
    challenges.find_map(|challenge| {
        let (_, code) = challenge.params.iter().find(|(key, _)| key.eq_ignore_ascii_case("error"))?;
        Some(code.to_unescaped().chars().take(60).collect())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bearer(realm: &str, service: Option<&str>, scope: Option<&str>) -> Option<Challenge> {
        Some(Challenge::Bearer { realm: realm.into(), service: service.map(Into::into), scope: scope.map(Into::into) })
    }

    fn of_all(texts: &[&str]) -> Option<Challenge> {
        let mut headers = HeaderMap::new();
        for text in texts {
            headers.append(WWW_AUTHENTICATE, text.parse().unwrap());
        }
        of(&headers)
    }

    #[test]
    fn tokens_are_preferred_wherever_they_stand() {
        let text = r#"Bearer realm="https://a/t",service="s",scope="repository:x:pull,push""#;
        let expected = bearer("https://a/t", Some("s"), Some("repository:x:pull,push"));
        assert_eq!(of_all(&[text]), expected);
        assert_eq!(of_all(&[r#"Basic realm="x""#, text]), expected);
        assert_eq!(of_all(&[&format!(r#"Basic realm="x", {text}"#)]), expected);
        assert_eq!(of_all(&[r#"bearer REALM="https://a/t""#]), bearer("https://a/t", None, None));
        assert_eq!(of_all(&[r#"Basic realm="x""#]), Some(Challenge::Basic));
        assert_eq!(of_all(&["Basic"]), Some(Challenge::Basic));
    }

    #[test]
    fn what_cannot_be_answered_is_none() {
        for texts in
            [&[][..], &["Negotiate"], &["Bearer service=\"s\""], &["\"\"=,,"], &[r#"Digest realm="x", nonce="y""#]]
        {
            assert_eq!(of_all(texts), None, "{texts:?}");
        }
    }
}
