//! The plugins of one network, one after the other: ADD in order, each with the result of the one before; DEL in reverse
//! with the last result, going on past one that fails.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Map, Value};

use super::conf::{NetworkConf, PluginConf, Version};
use super::plugin::{self, Call, PluginError, Verb};

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
    /// To be asked before anything is done: a plugin that is missing at the end would have everything undone.
    pub fn find_all(&self) -> Result<(), PluginError> {
        self.conf.plugins.iter().try_for_each(|plugin| plugin::find(&plugin.kind, self.bin_dirs).map(drop))
    }

    /// The next plugin's ADD, after one that has answered `result`. Undoing a failure is the caller's, by `del`.
    pub async fn add(&self, plugin: &PluginConf, result: Option<&Value>) -> Result<Value, PluginError> {
        self.call(Verb::Add, plugin).execute(&self.input(plugin, result)).await
    }

    /// All that went wrong. May be repeated.
    pub async fn del(&self, result: Option<&Value>) -> Vec<PluginError> {
        let result = result.filter(|_| self.conf.version >= Version::V0_4_0);
        let mut troubles = Vec::new();
        for plugin in self.conf.plugins.iter().rev() {
            let input = self.input(plugin, result);
            troubles.extend(self.call(Verb::Del, plugin).execute(&input).await.err());
        }
        troubles
    }

    /// Whether it is still attached as it was. Networks that cannot be asked are taken at their word.
    pub async fn check(&self, result: &Value) -> Result<(), PluginError> {
        if self.conf.version < Version::V0_4_0 || self.conf.disable_check {
            return Ok(());
        }
        for plugin in &self.conf.plugins {
            self.call(Verb::Check, plugin).execute(&self.input(plugin, Some(result))).await?;
        }
        Ok(())
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

/// The versions that a plugin speaks.
pub async fn versions(
    kind: &str,
    bin_dirs: &[PathBuf],
    deadline: Duration,
    busy: &Path,
) -> Result<Vec<String>, PluginError> {
    let call =
        Call { verb: Verb::Version, kind, container: "", netns: None, ifname: "", args: "", bin_dirs, deadline, busy };
    // The newest that is spoken: what is asked for does not matter to plugins.
    let answer = call.execute(&serde_json::json!({ "cniVersion": "1.0.0" })).await?;
    let versions = answer.get("supportedVersions").and_then(Value::as_array);
    Ok(versions.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect())
}
