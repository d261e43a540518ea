//! `isula volume prune`: removes volumes that no container mounts.

use clap::Command;
use cri_api::isula::v1::PruneVolumesRequest;

use super::{Invocation, Verb};
use crate::failure::{Failure, GENERAL};
use crate::text::size;
use crate::{flag, output, prompt};

pub(super) const VERB: Verb = Verb {
    name: "prune",
    about: "Remove volumes that no container mounts",
    usage: "prune [OPTIONS]",
    refusal: GENERAL,
    hidden: false,
    flags,
    run: |invocation| Box::pin(run(invocation)),
};

const FILTERS: [&str; 1] = ["label"];

fn flags(command: Command) -> Command {
    command
        .arg(flag::switch("all", "Also those with a name, not only anonymous ones").short('a'))
        .arg(flag::switch("force", "Do not ask").short('f'))
        .arg(flag::list("filter", "KEY=VALUE", "label"))
}

async fn run(Invocation { matches, daemon, .. }: Invocation) -> Result<u8, Failure> {
    let all = flag::is_on(&matches, "all");
    let filters = flag::filters(&matches, &FILTERS)?;
    if !flag::is_on(&matches, "force") {
        let what = if all { "all volumes" } else { "all anonymous volumes" };
        prompt::consent(&format!("WARNING! This will remove {what} that no container mounts, with their data."))
            .await?;
    }
    let client = daemon.connect().await?;
    let pruned = client.volumes().prune(PruneVolumesRequest { all, filters }).await?.into_inner();
    let mut lines = pruned.deleted;
    if !lines.is_empty() {
        lines.insert(0, "Deleted Volumes:".to_owned());
        lines.push(String::new());
    }
    lines.push(format!("Total reclaimed space: {}", size::shown(pruned.reclaimed)));
    output::line(&lines.join("\n"))?;
    Ok(0)
}
