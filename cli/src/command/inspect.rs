//! `isula inspect`: all the daemon tells of containers, as JSON or through a template.

use clap::{Command, value_parser};
use cri_api::isula::v1::ContainerRequest;
use serde::Serialize;
use serde_json::Value;
use serde_json::ser::{PrettyFormatter, Serializer};

use super::{Invocation, Verb};
use crate::client::Client;
use crate::failure::{Failure, GENERAL};
use crate::text::template::Template;
use crate::{client, flag, output, targets};

pub(super) const VERB: Verb = Verb {
    name: "inspect",
    about: "Show all details of containers",
    usage: "inspect [OPTIONS] CONTAINER [CONTAINER...]",
    refusal: GENERAL,
    hidden: false,
    flags,
    run: |invocation| Box::pin(run(invocation)),
};

fn flags(command: Command) -> Command {
    command
        .arg(flag::value("format", "TEMPLATE", "Such as '{{.State.Pid}} {{json .Mounts}}'").short('f'))
        .arg(
            flag::value("time", "SECONDS", "Accepted for scripts that give it; nothing is waited for")
                .short('t')
                .value_parser(value_parser!(u32))
                .hide(true),
        )
        .arg(flag::words("CONTAINER"))
}

async fn run(Invocation { matches, daemon }: Invocation) -> Result<u8, Failure> {
    let names = targets::names(&matches, VERB.name)?;
    let template = flag::text(&matches, "format").map(Template::parse).transpose();
    let template = template.map_err(|error| Failure::usage(error.to_string()))?;
    let client = daemon.connect().await?;
    if let Some(template) = template {
        return targets::each(&names, async |name| {
            let details = details(&client, name).await?;
            let text = template.render(&details).map_err(|error| Failure::Client(format!("{name}: {error}")))?;
            Ok(Some(text))
        })
        .await;
    }
    let mut found = Vec::new();
    let code = targets::each(&names, async |name| {
        found.push(details(&client, name).await?);
        Ok(None)
    })
    .await?;
    if !found.is_empty() {
        output::line(&pretty(&found)?)?;
    }
    Ok(code)
}

async fn details(client: &Client, name: &str) -> Result<Value, Failure> {
    let request = ContainerRequest { container: name.to_owned() };
    let json = client::read(client.containers().inspect(request)).await?.json;
    serde_json::from_str(&json)
        .map_err(|error| Failure::Client(format!("the daemon's description of {name} is not JSON: {error}")))
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
