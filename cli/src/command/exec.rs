//! `isula exec`: runs a further process in a running container. In the foreground it stands for that process: same
//! output, same input, same exit code; and it takes the process with it when it ends first.

use std::io::IsTerminal;

use clap::{ArgMatches, Command};
use cri_api::isula::v1::exec_output::Output;
use cri_api::isula::v1::{ExecOpen, ExecProcess};

use super::{Invocation, Verb};
use crate::client::Client;
use crate::container::environment;
use crate::failure::{Failure, USAGE};
use crate::stream::{self, Call, Exec, Session, keys};
use crate::{flag, output};

pub(super) const VERB: Verb = Verb {
    name: "exec",
    about: "Run a command in a running container",
    usage: "exec [OPTIONS] CONTAINER COMMAND [ARG...]",
    // Not 1, which is an exit code of the process.
    refusal: USAGE,
    hidden: false,
    flags,
    run: |invocation| Box::pin(run(invocation)),
};

fn flags(command: Command) -> Command {
    command
        .arg(flag::switch("detach", "Leave it in the background").short('d'))
        .args(environment::flags())
        .arg(flag::switch("interactive", "Pass our input on").short('i'))
        .arg(flag::switch("tty", "Give it a terminal").short('t'))
        .arg(flag::value("user", "USER[:GROUP]", "Name or uid, and group or gid [default: the container's]").short('u'))
        .arg(flag::value("workdir", "DIR", "Working directory in the container [default: the container's]").short('w'))
        .arg(flag::switch("privileged", "Give it all capabilities"))
        .arg(keys::arg())
        .arg(flag::command_words("CONTAINER COMMAND"))
}

async fn run(Invocation { matches, daemon, .. }: Invocation) -> Result<u8, Failure> {
    let open = open(&matches)?;
    let keys = keys::given(&matches)?;
    let tty = open.process.as_ref().is_some_and(|process| process.tty);
    if tty && open.stdin && !std::io::stdin().is_terminal() {
        return Err(Failure::Client("The input device is not a TTY".into()));
    }
    let client = daemon.connect().await?;
    if open.detach {
        return detached(&client, open).await;
    }
    let stdin = open.stdin;
    let session = Session {
        call: Exec { open },
        open_call: None,
        container: String::new(),
        tty,
        stdin,
        keys,
        // The process ends with us, and so by any signal that ends us.
        sig_proxy: false,
        redraw: false,
        if_lost: "the process has ended with the connection".into(),
    };
    stream::run(&client, session).await
}

fn open(matches: &ArgMatches) -> Result<ExecOpen, Failure> {
    let mut words = flag::given_words(matches);
    if words.len() < 2 {
        return Err(Failure::usage("\"exec\" requires a minimum of 2 arguments.\nSee 'isula exec --help'."));
    }
    let container = words.remove(0);
    let tty = flag::is_on(matches, "tty");
    let detach = flag::is_on(matches, "detach");
    let process = ExecProcess {
        container,
        command: words,
        env: environment::given(matches)?,
        user: flag::text_or_empty(matches, "user"),
        workdir: flag::text_or_empty(matches, "workdir"),
        tty,
        privileged: flag::is_on(matches, "privileged"),
    };
    let stdin = flag::is_on(matches, "interactive") && !detach;
    Ok(ExecOpen { process: Some(process), stdin, stdout: !detach, stderr: !detach && !tty, detach, size: None })
}

/// Returns when it runs.
async fn detached(client: &Client, open: ExecOpen) -> Result<u8, Failure> {
    let call = Exec { open };
    let mut messages = client.execs().exec(tokio_stream::iter([call.open(None)])).await?.into_inner();
    match messages.message().await?.and_then(|message| message.output) {
        Some(Output::Failed(failure)) => Ok(stream::start_failed(&failure)),
        Some(Output::Started(_)) => Ok(0),
        Some(Output::Stdout(_) | Output::Stderr(_) | Output::Exited(_)) | None => {
            output::complain("The daemon does not say whether the process was started");
            Ok(USAGE)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Result<ExecOpen, String> {
        let command = flags(Command::new("exec").no_binary_name(true).args_override_self(true));
        let matches = command.try_get_matches_from(words).map_err(|error| error.to_string())?;
        open(&matches).map_err(|failure| failure.to_string())
    }

    #[test]
    fn flags_end_at_the_container() {
        let open =
            parse(&["-it", "-e", "A=1", "-u", "1:2", "-w", "/w", "--privileged", "c", "ls", "-l", "-d"]).unwrap();
        let process = open.process.unwrap();
        assert_eq!((process.container.as_str(), process.command), ("c", vec!["ls".into(), "-l".into(), "-d".into()]));
        assert_eq!((process.env, process.user.as_str(), process.workdir.as_str()), (vec!["A=1".into()], "1:2", "/w"));
        assert!(process.tty && process.privileged && open.stdin && open.stdout && !open.stderr && !open.detach);
        let open = parse(&["-di", "c", "ls"]).unwrap();
        assert!(open.detach && !open.stdin && !open.stdout && !open.stderr);
        let open = parse(&["c", "ls"]).unwrap();
        assert!(open.stderr && !open.stdin);
    }

    #[test]
    fn a_container_and_a_command_are_wanted() {
        for words in [&[][..], &["c"], &["-i", "c"]] {
            assert_eq!(
                parse(words).unwrap_err(),
                "\"exec\" requires a minimum of 2 arguments.\nSee 'isula exec --help'."
            );
        }
    }
}
