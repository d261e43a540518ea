//! Challenges: the header with which a registry that answers 401 demands authorization.
//!
//! The header is read by hand, and leniently: servers leave out quotes and commas and put in blanks, and one challenge
//! that is badly written must not take the next one along.

use std::iter::Peekable;
use std::str::Chars;

use reqwest::header::{HeaderMap, WWW_AUTHENTICATE};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Challenge {
    /// A token of the service at `realm`.
    Bearer { realm: String, service: Option<String>, scope: Option<String> },
    /// User and password.
    Basic,
}

/// The challenge to answer, tokens first; none if none of them is supported.
pub(super) fn of(headers: &HeaderMap) -> Option<Challenge> {
    let known = written(headers).into_iter().filter_map(|challenge| {
        if challenge.scheme.eq_ignore_ascii_case("bearer") {
            return Some(Challenge::Bearer {
                realm: challenge.param("realm")?,
                service: challenge.param("service"),
                scope: challenge.param("scope"),
            });
        }
        challenge.scheme.eq_ignore_ascii_case("basic").then_some(Challenge::Basic)
    });
    let challenges: Vec<Challenge> = known.collect();
    let is_bearer = |challenge: &&Challenge| matches!(challenge, Challenge::Bearer { .. });
    challenges.iter().find(is_bearer).or(challenges.first()).cloned()
}

/// The code of a refusal that a login cannot help: `insufficient_scope`.
pub(super) fn error_code(headers: &HeaderMap) -> Option<String> {
    let code = written(headers).iter().find_map(|challenge| challenge.param("error"))?;
    Some(code.chars().take(60).collect())
}

/// A challenge as it is written.
#[derive(Debug, Default, PartialEq, Eq)]
struct Written {
    scheme: String,
    /// The parameters, with their names as they are written.
    params: Vec<(String, String)>,
}

impl Written {
    /// An empty one is none.
    fn param(&self, name: &str) -> Option<String> {
        let found = self.params.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.clone()).filter(|value| !value.is_empty())
    }
}

/// The challenges of all headers; the bytes need not be text.
fn written(headers: &HeaderMap) -> Vec<Written> {
    let texts = headers.get_all(WWW_AUTHENTICATE).iter().map(|value| String::from_utf8_lossy(value.as_bytes()));
    texts.flat_map(|text| parse(&text)).collect()
}

/// A word that is followed by `=` is the name of a parameter, any other one a scheme, where one can stand.
fn parse(text: &str) -> Vec<Written> {
    let mut challenges: Vec<Written> = Vec::new();
    let mut rest = text.chars().peekable();
    loop {
        skip(&mut rest, |c| c.is_whitespace() || c == ',');
        let word = take(&mut rest, is_of_word);
        let blanks = take(&mut rest, char::is_whitespace);
        match rest.peek() {
            Some('=') if !word.is_empty() => {
                rest.next();
                let value = value(&mut rest);
                // A parameter without a scheme before it is dropped.
                if let Some(challenge) = challenges.last_mut() {
                    challenge.params.push((word, value));
                }
            }
            _ if !word.is_empty() => {
                challenges.push(Written { scheme: word, params: vec![] });
                if !blanks.is_empty() {
                    skip_token(&mut rest);
                }
            }
            // A character that cannot stand here: a quote, an equals sign.
            Some(_) => drop(rest.next()),
            None => return challenges,
        }
    }
}

/// After a scheme there may be a token in the place of parameters, `YII=`, up to the next comma.
fn skip_token(rest: &mut Peekable<Chars<'_>>) {
    let mut ahead = rest.clone();
    let token = take(&mut ahead, is_of_word);
    let padding = take(&mut ahead, |c| c == '=');
    skip(&mut ahead, char::is_whitespace);
    // Without padding it may as well be the next scheme.
    if !token.is_empty() && !padding.is_empty() && matches!(ahead.peek(), None | Some(',')) {
        *rest = ahead;
    }
}

/// In quotes; or, without them, up to a comma or to the next parameter.
fn value(rest: &mut Peekable<Chars<'_>>) -> String {
    skip(rest, char::is_whitespace);
    if rest.next_if_eq(&'"').is_some() {
        return quoted(rest);
    }
    let mut value = take(rest, |c| !c.is_whitespace() && c != ',');
    loop {
        let mut ahead = rest.clone();
        let blanks = take(&mut ahead, char::is_whitespace);
        let more = take(&mut ahead, |c| !c.is_whitespace() && c != ',');
        if more.is_empty() || is_param(rest.clone()) {
            return value;
        }
        value.push_str(&blanks);
        value.push_str(&more);
        *rest = ahead;
    }
}

fn is_param(mut rest: Peekable<Chars<'_>>) -> bool {
    skip(&mut rest, char::is_whitespace);
    let word = take(&mut rest, is_of_word);
    skip(&mut rest, char::is_whitespace);
    !word.is_empty() && rest.peek() == Some(&'=')
}

/// A quoted text; one without a closing quote goes to the end.
fn quoted(rest: &mut Peekable<Chars<'_>>) -> String {
    let mut value = String::new();
    while let Some(c) = rest.next() {
        match c {
            '"' => break,
            '\\' => value.extend(rest.next()),
            c => value.push(c),
        }
    }
    value
}

fn is_of_word(c: char) -> bool {
    !c.is_whitespace() && !matches!(c, ',' | '=' | '"')
}

fn take(rest: &mut Peekable<Chars<'_>>, fits: impl Fn(char) -> bool) -> String {
    std::iter::from_fn(|| rest.next_if(|c| fits(*c))).collect()
}

fn skip(rest: &mut Peekable<Chars<'_>>, fits: impl Fn(char) -> bool) {
    while rest.next_if(|c| fits(*c)).is_some() {}
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
    fn challenges_of_known_servers_are_parsed() {
        let token = bearer("https://a/t", Some("s"), None);
        for (text, expected) in [
            // Each has been seen on the network.
            ("Basic realm=/", Some(Challenge::Basic)),
            ("Basic realm=Registry Realm", Some(Challenge::Basic)),
            (r#"Bearer  realm="https://a/t",  service="s""#, token.clone()),
            (r#"Negotiate abc==, Bearer realm="https://a/t",service="s""#, token.clone()),
            (r#"Negotiate, NTLM, Basic realm="x", Bearer realm="https://a/t",service="s""#, token.clone()),
            (r"Bearer realm=https://a/t,service=s", token.clone()),
            (r#"Bearer realm="https://a/t" service="s""#, token.clone()),
            (r"Bearer realm=https://a/t service=s", token.clone()),
            (r#"Bearer realm = "https://a/t" , service = "s""#, token.clone()),
            (r#"Bearer realm="https://a/t",service="s","#, token.clone()),
            (r#",Bearer realm="https://a/t",,service="s""#, token.clone()),
            (r#"Bearer service="s",realm="https://a/t"#, token.clone()),
            (r#"Basic realm="a \"quoted\", one", Bearer realm="https://a/t",service="s""#, token.clone()),
            (r#"Basic realm=one of two, Bearer realm="https://a/t",service="s""#, token),
            (r"Bearer realm=https://a/t?x=y", bearer("https://a/t?x=y", None, None)),
            (r#"Bearer realm="https://a/t",service=my registry"#, bearer("https://a/t", Some("my registry"), None)),
            (r#"realm="x""#, None),
            ("=", None),
            ("\"", None),
            ("Bearer realm=", None),
            ("Bearer realm", None),
        ] {
            assert_eq!(of_all(&[text]), expected, "{text}");
        }
        let mut headers = HeaderMap::new();
        let latin1 = b"Basic realm=\"Z\xfcrich\"";
        headers.append(WWW_AUTHENTICATE, reqwest::header::HeaderValue::from_bytes(latin1).unwrap());
        assert_eq!(of(&headers), Some(Challenge::Basic));
    }

    #[test]
    fn the_code_of_a_refusal_is_found() {
        let mut headers = HeaderMap::new();
        let text = r#"Bearer realm="https://a/t",service="s",error="insufficient_scope""#;
        headers.append(WWW_AUTHENTICATE, text.parse().unwrap());
        assert_eq!(error_code(&headers).as_deref(), Some("insufficient_scope"));
    }

    /// Whatever a server sends, it is read to its end.
    #[test]
    fn anything_is_read_to_its_end() {
        let pieces = ["Bearer", " ", ",", "=", "\"", "\\", "realm", "x", "/", "\t"];
        let mut seed = 7_usize;
        for _ in 0..20_000 {
            let mut text = String::new();
            for _ in 0..12 {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                text.push_str(pieces[(seed >> 33) % pieces.len()]);
            }
            let params = parse(&text).into_iter().flat_map(|challenge| challenge.params);
            assert!(params.map(|(name, _)| name).all(|name| name.chars().all(is_of_word)), "{text}");
        }
    }

    #[test]
    fn an_unknown_scheme_is_no_challenge() {
        for texts in
            [&[][..], &["Negotiate"], &["Bearer service=\"s\""], &["\"\"=,,"], &[r#"Digest realm="x", nonce="y""#]]
        {
            assert_eq!(of_all(texts), None, "{texts:?}");
        }
    }
}
