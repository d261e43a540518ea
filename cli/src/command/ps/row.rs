//! The fields of one container in a list.

use cri_api::isula::v1::ContainerSummary;
use serde_json::{Value, json};

use crate::text::{cut, elapsed, one_line};

const SHORT_ID: usize = 12;
/// Width of a shortened command with its quotes.
const COMMAND: usize = 22;

/// The heading of a field's column.
pub(super) fn title(field: &str) -> String {
    match field {
        "ID" => "CONTAINER ID".to_owned(),
        "ExitCode" => "EXIT_CODE".to_owned(),
        "RestartCount" => "RESTART_COUNT".to_owned(),
        other => other.to_uppercase(),
    }
}

/// The id, shortened unless `full`.
pub(super) fn id(container: &ContainerSummary, full: bool) -> String {
    if full { container.id.clone() } else { container.id.chars().take(SHORT_ID).collect() }
}

/// All fields that templates may name.
pub(super) fn fields(container: &ContainerSummary, now: i64, full: bool) -> Value {
    let mut labels: Vec<String> = container.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    labels.sort();
    json!({
        "ID": id(container, full),
        "Image": or(&container.image, "none"),
        "Command": command(&container.command, full),
        "Created": elapsed::ago(container.created_at, now),
        "Status": status(container, now),
        "Ports": container.ports,
        "Names": or(&container.name, "-"),
        "Pid": if container.pid == 0 { "-".to_owned() } else { container.pid.to_string() },
        "ExitCode": exit_code(container),
        "RestartCount": container.restart_count.to_string(),
        "StartAt": elapsed::since(container.started_at, now),
        "FinishAt": elapsed::since(container.finished_at, now),
        "Runtime": or(&container.runtime, "-"),
        "State": or(&container.state, "unknown"),
        "Labels": labels.join(","),
    })
}

fn or<'a>(text: &'a str, otherwise: &'a str) -> &'a str {
    if text.is_empty() { otherwise } else { text }
}

/// In quotes, on one line, cut to fit its column.
fn command(text: &str, full: bool) -> String {
    if full { format!("\"{}\"", one_line(text)) } else { format!("\"{}\"", cut(text, COMMAND - 2)) }
}

/// 0 for a container that has not exited; `unknown` for an unknown exit code.
fn exit_code(container: &ContainerSummary) -> String {
    match &container.exit {
        None => "0".to_owned(),
        Some(exit) => exit.code.map_or_else(|| "unknown".to_owned(), |code| code.to_string()),
    }
}

fn status(container: &ContainerSummary, now: i64) -> String {
    let up = || format!("Up {}", elapsed::since(container.started_at, now));
    let with_exit =
        |word: &str| format!("{word} ({}) {}", exit_code(container), elapsed::ago(container.finished_at, now));
    match container.state.as_str() {
        "running" if container.health.is_empty() => up(),
        "running" if container.health == "starting" => up() + " (health: starting)",
        "running" => format!("{} ({})", up(), container.health),
        "paused" => up() + " (Paused)",
        "inited" | "created" => "Created".to_owned(),
        "starting" => "Starting".to_owned(),
        "restarting" => with_exit("Restarting"),
        "removing" => "Removing".to_owned(),
        "exited" => with_exit("Exited"),
        _ => "Unknown".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use cri_api::isula::v1::ExitStatus;

    use super::*;

    const SECOND: i64 = 1_000_000_000;

    #[test]
    fn statuses() {
        let exited = |code| Some(ExitStatus { code, ..ExitStatus::default() });
        for (state, exit, health, wanted) in [
            ("running", None, "", "Up 3 minutes"),
            ("running", None, "healthy", "Up 3 minutes (healthy)"),
            ("running", None, "starting", "Up 3 minutes (health: starting)"),
            ("paused", None, "", "Up 3 minutes (Paused)"),
            ("inited", None, "", "Created"),
            ("starting", None, "", "Starting"),
            ("exited", exited(Some(7)), "", "Exited (7) 2 seconds ago"),
            ("exited", exited(None), "", "Exited (unknown) 2 seconds ago"),
            ("restarting", exited(Some(1)), "", "Restarting (1) 2 seconds ago"),
            ("removing", None, "", "Removing"),
            ("unknown", None, "", "Unknown"),
        ] {
            let container = ContainerSummary {
                state: state.into(),
                health: health.into(),
                exit,
                started_at: 1,
                finished_at: 178 * SECOND + 1,
                ..ContainerSummary::default()
            };
            assert_eq!(status(&container, 180 * SECOND + 1), wanted);
        }
    }

    #[test]
    fn commands() {
        for (text, wanted) in [
            ("", "\"\""),
            ("12345678901234567890", "\"12345678901234567890\""),
            ("123456789012345678901", "\"12345678901234567...\""),
            ("a\tb\nc", "\"a\\tb\\nc\""),
            ("ééééééééééééééééééééé", "\"ééééééééééééééééé...\""),
        ] {
            assert_eq!(command(text, false), wanted);
        }
        assert_eq!(command("123456789012345678901", true), "\"123456789012345678901\"");
    }
}
