//! The names of an image, and the fields of one row.

use cri_api::isula::v1::ImageSummary;
use serde_json::{Value, json};

use super::shown_id;
use crate::text::{elapsed, moment, size};

const NONE: &str = "<none>";

/// One of an image's names. Parts that it has not are empty.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Name {
    repository: String,
    tag: String,
    digest: String,
}

/// The heading of a field's column.
pub(super) fn title(field: &str) -> String {
    match field {
        "ID" => "IMAGE ID".to_owned(),
        "CreatedSince" => "CREATED".to_owned(),
        "LoadedAt" => "LOADED".to_owned(),
        "UsedAt" => "USED".to_owned(),
        other => other.to_uppercase(),
    }
}

/// A name for each row: of a repository all tags, or nothing but the repository when only a digest is known of it. With
/// `digests`, each tag with each digest. An image without names has one row too.
pub(super) fn names(image: &ImageSummary, digests: bool) -> Vec<Name> {
    let tags = image.tags.iter().map(|name| split_tag(name));
    let tags: Vec<(&str, &str)> = tags.collect();
    let resolved: Vec<(&str, &str)> =
        image.digests.iter().map(|name| name.split_once('@').unwrap_or((name, ""))).collect();
    let mut names = Vec::new();
    for &(repository, tag) in &tags {
        let of_it = resolved.iter().filter(|(other, _)| digests && *other == repository);
        let of_it: Vec<&str> = of_it.map(|(_, digest)| *digest).collect();
        let shown = if of_it.is_empty() { vec![""] } else { of_it };
        names.extend(shown.into_iter().map(|digest| name(repository, tag, digest)));
    }
    for (at, &(repository, digest)) in resolved.iter().enumerate() {
        let tagged = tags.iter().any(|(other, _)| *other == repository);
        let repeated = !digests && resolved[..at].iter().any(|(other, _)| *other == repository);
        if !tagged && !repeated {
            names.push(name(repository, "", if digests { digest } else { "" }));
        }
    }
    if names.is_empty() {
        names.push(Name::default());
    }
    names
}

fn name(repository: &str, tag: &str, digest: &str) -> Name {
    Name { repository: repository.to_owned(), tag: tag.to_owned(), digest: digest.to_owned() }
}

/// A colon before a slash belongs to a port.
fn split_tag(name: &str) -> (&str, &str) {
    match name.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => (repository, tag),
        _ => (name, ""),
    }
}

/// All fields that templates may name.
pub(super) fn fields(image: &ImageSummary, name: &Name, now: i64, full: bool) -> Value {
    let or_none = |text: &str| if text.is_empty() { NONE.to_owned() } else { text.to_owned() };
    let created = moment::local_seconds(image.created_at);
    json!({
        "Repository": or_none(&name.repository),
        "Tag": or_none(&name.tag),
        "Digest": or_none(&name.digest),
        "ID": shown_id(&image.id, full),
        "Created": created,
        "CreatedAt": created,
        "CreatedSince": elapsed::ago(image.created_at, now),
        "LoadedAt": moment::local_seconds(image.loaded_at),
        "UsedAt": moment::local_seconds(image.used_at),
        "Size": size::shown(image.size),
        "Containers": image.containers.to_string(),
        "Pinned": image.pinned,
        "Architecture": image.architecture,
        "Os": image.os,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(tags: &[&str], digests: &[&str], with_digests: bool) -> Vec<String> {
        let owned = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect();
        let image = ImageSummary { tags: owned(tags), digests: owned(digests), ..ImageSummary::default() };
        let row = |name: Name| format!("{} {} {}", name.repository, name.tag, name.digest).trim_end().to_owned();
        names(&image, with_digests).into_iter().map(row).collect()
    }

    #[test]
    fn a_row_for_each_name() {
        assert_eq!(rows(&["a:1", "h:5000/b/c:2"], &["a@sha256:x"], false), ["a 1", "h:5000/b/c 2"]);
        assert_eq!(rows(&["a:1", "a:2", "b:1"], &["a@x", "a@y"], true), ["a 1 x", "a 1 y", "a 2 x", "a 2 y", "b 1"]);
        assert_eq!(rows(&[], &["a@x", "a@y"], false), ["a"]);
        assert_eq!(rows(&["b:1"], &["a@x", "a@y"], true), ["b 1", "a  x", "a  y"]);
        assert_eq!(rows(&[], &[], false), [""]);
        assert_eq!(split_tag("host:5000/a"), ("host:5000/a", ""));
    }
}
