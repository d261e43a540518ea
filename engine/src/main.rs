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
    let mut config = Config::load(flags)?;
    anyhow::ensure!(nix::unistd::geteuid().is_root(), "isulad must be run as root");
    log_to_stderr(&config.log_level);
    config.open_files = raise_open_files();
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

/// Each container costs a few descriptors: as many as the hard limit allows. Answers the limits as they were, for the
/// containers: a program that walks its descriptors, or uses `select`, must not see a daemon's limit.
fn raise_open_files() -> Option<(i64, i64)> {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).ok()?;
    if soft < hard {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard).ok()?;
    }
    Some((i64::try_from(soft).unwrap_or(-1), i64::try_from(hard).unwrap_or(-1)))
}
