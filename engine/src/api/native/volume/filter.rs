//! Filters of lists and prunes: values of one key are alternatives, keys must all match.

use cri_api::isula::v1::Filter;

use super::LOCAL;
use crate::api::native::ApiError;
use crate::domain::volume::Volume;

#[derive(Debug, Default)]
pub(super) struct Filters {
    names: Vec<String>,
    drivers: Vec<String>,
    labels: Vec<String>,
    /// Labels that must not be there.
    without: Vec<String>,
    dangling: Option<bool>,
}

impl Filters {
    /// Those of a list.
    pub(super) fn parse(filters: &[Filter]) -> Result<Self, ApiError> {
        let mut parsed = Self::default();
        for filter in filters {
            let (key, value) = (filter.key.as_str(), filter.value.clone());
            match key {
                "name" => parsed.names.push(value),
                "driver" => parsed.drivers.push(value),
                "label" => parsed.labels.push(value),
                "dangling" => parsed.dangling = Some(truth(&value)?),
                other => {
                    return Err(ApiError::invalid(format!(
                        "Invalid filter '{other}': name, driver, label or dangling"
                    )));
                }
            }
        }
        Ok(parsed)
    }

    /// Those of a prune.
    pub(super) fn parse_prune(filters: &[Filter]) -> Result<Self, ApiError> {
        let mut parsed = Self::default();
        for filter in filters {
            match filter.key.as_str() {
                "label" => parsed.labels.push(filter.value.clone()),
                "label!" => parsed.without.push(filter.value.clone()),
                other => return Err(ApiError::invalid(format!("Invalid filter '{other}': label or label!"))),
            }
        }
        Ok(parsed)
    }

    pub(super) fn matches(&self, volume: &Volume) -> bool {
        let any = |list: &[String], test: &dyn Fn(&String) -> bool| list.is_empty() || list.iter().any(test);
        let labelled = |wanted: &String| match wanted.split_once('=') {
            Some((key, value)) => volume.labels.get(key).is_some_and(|held| held == value),
            None => volume.labels.contains_key(wanted),
        };
        any(&self.names, &|part| volume.name.as_str().contains(part.as_str()))
            && any(&self.drivers, &|driver| driver == LOCAL)
            && any(&self.labels, &labelled)
            && !self.without.iter().any(labelled)
    }

    /// Whether a volume passes that is used, or not.
    pub(super) fn matches_use(&self, used: bool) -> bool {
        self.dangling.is_none_or(|dangling| dangling != used)
    }
}

fn truth(value: &str) -> Result<bool, ApiError> {
    match value {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        other => Err(ApiError::invalid(format!("Invalid filter 'dangling={other}': true or false"))),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::domain::id::Timestamp;
    use crate::domain::volume::Phase;

    fn volume(name: &str, labels: &[(&str, &str)]) -> Volume {
        let labels: BTreeMap<_, _> =
            labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let name = name.parse().unwrap();
        Volume { name, version: 1, labels, anonymous: false, created_at: Timestamp(1), phase: Phase::Ready }
    }

    fn filters(given: &[(&str, &str)]) -> Vec<Filter> {
        given.iter().map(|(key, value)| Filter { key: (*key).to_owned(), value: (*value).to_owned() }).collect()
    }

    #[test]
    fn values_of_a_key_are_alternatives_and_keys_must_all_match() {
        let it = volume("data-1", &[("tier", "db"), ("x", "")]);
        for (given, matches) in [
            (vec![], true),
            (vec![("name", "ata")], true),
            (vec![("name", "zzz")], false),
            (vec![("name", "zzz"), ("name", "data-1")], true),
            (vec![("label", "tier")], true),
            (vec![("label", "tier=db"), ("name", "data")], true),
            (vec![("label", "tier=web")], false),
            (vec![("label", "tier=web"), ("label", "x=")], true),
            (vec![("driver", "local")], true),
            (vec![("driver", "nfs")], false),
        ] {
            assert_eq!(Filters::parse(&filters(&given)).unwrap().matches(&it), matches, "{given:?}");
        }
        let without = Filters::parse_prune(&filters(&[("label!", "x")])).unwrap();
        assert!(!without.matches(&it) && without.matches(&volume("b", &[])));
    }

    #[test]
    fn dangling_is_about_use() {
        let dangling = |value| Filters::parse(&filters(&[("dangling", value)])).unwrap();
        assert!(dangling("true").matches_use(false) && !dangling("true").matches_use(true));
        assert!(dangling("false").matches_use(true) && !dangling("0").matches_use(false));
        assert!(Filters::default().matches_use(true) && Filters::default().matches_use(false));
    }

    #[test]
    fn an_unknown_filter_is_refused() {
        for given in [("size", "1"), ("dangling", "perhaps")] {
            assert!(Filters::parse(&filters(&[given])).is_err(), "{given:?}");
        }
        assert!(Filters::parse_prune(&filters(&[("name", "x")])).is_err());
    }
}
