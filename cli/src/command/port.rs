//! `isula port`: where a container's ports are reached.

use clap::Command;
use cri_api::isula::v1::ContainerRequest;
use serde_json::Value;

use super::{Invocation, Verb};
use crate::failure::{Failure, GENERAL};
use crate::{client, flag, output};

pub(super) const VERB: Verb = Verb {
    name: "port",
    about: "Show where the ports of a container are reached",
    usage: "port CONTAINER [PORT[/PROTOCOL]]",
    refusal: GENERAL,
    hidden: false,
    flags: |command: Command| command.arg(flag::words("CONTAINER")),
    run: |invocation| Box::pin(run(invocation)),
};

async fn run(Invocation { name: verb, matches, daemon }: Invocation) -> Result<u8, Failure> {
    let words = flag::given_words(&matches);
    let (container, port) = match words.as_slice() {
        [container] => (container, None),
        [container, port] => (container, Some(port)),
        _ => {
            return Err(Failure::usage(format!("\"{verb}\" requires 1 or 2 arguments.\nSee 'isula {verb} --help'.")));
        }
    };
    let wanted = port.map(|port| private(port)).transpose()?;
    let client = daemon.connect().await?;
    let request = ContainerRequest { container: container.clone() };
    let json = client::read(client.containers().inspect(request)).await?.json;
    let details: Value = serde_json::from_str(&json)
        .map_err(|error| Failure::Client(format!("the daemon's description of {container} is not JSON: {error}")))?;
    let mut lines = published(&details);
    if let Some(wanted) = wanted {
        lines.retain(|(private, _)| *private == wanted);
        if lines.is_empty() {
            return Err(Failure::Daemon(format!("No public port '{wanted}' published for {container}")));
        }
        let text: Vec<_> = lines.into_iter().map(|(_, public)| public).collect();
        output::line(&text.join("\n"))?;
    } else if !lines.is_empty() {
        let text: Vec<_> = lines.iter().map(|(private, public)| format!("{private} -> {public}")).collect();
        output::line(&text.join("\n"))?;
    }
    Ok(0)
}

/// `80` is `80/tcp`.
fn private(text: &str) -> Result<String, Failure> {
    let (port, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let number = port.parse::<u16>().ok().filter(|port| *port > 0);
    match number {
        Some(number) if ["tcp", "udp", "sctp"].contains(&protocol) => Ok(format!("{number}/{protocol}")),
        Some(_) | None => {
            Err(Failure::usage(format!("Invalid port \"{text}\": want PORT[/PROTOCOL], with ports from 1 to 65535")))
        }
    }
}

/// Each port of the container with where it is reached, in the order of the ports.
fn published(details: &Value) -> Vec<(String, String)> {
    let ports = details.pointer("/NetworkSettings/Ports").and_then(Value::as_object);
    let mut lines: Vec<(String, String)> = Vec::new();
    for (private, bindings) in ports.into_iter().flatten() {
        for binding in bindings.as_array().into_iter().flatten() {
            let text = |key: &str| binding.get(key).and_then(Value::as_str).unwrap_or_default();
            let (ip, port) = (text("HostIp"), text("HostPort"));
            let public = if ip.contains(':') { format!("[{ip}]:{port}") } else { format!("{ip}:{port}") };
            lines.push((private.clone(), public));
        }
    }
    let number = |private: &str| private.split('/').next().and_then(|port| port.parse::<u16>().ok());
    lines.sort_by_key(|(private, public)| (number(private), private.clone(), public.clone()));
    lines
}
