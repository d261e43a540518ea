//! `isula inspect`: all details of containers, images and volumes, as JSON or through a template.

use clap::{Command, value_parser};
use cri_api::isula::v1::{ContainerRequest, ImageRequest, NetworkRequest, VolumeRequest};
use serde::Serialize;
use serde_json::Value;
use serde_json::ser::{PrettyFormatter, Serializer};
use tonic::{Code, Status};

use super::{Invocation, Verb};
use crate::client::{self, Client};
use crate::failure::{Failure, GENERAL};
use crate::text::template::Template;
use crate::{flag, output, targets};

pub(super) const VERB: Verb = Verb {
    name: "inspect",
    about: "Show all details of containers, images and volumes",
    usage: "inspect [OPTIONS] NAME [NAME...]",
    refusal: GENERAL,
    hidden: false,
    flags: |command| {
        let kind = flag::value("type", "TYPE", "container, image or volume [default: the first that there is]");
        flags(command, "NAME").arg(kind.value_parser(kind_of))
    },
    run: |invocation| Box::pin(run(invocation)),
};

/// The kinds of things that have names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Container,
    Image,
    Volume,
    Network,
}

/// In this order a name without a kind is looked for.
const KINDS: [Kind; 3] = [Kind::Container, Kind::Image, Kind::Volume];

fn kind_of(text: &str) -> Result<Kind, &'static str> {
    match text {
        "container" => Ok(Kind::Container),
        "image" => Ok(Kind::Image),
        "volume" => Ok(Kind::Volume),
        _ => Err("known are container, image and volume"),
    }
}

/// The flags of all inspections.
pub(super) fn flags(command: Command, what: &'static str) -> Command {
    command
        .arg(flag::value("format", "TEMPLATE", "Such as '{{.State.Pid}} {{json .Mounts}}'").short('f'))
        .arg(
            flag::value("time", "SECONDS", "Accepted for scripts that give it; nothing is waited for")
                .short('t')
                .value_parser(value_parser!(u32))
                .hide(true),
        )
        .arg(flag::words(what))
}

async fn run(invocation: Invocation) -> Result<u8, Failure> {
    let kind = invocation.matches.get_one::<Kind>("type").copied();
    show(invocation, kind).await
}

/// Shows the things with these names of this kind, or of the first kind that has such a name.
pub(super) async fn show(invocation: Invocation, kind: Option<Kind>) -> Result<u8, Failure> {
    let Invocation { name: verb, matches, daemon } = invocation;
    let names = targets::names(&matches, &verb)?;
    let template = flag::text(&matches, "format").map(Template::parse).transpose();
    let template = template.map_err(|error| Failure::usage(error.to_string()))?;
    let client = daemon.connect().await?;
    if let Some(template) = template {
        return targets::each(&names, async |name| {
            let details = details(&client, name, kind).await?;
            let text = template.render(&details).map_err(|error| Failure::Client(format!("{name}: {error}")))?;
            Ok(Some(text))
        })
        .await;
    }
    let mut found = Vec::new();
    let code = targets::each(&names, async |name| {
        found.push(details(&client, name, kind).await?);
        Ok(None)
    })
    .await?;
    if !found.is_empty() {
        output::line(&pretty(&found)?)?;
    }
    Ok(code)
}

async fn details(client: &Client, name: &str, kind: Option<Kind>) -> Result<Value, Failure> {
    let json = match kind {
        Some(kind) => ask(client, name, kind).await??,
        None => search(client, name).await?,
    };
    serde_json::from_str(&json)
        .map_err(|error| Failure::Client(format!("the daemon's description of {name} is not JSON: {error}")))
}

async fn search(client: &Client, name: &str) -> Result<String, Failure> {
    for kind in KINDS {
        match ask(client, name, kind).await? {
            Ok(json) => return Ok(json),
            Err(status) if status.code() == Code::NotFound => {}
            // A name that an image cannot have may be a volume's. Of a container it is the beginning of several ids.
            Err(status) if status.code() == Code::InvalidArgument && kind != Kind::Container => {}
            Err(status) => return Err(status.into()),
        }
    }
    Err(Failure::Daemon(format!("No such image or container or accelerator:{name}")))
}

/// The daemon's answer, or that there was none in time.
async fn ask(client: &Client, name: &str, kind: Kind) -> Result<Result<String, Status>, Failure> {
    let name = name.to_owned();
    let answer = match kind {
        Kind::Container => client::answer(client.containers().inspect(ContainerRequest { container: name })).await?,
        Kind::Image => client::answer(client.images().inspect(ImageRequest { image: name })).await?,
        Kind::Volume => client::answer(client.volumes().inspect(VolumeRequest { volume: name })).await?,
        Kind::Network => client::answer(client.networks().inspect(NetworkRequest { name })).await?,
    };
    Ok(answer.map(|details| details.json))
}

fn pretty(objects: &[Value]) -> Result<String, Failure> {
    let mut text = Vec::new();
    let mut serializer = Serializer::with_formatter(&mut text, PrettyFormatter::with_indent(b"    "));
    objects
        .serialize(&mut serializer)
        .map_err(|error| Failure::Client(format!("cannot write the description as JSON: {error}")))?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_stay_in_their_order() {
        let object: Value = serde_json::from_str(r#"{"Z":1,"A":[{}]}"#).unwrap();
        assert_eq!(
            pretty(&[object]).unwrap(),
            "[\n    {\n        \"Z\": 1,\n        \"A\": [\n            {}\n        ]\n    }\n]"
        );
    }
}
