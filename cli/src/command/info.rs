//! `isula info`: facts about the daemon and its machine.

use clap::Command;
use cri_api::isula::v1::{Empty, InfoResponse};

use super::{Invocation, Verb};
use crate::failure::{Failure, GENERAL};
use crate::text::size;
use crate::{client, output};

pub(super) const VERB: Verb = Verb {
    name: "info",
    about: "Show information about the daemon",
    usage: "info",
    refusal: GENERAL,
    hidden: false,
    flags,
    run: |invocation| Box::pin(run(invocation)),
};

fn flags(command: Command) -> Command {
    command
}

async fn run(Invocation { daemon, .. }: Invocation) -> Result<u8, Failure> {
    let client = daemon.connect().await?;
    let info = client::read(client.system().info(Empty {})).await?;
    output::write(&page(&info))?;
    for warning in &info.warnings {
        output::complain(&format!("WARNING: {warning}"));
    }
    Ok(0)
}

fn page(info: &InfoResponse) -> String {
    let gib = info.total_memory.div_ceil(1 << 30);
    let mut lines = vec![
        format!("Containers: {}", info.containers),
        format!(" Running: {}", info.running),
        format!(" Paused: {}", info.paused),
        format!(" Stopped: {}", info.stopped),
    ];
    if info.unverified > 0 {
        lines.push(format!(" Unverified: {}", info.unverified));
    }
    lines.extend([
        format!("Images: {}", info.images),
        format!(" Size: {}", size::shown(info.image_bytes)),
        format!("Volumes: {}", info.volumes),
        format!("Server Version: {}", info.server_version),
        format!("Storage Driver: {}", info.storage_driver),
        format!("Logging Driver: {}", info.logging_driver),
        format!("Cgroup Driver: {}", info.cgroup_driver),
        format!("Cgroup Version: {}", info.cgroup_version),
        format!("Runtimes: {}", info.runtimes.join(" ")),
        format!("Default Runtime: {}", info.default_runtime),
        format!("Kernel Version: {}", info.kernel_version),
        format!("Operating System: {}", info.operating_system),
        "OSType: Linux".to_owned(),
        format!("Architecture: {}", info.architecture),
        format!("CPUs: {}", info.cpus),
        format!("Total Memory: {gib} GB"),
        format!("Name: {}", info.name),
        format!("iSulad Root Dir: {}", info.root_dir),
        format!("iSulad State Dir: {}", info.state_dir),
        format!("Journal Sequence: {}", info.journal_seq),
    ]);
    for (title, entries) in
        [("Registry Mirrors", &info.registry_mirrors), ("Insecure Registries", &info.insecure_registries)]
    {
        if !entries.is_empty() {
            lines.push(format!("{title}:"));
            lines.extend(entries.iter().map(|entry| format!(" {entry}")));
        }
    }
    lines.join("\n") + "\n"
}
