//! `isulad`: the daemon.

use std::process::ExitCode;

use clap::Parser;
use engine::config::{Config, Flags};
use engine::{failpoint, server};

fn main() -> ExitCode {
    let flags = Flags::parse();
    if flags.list_failpoints {
        failpoint::ALL.iter().for_each(|name| println!("{name}"));
        return ExitCode::SUCCESS;
    }
    let notify = server::Notify::take();
    match run(&flags, notify) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("isulad: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(flags: &Flags, notify: server::Notify) -> anyhow::Result<()> {
    let config = Config::load(flags)?;
    anyhow::ensure!(nix::unistd::geteuid().is_root(), "isulad must be run as root");
    log_to_stderr(&config.log_level);
    raise_limits();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().thread_name("isulad").build()?;
    let outcome = runtime.block_on(server::run(config, notify));
    // Blocking work that hangs must not hold up the end.
    runtime.shutdown_timeout(std::time::Duration::from_secs(2));
    outcome
}

fn log_to_stderr(level: &str) {
    let filter =
        tracing_subscriber::EnvFilter::try_new(format!("{level},h2=warn,hyper=warn,tonic=warn,tower=warn,sled=warn"))
            .unwrap_or_default();
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .with_target(false)
        .init();
}

/// Each container costs a few descriptors: as many as the hard limit allows.
fn raise_limits() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
        && soft < hard
    {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
}
