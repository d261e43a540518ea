//! `isula completion`: completions for a shell, made from the same tables as the parser.

use clap::{Arg, Command, value_parser};
use clap_complete::Shell;

use super::{Invocation, Verb};
use crate::failure::{Failure, GENERAL};
use crate::{arguments, output};

pub(super) const VERB: Verb = Verb {
    name: "completion",
    about: "Print completions for a shell: isula completion bash > /usr/share/bash-completion/completions/isula",
    usage: "completion bash|zsh|fish",
    refusal: GENERAL,
    hidden: true,
    flags,
    run: |invocation| Box::pin(run(invocation)),
};

fn flags(command: Command) -> Command {
    command.arg(Arg::new("shell").value_name("SHELL").required(true).value_parser(value_parser!(Shell)))
}

async fn run(Invocation { matches, .. }: Invocation) -> Result<u8, Failure> {
    let shell = matches.get_one::<Shell>("shell").copied().expect("the parser requires it");
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut arguments::tree(), "isula", &mut script);
    output::raw(&script)?;
    Ok(0)
}
