//! The settings of an image for a new container, where the request has none of its own.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use super::ContainerSpec;
use crate::containers::ContainerError;
use crate::definition::Healthcheck;
use crate::domain::id::Digest;
use crate::image::manifest::ImageConfig;
use crate::latest::Environment;
use crate::signals;

/// The image of a container that is being created.
#[derive(Debug, Clone)]
pub(super) struct ImageForCreate {
    pub id: Digest,
    /// The name in the request.
    pub name: String,
    pub config: Arc<ImageConfig>,
    /// Directories of its layers, bottom first and each once.
    pub layers: Vec<String>,
}

/// Settings that have no field in a request.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct FromImage {
    /// `port[-port]/protocol`, the request's and the image's.
    pub exposed: Vec<String>,
    /// Absolute, plain paths at which the image wants volumes.
    pub volumes: Vec<String>,
    pub healthcheck: Option<Healthcheck>,
}

/// Completes the specification with the image's settings. Invalid settings that can be left out are, with a warning: the user
/// cannot change the image.
pub(super) fn merge(
    spec: &mut ContainerSpec,
    image: Option<&ImageForCreate>,
    warnings: &mut Vec<String>,
) -> Result<FromImage, ContainerError> {
    let mut from_image = FromImage::default();
    let mut known = HashSet::new();
    for port in &spec.expose {
        from_image.expose(port, &mut known).map_err(ContainerError::invalid)?;
    }
    let Some(image) = image else { return Ok(from_image) };
    let (name, config) = (&image.name, &image.config.execution);
    let mut ignored = |what: String| warnings.push(format!("image {name}: {what}; it is ignored"));
    command(spec, config.entrypoint.as_deref(), config.cmd.as_deref());
    spec.env = environment(&config.env, &spec.env, &mut ignored);
    if spec.user.is_empty() {
        spec.user.clone_from(&config.user);
    }
    if spec.workdir.is_empty() && !config.working_dir.is_empty() {
        spec.workdir = from_root(&config.working_dir);
    }
    if let Some(signal) = config.stop_signal.as_deref().filter(|_| spec.stop_signal.is_empty()) {
        match signals::parse(signal) {
            Some(_) => spec.stop_signal = signal.to_owned(),
            None => ignored(format!("stop signal `{signal}` is unknown")),
        }
    }
    for (key, value) in config.labels.iter().filter(|(key, _)| !key.is_empty()) {
        spec.labels.entry(key.clone()).or_insert_with(|| value.clone());
    }
    for port in &config.exposed_ports {
        if let Err(problem) = from_image.expose(port, &mut known) {
            ignored(problem);
        }
    }
    let volumes: BTreeSet<String> = config.volumes.iter().map(|path| plain(path)).collect();
    if volumes.contains("/") {
        return Err(ContainerError::invalid(format!(
            "image {name} wants a volume at `/`, which no container can have"
        )));
    }
    from_image.volumes = volumes.into_iter().collect();
    from_image.healthcheck = config
        .healthcheck
        .as_ref()
        .filter(|check| !spec.no_healthcheck && check.test.first().is_some_and(|kind| kind != "NONE"))
        .map(|check| Healthcheck {
            test: check.test.clone(),
            interval: check.interval,
            timeout: check.timeout,
            start_period: check.start_period,
            retries: check.retries,
        });
    Ok(from_image)
}

/// The image's command belongs to the image's entry point: a request that replaces the entry point has to give the
/// command as well.
fn command(spec: &mut ContainerSpec, entrypoint: Option<&[String]>, command: Option<&[String]>) {
    if !spec.entrypoint.is_empty() || spec.no_entrypoint {
        return;
    }
    spec.entrypoint = entrypoint.unwrap_or_default().to_vec();
    if spec.command.is_empty() {
        spec.command = command.unwrap_or_default().to_vec();
    }
}

/// The image's variables, each replaced by the request's of that name, then the request's others.
fn environment(of_image: &[String], own: &[String], ignored: &mut impl FnMut(String)) -> Vec<String> {
    let mut merged = Environment::default();
    for entry in of_image {
        match entry.split_once('=') {
            Some((key, _)) if !key.is_empty() => merged.put(entry.as_str()),
            Some(_) | None => ignored(format!("environment variable `{entry}` is not KEY=VALUE")),
        }
    }
    own.iter().for_each(|entry| merged.put(entry.as_str()));
    merged.into_entries().map(String::from).collect()
}

impl FromImage {
    fn expose(&mut self, text: &str, known: &mut HashSet<String>) -> Result<(), String> {
        let port = port(text).ok_or_else(|| {
            format!("exposed port `{text}` is not PORT[-PORT][/tcp|udp|sctp] with ports from 1 to 65535")
        })?;
        if known.insert(port.clone()) {
            self.exposed.push(port);
        }
        Ok(())
    }
}

/// A port or a range of them, with its protocol.
fn port(text: &str) -> Option<String> {
    let (ports, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = protocol.to_ascii_lowercase();
    if !matches!(protocol.as_str(), "tcp" | "udp" | "sctp") {
        return None;
    }
    let number = |text: &str| -> Option<u16> {
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        text.parse().ok().filter(|port| digits && *port > 0)
    };
    match ports.split_once('-') {
        Some((first, last)) => match (number(first)?, number(last)?) {
            (first, last) if first == last => Some(format!("{first}/{protocol}")),
            (first, last) => (first < last).then(|| format!("{first}-{last}/{protocol}")),
        },
        None => number(ports).map(|port| format!("{port}/{protocol}")),
    }
}

/// A path in an image is relative to its root, also without a leading slash.
fn from_root(path: &str) -> String {
    if path.starts_with('/') { path.to_owned() } else { format!("/{path}") }
}

/// An absolute path without doubled slashes, `.` and `..`.
pub(super) fn plain(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            name => parts.push(name),
        }
    }
    format!("/{}", parts.join("/"))
}

#[cfg(test)]
#[path = "image_tests.rs"]
mod tests;
