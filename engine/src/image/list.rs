//! Lists of images, and their filters.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Images;
use super::error::ImageError;
use super::records::Entity;
use super::reference::Reference;
use super::remove::familiar;
use crate::domain::id::Digest;

/// A filter of a list: values of one key are alternatives, keys must all match.
#[derive(Debug, Default)]
pub(crate) struct Chosen {
    dangling: Option<bool>,
    labels: Vec<String>,
    before: Vec<String>,
    since: Vec<String>,
    references: Vec<String>,
    ids: Vec<String>,
}

/// An image as lists show it.
#[derive(Debug, Clone)]
pub(crate) struct Listed {
    pub entity: Arc<Entity>,
    /// Familiar, sorted.
    pub tags: Vec<String>,
    pub digests: Vec<String>,
    pub containers: u32,
}

impl Chosen {
    pub(crate) fn parse<'a>(filters: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self, ImageError> {
        let mut chosen = Self::default();
        for (key, value) in filters {
            match key {
                "dangling" => {
                    let bad = |_| ImageError::Filter { key: format!("dangling={value}") };
                    chosen.dangling = Some(value.parse().map_err(bad)?);
                }
                "label" => chosen.labels.push(value.to_owned()),
                "before" => chosen.before.push(value.to_owned()),
                "since" => chosen.since.push(value.to_owned()),
                "reference" => chosen.references.push(value.to_owned()),
                "id" => chosen.ids.push(value.strip_prefix("sha256:").unwrap_or(value).to_owned()),
                other => return Err(ImageError::Filter { key: other.to_owned() }),
            }
        }
        Ok(chosen)
    }
}

impl Images {
    /// The newest first. Blocks on the disk when labels are asked for.
    pub(crate) fn list(&self, chosen: &Chosen) -> Result<Vec<Listed>, ImageError> {
        let images = self.ledger.snapshot();
        let born =
            |text: &String| self.find(text).map(|entity| (entity.state.facts.created, entity.state.facts.added_at));
        let before = chosen.before.iter().map(born).collect::<Result<Vec<_>, _>>()?;
        let since = chosen.since.iter().map(born).collect::<Result<Vec<_>, _>>()?;
        let mut counts: BTreeMap<Digest, u32> = BTreeMap::new();
        for entity in self.containers.snapshot().values() {
            if let Some(image) = entity.state.card.image_id {
                *counts.entry(image).or_default() += 1;
            }
        }
        let mut listed = Vec::new();
        for entity in images.values() {
            let image = &entity.state;
            let mut names = images.names_of(image);
            if !chosen.references.is_empty() {
                names.retain(|name| chosen.is_named(name));
            }
            let (mut tags, mut digests): (Vec<_>, Vec<_>) = names.iter().partition(|name| !name.contains('@'));
            tags.sort();
            digests.sort();
            let is_dangling = images.names_of(image).iter().all(|name| name.contains('@'));
            let age = (image.facts.created, image.facts.added_at);
            let matches = chosen.dangling.is_none_or(|dangling| dangling == is_dangling)
                && before.iter().all(|other| age < *other)
                && since.iter().all(|other| age > *other)
                && (chosen.ids.is_empty() || chosen.ids.iter().any(|id| image.id.hex().starts_with(id.as_str())))
                && (chosen.references.is_empty() || !names.is_empty())
                && (chosen.labels.is_empty() || self.is_labelled(&image.id, &chosen.labels));
            if matches {
                listed.push(Listed {
                    entity: entity.clone(),
                    tags: tags.into_iter().map(|name| familiar(name)).collect(),
                    digests: digests.into_iter().map(|name| familiar(name)).collect(),
                    containers: counts.get(&image.id).copied().unwrap_or(0),
                });
            }
        }
        listed.sort_by_key(|listed| {
            let facts = &listed.entity.state.facts;
            std::cmp::Reverse((facts.created.unwrap_or(facts.added_at), listed.entity.state.id))
        });
        Ok(listed)
    }

    fn is_labelled(&self, id: &Digest, labels: &[String]) -> bool {
        self.config(id).is_ok_and(|config| labels.iter().any(|label| has_label(&config.execution.labels, label)))
    }
}

impl Chosen {
    /// Patterns are compared with the name as people write it, with and without its tag.
    fn is_named(&self, name: &str) -> bool {
        let Ok(reference) = name.parse::<Reference>() else { return false };
        let texts = [reference.familiar(), reference.familiar_name(), name.to_owned(), reference.repository_name()];
        self.references.iter().any(|pattern| texts.iter().any(|text| fits(pattern.as_bytes(), text.as_bytes())))
    }
}

/// `key` or `key=value`.
pub(super) fn has_label(labels: &BTreeMap<String, String>, wanted: &str) -> bool {
    match wanted.split_once('=') {
        Some((key, value)) => labels.get(key).is_some_and(|found| found == value),
        None => labels.contains_key(wanted),
    }
}

/// `*` is anything but a slash, `?` one character but a slash.
fn fits(pattern: &[u8], text: &[u8]) -> bool {
    // Where the last star was, and how much of the text it has taken: the only place to go back to.
    let (mut p, mut t, mut star) = (0, 0, None);
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(b'?') if text[t] != b'/' => (p, t) = (p + 1, t + 1),
            Some(byte) if *byte == text[t] => (p, t) = (p + 1, t + 1),
            _ => match star {
                Some((at, taken)) if text[taken] != b'/' => {
                    star = Some((at, taken + 1));
                    (p, t) = (at + 1, taken + 1);
                }
                _ => return false,
            },
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        for (pattern, text) in
            [("busy*", "busybox"), ("*", ""), ("b?sybox", "busybox"), ("*/b", "a/b"), ("a*c*e", "abcde"), ("x", "x")]
        {
            assert!(fits(pattern.as_bytes(), text.as_bytes()), "{pattern} {text}");
        }
        for (pattern, text) in [("busy", "busybox"), ("*", "a/b"), ("?", "/"), ("a*c", "ab"), ("", "a"), ("a*b", "a/b")]
        {
            assert!(!fits(pattern.as_bytes(), text.as_bytes()), "{pattern} {text}");
        }
    }

    #[test]
    fn labels_by_key_and_by_value() {
        let labels = BTreeMap::from([("a".to_owned(), "1".to_owned())]);
        assert!(has_label(&labels, "a") && has_label(&labels, "a=1"));
        assert!(!has_label(&labels, "a=2") && !has_label(&labels, "b"));
    }

    #[test]
    fn unknown_filters_are_named() {
        assert!(Chosen::parse([("colour", "red")]).unwrap_err().to_string().contains("`colour`"));
        assert!(Chosen::parse([("dangling", "maybe")]).is_err());
        assert!(Chosen::parse([("dangling", "true"), ("reference", "a*")]).is_ok());
    }
}
