//! One container's shim, from its first instruction to its last.
//!
//! ```text
//! detach ─▶ set up ─▶ launch ─▶ ready ─▶ supervise ─▶ drain ─▶ exit record ─▶ exit_fifo ─▶ delete ─▶ farewell ─▶ leave
//!              └────────┴─▶ undo, failed            adopt ──▲
//! ```
//! A crash up to `launch` leaves at most state that the runtime's `delete --force` removes; from there on the
//! container lives without a shim and another shim adopts it; after the exit record only `delete` is left to do.

mod answer;
mod ending;
mod exec;
mod flow;
mod launch;
mod output;
mod own_process;
mod reaper;
mod runtime;
mod runtime_log;
mod stdio;

use std::process::ExitCode;

use isulad_shim::sys::spawn::Mode;
use isulad_shim::{Failed, Outcome, Process, ProcessRef, StateDir, Step};

use answer::Answer;
pub(crate) use exec::exec;

/// The constants of a shim's life.
pub(crate) struct Shim {
    pub state: StateDir,
    pub process: Process,
    /// This process.
    pub me: ProcessRef,
}

pub(crate) fn main(mode: Mode, state: StateDir) -> ExitCode {
    let (mut answer, client) = match own_process::take_descriptors() {
        Ok(taken) => taken,
        Err(error) => {
            eprintln!("isulad-shim: {error:#}");
            return ExitCode::FAILURE;
        }
    };
    let step = if mode == Mode::Adopt { Step::Adopt } else { Step::Setup };
    match start(mode, state, &mut answer, client) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("isulad-shim: {error:#}");
            answer.send(&Outcome::Failed(Failed { step, message: format!("{error:#}"), runtime_status: None }));
            ExitCode::FAILURE
        }
    }
}

fn start(
    mode: Mode,
    state: StateDir,
    answer: &mut Answer,
    client: Option<std::os::fd::OwnedFd>,
) -> anyhow::Result<ExitCode> {
    let me = own_process::detach(mode, &state)?;
    // Order: recovery unlinks `process.json` first and reads `shim-pid` then. Either it sees this shim, or this read
    // fails.
    let process = Process::read(&state.process())?;
    let client = client.filter(|_| process.first_client && mode == Mode::Run);
    own_process::settle(&state)?;
    let shim = Shim { state, process, me };
    match mode {
        Mode::Run => flow::run(&shim, answer, client),
        Mode::Adopt => flow::adopt(&shim, answer),
    }
}
