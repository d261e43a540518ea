//! The plugins of one network, one after the other: ADD in order, each with the result of the one before; DEL in
//! reverse with the last result. The caller decides whether to go on after one that fails.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Map, Value};

use super::conf::{NetworkConf, PluginConf, Version};
use super::plugin::{Call, PluginError, Verb};

/// One attachment to one network.
#[derive(Debug, Clone, Copy)]
pub struct Chain<'a> {
    pub conf: &'a NetworkConf,
    pub container: &'a str,
    /// `None` when it is gone.
    pub netns: Option<&'a Path>,
    pub ifname: &'a str,
    pub args: &'a str,
    /// `runtimeConfig` for plugins that take it.
    pub capability_args: &'a Map<String, Value>,
    pub bin_dirs: &'a [PathBuf],
    pub deadline: Duration,
    pub busy: &'a Path,
}

impl Chain<'_> {
    /// The next plugin's ADD, after one that has answered `result`. Undoing a failure is the caller's, by `del`.
    pub async fn add(&self, plugin: &PluginConf, result: Option<&Value>) -> Result<Value, PluginError> {
        self.call(Verb::Add, plugin).execute(&self.input(plugin, result)).await
    }

    /// One plugin's DEL, with the result of the last ADD. May be repeated.
    pub async fn del(&self, plugin: &PluginConf, result: Option<&Value>) -> Result<(), PluginError> {
        let result = result.filter(|_| self.conf.version >= Version::V0_4_0);
        self.call(Verb::Del, plugin).execute(&self.input(plugin, result)).await.map(drop)
    }

    fn call<'b>(&'b self, verb: Verb, plugin: &'b PluginConf) -> Call<'b> {
        Call {
            verb,
            kind: &plugin.kind,
            container: self.container,
            netns: self.netns,
            ifname: self.ifname,
            args: self.args,
            bin_dirs: self.bin_dirs,
            deadline: self.deadline,
            busy: self.busy,
        }
    }

    fn input(&self, plugin: &PluginConf, result: Option<&Value>) -> Value {
        let mut input = plugin.raw.clone();
        input.insert("name".to_owned(), self.conf.name.clone().into());
        input.insert("cniVersion".to_owned(), self.conf.version.text().into());
        let taken: Map<_, _> = self
            .capability_args
            .iter()
            .filter(|(name, _)| plugin.takes(name))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        if !taken.is_empty() {
            input.insert("runtimeConfig".to_owned(), taken.into());
        }
        if let Some(result) = result {
            input.insert("prevResult".to_owned(), result.clone());
        }
        input.into()
    }
}
