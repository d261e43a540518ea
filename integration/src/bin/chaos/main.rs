//! `chaos`: several clients use one engine at once while its daemon, shims, runtimes, plugins and clients are killed,
//! and a small model checks whether every acknowledged reply still holds.
//!
//! ```text
//!   clients ──isula──▶ isulad ◀── kills ── killer
//!      │                 │
//!      │ replies         │ events, followed across every restart
//!      ▼                 ▼
//!    judge ◀── model (a container's life by its events) ──▶ comparison with lists and with the world
//! ```
//!
//! The decisions (operations, their arguments, kills) follow from the seed alone; their effects depend on the machine.
//! All of it happens in pid, mount and network namespaces of their own, so nothing outside can be killed, mounted or
//! routed.

mod claims;
mod client;
mod compare;
mod dice;
mod ending;
mod isolation;
mod journal;
mod judge;
mod keeper;
mod kills;
mod model;
mod operation;
mod options;
mod quiet;
mod recipe;
mod report;
mod victims;
mod wire;
mod world;

use std::process::ExitCode;

use options::Options;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match words.first().map(String::as_str) {
        Some(isolation::INIT) => return isolation::init(&words[1..]),
        Some(isolation::INSIDE) => Options::parse(&words[1..]).and_then(world::run),
        _ => Options::parse(&words).and_then(|options| isolation::run(&options)),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("chaos: {error:#}");
            ExitCode::from(2)
        }
    }
}
