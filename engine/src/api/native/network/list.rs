//! List: the networks in the directory of configurations, and warnings of unusable ones.

use cri_api::isula::v1::{Filter, ListNetworksRequest, ListNetworksResponse, Network};

use crate::api::native::{ApiError, Native, limits};
use crate::cause::chain;
use crate::network::NetworkConf;

impl Native {
    pub(super) async fn list_networks(&self, request: &ListNetworksRequest) -> Result<ListNetworksResponse, ApiError> {
        limits::filters(&request.filters)?;
        let filters = Filters::parse(&request.filters)?;
        let confs = self.confs().await?;
        let networks = confs.by_name.values().map(|found| &found.conf).filter(|conf| filters.matches(conf));
        let shown = networks.map(|conf| Network {
            name: conf.name.clone(),
            version: conf.version.text().to_owned(),
            plugins: conf.plugins.iter().map(|plugin| plugin.kind.clone()).collect(),
        });
        let warnings = confs.errors.iter().map(|error| chain(error)).collect();
        Ok(ListNetworksResponse { networks: shown.collect(), warnings })
    }
}

/// Values of one key are alternatives, keys must all match.
#[derive(Default)]
struct Filters {
    names: Vec<String>,
    plugins: Vec<String>,
}

impl Filters {
    fn parse(filters: &[Filter]) -> Result<Self, ApiError> {
        let mut parsed = Self::default();
        for filter in filters {
            let value = filter.value.clone();
            match filter.key.as_str() {
                "name" => parsed.names.push(value),
                "plugin" => parsed.plugins.push(value),
                other => return Err(ApiError::invalid(format!("Invalid filter '{other}': name or plugin"))),
            }
        }
        Ok(parsed)
    }

    fn matches(&self, conf: &NetworkConf) -> bool {
        let named = self.names.iter().any(|part| conf.name.contains(part.as_str()));
        let with = self.plugins.iter().any(|kind| conf.plugins.iter().any(|plugin| plugin.kind == *kind));
        (self.names.is_empty() || named) && (self.plugins.is_empty() || with)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn filters_are_by_name_and_plugin() {
        let list = json!({"cniVersion":"0.4.0","name":"front","plugins":[{"type":"bridge"},{"type":"portmap"}]});
        let conf = NetworkConf::of_list(list).unwrap();
        let matches = |given: &[(&str, &str)]| {
            let filter = |(key, value): &(&str, &str)| Filter { key: (*key).to_owned(), value: (*value).to_owned() };
            Filters::parse(&given.iter().map(filter).collect::<Vec<_>>()).map(|filters| filters.matches(&conf))
        };
        for (given, expected) in [
            (vec![], true),
            (vec![("name", "ron")], true),
            (vec![("name", "back")], false),
            (vec![("name", "back"), ("name", "front")], true),
            (vec![("plugin", "portmap")], true),
            (vec![("plugin", "port")], false),
            (vec![("plugin", "bridge"), ("name", "back")], false),
        ] {
            assert_eq!(matches(&given).unwrap(), expected, "{given:?}");
        }
        assert!(matches(&[("driver", "x")]).is_err());
    }
}
