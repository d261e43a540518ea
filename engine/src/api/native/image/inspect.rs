//! Inspect: the reference's keys, and those that tools for other engines look for.

use serde_json::{Map, Value, json};

use crate::api::native::{ApiError, Native};
use crate::clock::rfc3339;
use crate::domain::id::Digest;
use crate::image::manifest::{Execution, Healthcheck, ImageConfig};
use crate::image::records::Entity;
use crate::image::{ImageError, Images, familiar, stack};

impl Native {
    pub(super) async fn inspect_image(&self, reference: &str) -> Result<String, ApiError> {
        let entity = self.engine.images.find(reference)?;
        let (images, id) = (self.engine.images.clone(), entity.state.id);
        let reading = tokio::task::spawn_blocking(move || images.config(&id)).await;
        let config = reading.map_err(|source| ImageError::Task { source })?;
        let problem = config.as_ref().err().map(|error| crate::cause::chain(error));
        Ok(object(&self.engine.images, &entity, config.as_deref().ok(), problem).to_string())
    }
}

fn object(images: &Images, entity: &Entity, config: Option<&ImageConfig>, problem: Option<String>) -> Value {
    let image = &entity.state;
    let facts = &image.facts;
    let names = images.ledger().snapshot().names_of(image);
    let (tags, digests): (Vec<_>, Vec<_>) = names.iter().partition(|name| !name.contains('@'));
    let shown = |names: &[&String]| names.iter().map(|name| familiar(name)).collect::<Vec<_>>();
    let mut keys = json!({
        "id": image.id.to_string(),
        "repo_tags": shown(&tags),
        "repo_digests": shown(&digests),
        "size": facts.size,
        "created": rfc3339(facts.created),
        "loaded": rfc3339(Some(facts.added_at)),
        "used": rfc3339(Some(facts.used_at)),
        "pinned": facts.pinned,
        "manifest": facts.manifest.to_string(),
        "Id": image.id.to_string(),
        "RepoTags": shown(&tags),
        "RepoDigests": shown(&digests),
        "Created": rfc3339(facts.created),
        "Size": facts.size,
        "Architecture": facts.architecture,
        "Os": facts.os,
        "Journal": { "Seq": entity.seq, "Version": image.version },
    });
    let Value::Object(keys_of) = &mut keys else { return keys };
    if let Some(problem) = problem {
        keys_of.insert("ConfigError".to_owned(), json!(problem));
    }
    if let Some(config) = config {
        keys_of.extend(of_config(images, config));
    }
    keys
}

fn of_config(images: &Images, config: &ImageConfig) -> Map<String, Value> {
    let execution = execution(&config.execution);
    let (uid, username) = user(&config.execution.user);
    let layers = stack(&config.diff_ids);
    let place = |diff_id: &Digest| images.layer_files(diff_id).to_string_lossy().into_owned();
    let keys = json!({
        "top_layer": config.diff_ids.last().map(Digest::hex),
        "uid": uid,
        "username": username,
        "Healthcheck": config.execution.healthcheck.as_ref().map(healthcheck),
        "Spec": {
            "architecture": config.architecture,
            "os": config.os,
            "variant": config.variant,
            "author": config.author,
            "created": rfc3339(config.created),
            "config": execution,
            "rootfs": { "type": "layers", "diff_ids": texts(&config.diff_ids) },
        },
        "Author": config.author,
        "Variant": config.variant,
        "Config": execution,
        "RootFS": { "Type": "layers", "Layers": texts(&config.diff_ids) },
        "GraphDriver": { "Name": "overlay2", "Data": {
            "LowerDir": layers.iter().rev().map(place).collect::<Vec<_>>().join(":"),
        }},
    });
    match keys {
        Value::Object(keys) => keys,
        _ => Map::new(),
    }
}

fn texts(digests: &[Digest]) -> Vec<String> {
    digests.iter().map(ToString::to_string).collect()
}

fn execution(execution: &Execution) -> Value {
    let empty = |keys: &std::collections::BTreeSet<String>| {
        keys.iter().map(|key| (key.clone(), json!({}))).collect::<Map<_, _>>()
    };
    json!({
        "User": execution.user,
        "Env": execution.env,
        "Entrypoint": execution.entrypoint,
        "Cmd": execution.cmd,
        "WorkingDir": execution.working_dir,
        "Labels": execution.labels,
        "Volumes": empty(&execution.volumes),
        "ExposedPorts": empty(&execution.exposed_ports),
        "StopSignal": execution.stop_signal,
        "Healthcheck": execution.healthcheck.as_ref().map(healthcheck),
        "Shell": execution.shell,
    })
}

fn healthcheck(check: &Healthcheck) -> Value {
    json!({
        "Test": check.test,
        "Interval": check.interval,
        "Timeout": check.timeout,
        "StartPeriod": check.start_period,
        "Retries": check.retries,
    })
}

/// A number is an id, anything else a name; the group is of no concern here.
fn user(text: &str) -> (Option<u32>, &str) {
    let name = text.split_once(':').map_or(text, |(user, _)| user);
    match name.parse() {
        Ok(uid) => (Some(uid), ""),
        Err(_) => (None, name),
    }
}
