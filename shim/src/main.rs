//! `isulad-shim`: holds one container for its whole life, so that the container does not depend on the daemon.
//!
//! `run` starts the container and stays until it has ended; `adopt` takes over a container whose shim was lost; `exec`
//! holds one further process in a container. The protocol with the daemon is in the library beside this program.

mod shim;

use std::ffi::OsStr;
use std::process::ExitCode;

use isulad_shim::StateDir;
use isulad_shim::sys::spawn::Mode;

const USAGE: &str = "usage: isulad-shim run <state directory> | isulad-shim adopt <state directory> | \
                     isulad-shim exec <exec directory> | isulad-shim --version";

fn main() -> ExitCode {
    let args: Vec<_> = std::env::args_os().skip(1).collect();
    let args: Vec<&OsStr> = args.iter().map(AsRef::as_ref).collect();
    let (mode, state) = match args[..] {
        [word] if word == "--version" => {
            println!("isulad-shim {}", isulad_shim::VERSION);
            return ExitCode::SUCCESS;
        }
        [word, directory] if word == isulad_shim::exec::EXEC => return shim::exec(StateDir::new(directory)),
        [word, state] if word == Mode::Run.as_str() => (Mode::Run, state),
        [word, state] if word == Mode::Adopt.as_str() => (Mode::Adopt, state),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    shim::main(mode, StateDir::new(state))
}
