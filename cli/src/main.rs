//! `isula`: the command line of the engine. It turns words into one request on the daemon's socket and the answer
//! into text and an exit code; it decides nothing about containers itself.

#![forbid(unsafe_code)]

mod archive;
mod arguments;
mod client;
mod command;
mod container;
mod failure;
mod flag;
mod host;
mod interrupt;
mod output;
mod progress;
mod prompt;
mod stream;
mod targets;
mod text;

use std::process::ExitCode;

fn main() -> ExitCode {
    match arguments::run(std::env::args_os().skip(1).collect()) {
        Ok(code) => ExitCode::from(code),
        Err(ended) => {
            ended.report();
            ExitCode::from(ended.code)
        }
    }
}
