//! The syntax of the parts of a name. Each message names the fault and the correct form.

use std::net::Ipv6Addr;

use engine_domain::id::Digest;

const LONGEST_HOST: usize = 253;
const LONGEST_REPOSITORY: usize = 255;
const LONGEST_TAG: usize = 128;

/// The first component of a name is a registry, and not a part of a path, if it could not be one or is `localhost`.
pub(super) fn is_host_like(first: &str) -> bool {
    first == "localhost" || first.contains(['.', ':']) || first.bytes().any(|b| b.is_ascii_uppercase())
}

/// `name`, `name:port`, `[IPv6]` or `[IPv6]:port`.
pub(crate) fn host(text: &str) -> Result<(), String> {
    let (name, port) = if let Some(rest) = text.strip_prefix('[') {
        let (address, rest) = rest.split_once(']').ok_or_else(|| format!("registry `{text}` lacks the closing `]`"))?;
        address.parse::<Ipv6Addr>().map_err(|_| format!("registry `{text}`: `{address}` is not an IPv6 address"))?;
        match rest.strip_prefix(':') {
            Some(port) => (None, Some(port)),
            None if rest.is_empty() => (None, None),
            None => return Err(format!("registry `{text}`: after `]` only `:` and a port may follow")),
        }
    } else {
        match text.split_once(':') {
            Some((name, port)) => (Some(name), Some(port)),
            None => (Some(text), None),
        }
    };
    if let Some(port) = port
        && !is_port(port)
    {
        return Err(format!("registry `{text}`: `{port}` is not a port (1 to 65535)"));
    }
    match name {
        Some(name) if name.len() > LONGEST_HOST || !name.split('.').all(is_label) => {
            Err(format!("registry `{text}`: `{name}` is not a host name"))
        }
        Some(_) | None => Ok(()),
    }
}

fn is_port(text: &str) -> bool {
    text.len() <= 5 && text.bytes().all(|b| b.is_ascii_digit()) && text.parse().is_ok_and(|port: u16| port > 0)
}

fn is_label(text: &str) -> bool {
    let inner = text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    inner && !text.is_empty() && !text.starts_with('-') && !text.ends_with('-')
}

/// Components of lower-case letters and digits, joined by `/`; inside a component `.`, `_`, `__` or any number of `-`
/// may stand between them. The namespace of an `official` name was not written by its author and is left out of
/// complaints.
pub(super) fn repository(path: &str, official: bool) -> Result<(), String> {
    if path.len() > LONGEST_REPOSITORY {
        return Err(format!("the repository is {} bytes long, more than {LONGEST_REPOSITORY}", path.len()));
    }
    let shown = if official { path.trim_start_matches("library/") } else { path };
    for component in path.split('/') {
        if component.is_empty() {
            return Err(match shown.is_empty() {
                true => "it has no repository".to_owned(),
                false => format!("repository `{shown}` has an empty component"),
            });
        }
        if component.bytes().any(|b| b.is_ascii_uppercase()) {
            return Err(format!("repository `{shown}` must be lower case"));
        }
        if !is_component(component.as_bytes()) {
            return Err(format!(
                "`{component}` is not a component of a repository: lower-case letters and digits, with `.`, `_`, `__` \
                 or `-` between them"
            ));
        }
    }
    Ok(())
}

fn is_component(mut rest: &[u8]) -> bool {
    let alphanumeric = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    loop {
        let word = rest.iter().take_while(|b| alphanumeric(b)).count();
        if word == 0 {
            return false;
        }
        rest = &rest[word..];
        if rest.is_empty() {
            return true;
        }
        let between = rest.iter().take_while(|b| !alphanumeric(b)).count();
        let separator = &rest[..between];
        if !matches!(separator, b"." | b"_" | b"__") && !separator.iter().all(|b| *b == b'-') {
            return false;
        }
        rest = &rest[between..];
    }
}

pub(super) fn tag(text: &str) -> Result<&str, String> {
    if text.is_empty() {
        return Err("the tag is empty".to_owned());
    }
    if text.len() > LONGEST_TAG {
        return Err(format!("the tag is {} bytes long, more than {LONGEST_TAG}", text.len()));
    }
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let first = text.bytes().next().is_some_and(word);
    if !first || !text.bytes().all(|b| word(b) || b == b'.' || b == b'-') {
        return Err(format!("`{text}` is not a tag: a letter, digit or `_`, then letters, digits, `_`, `.` or `-`"));
    }
    Ok(text)
}

pub(super) fn digest(text: &str) -> Result<Digest, String> {
    if !text.starts_with("sha256:") {
        let algorithm = text.split_once(':').map_or(text, |(algorithm, _)| algorithm);
        return Err(format!("digest `{algorithm}:…` is not supported, only sha256 is"));
    }
    text.parse().map_err(|_| "a digest is `sha256:` and 64 lower-case hexadecimal digits".to_owned())
}

pub(super) fn is_id(text: &str) -> bool {
    Digest::from_hex(text).is_ok()
}
