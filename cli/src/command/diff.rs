//! `isula diff`: a container's changes in its root filesystem.

use clap::Command;
use cri_api::isula::v1::file_change::Kind;
use cri_api::isula::v1::{ContainerRequest, FileChange};

use super::{Invocation, Verb};
use crate::failure::{Failure, GENERAL};
use crate::{flag, output, targets};

pub(super) const VERB: Verb = Verb {
    name: "diff",
    about: "List what a container has changed in its root filesystem",
    usage: "diff CONTAINER",
    refusal: GENERAL,
    hidden: false,
    flags,
    run: |invocation| Box::pin(run(invocation)),
};

/// Written at once.
const BLOCK: usize = 64 << 10;

fn flags(command: Command) -> Command {
    command.arg(flag::words("CONTAINER"))
}

async fn run(Invocation { name: verb, matches, daemon }: Invocation) -> Result<u8, Failure> {
    let [container] = targets::exactly::<1>(&matches, &verb)?;
    let client = daemon.connect().await?;
    let mut changes = client.files().diff(ContainerRequest { container }).await?.into_inner();
    let mut text = String::new();
    while let Some(change) = changes.message().await? {
        text.push_str(&line(&change));
        if text.len() > BLOCK {
            output::write(&text)?;
            text.clear();
        }
    }
    output::write(&text)?;
    Ok(0)
}

fn line(change: &FileChange) -> String {
    let letter = match change.kind() {
        Kind::Changed => 'C',
        Kind::Added => 'A',
        Kind::Deleted => 'D',
    };
    format!("{letter} {}\n", shown(&change.path))
}

/// One path is one line: control characters, backslashes and bytes that are no text are escaped as in C.
fn shown(path: &[u8]) -> String {
    let mut text = String::new();
    for chunk in path.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '\\' => text.push_str("\\\\"),
                '\n' => text.push_str("\\n"),
                '\t' => text.push_str("\\t"),
                control if control.is_control() => {
                    let mut bytes = [0; 4];
                    control.encode_utf8(&mut bytes).bytes().for_each(|byte| text.push_str(&format!("\\{byte:03o}")));
                }
                other => text.push(other),
            }
        }
        chunk.invalid().iter().for_each(|byte| text.push_str(&format!("\\{byte:03o}")));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_a_line() {
        for (path, wanted) in [
            (&b"/etc/x y"[..], "/etc/x y"),
            (b"/a\nb\tc\\d", "/a\\nb\\tc\\\\d"),
            (b"/\xff\x1b[0m", "/\\377\\033[0m"),
            ("/é".as_bytes(), "/é"),
        ] {
            assert_eq!(shown(path), wanted);
        }
        assert_eq!(line(&FileChange { kind: Kind::Deleted.into(), path: b"/x".to_vec() }), "D /x\n");
    }
}
