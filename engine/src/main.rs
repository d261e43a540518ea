//! `isulad`: the daemon.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser;
use engine::config::{Config, Flags};
use engine::log_lines::LogLines;
use engine::{failpoint, panics, server};
use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// The upper limit of threads that poll tasks.
const WORKERS: usize = 8;

fn main() -> ExitCode {
    let flags = Flags::parse();
    if flags.list_failpoints {
        failpoint::ALL.iter().for_each(|name| println!("{name}"));
        return ExitCode::SUCCESS;
    }
    engine::limit_memory();
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
    panics::install();
    config.open_files = raise_open_files();
    // Computing and waiting have threads of their own: more workers would only cost memory.
    let workers = std::thread::available_parallelism().map_or(WORKERS, |cores| cores.get().min(WORKERS));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .worker_threads(workers)
        .thread_name_fn(panics::thread_name)
        .build()?;
    panics::workers_are_started(&runtime.metrics());
    let outcome = runtime.block_on(server::run(config, notify));
    // Blocking work that hangs must not hold up the exit.
    runtime.shutdown_timeout(std::time::Duration::from_secs(2));
    outcome
}

fn log_to_stderr(level: &str) {
    // Checked with the rest of the configuration.
    let level = level.parse().unwrap_or(LevelFilter::INFO);
    let libraries = ["h2", "hyper", "tonic", "tower", "sled"].map(|library| (library, level.min(LevelFilter::WARN)));
    let filter = Targets::new().with_default(level).with_targets(libraries);
    let lines = tracing_subscriber::fmt::layer();
    let lines = lines.with_writer(|| LogLines(std::io::stderr())).with_ansi(false).with_target(false);
    tracing_subscriber::registry().with(lines.with_filter(filter)).init();
}

/// Each container costs a few descriptors, so the soft limit is raised to the hard one. Returns the former limits, for
/// the containers: a program that walks its descriptors, or uses `select`, must not see a daemon's limit.
fn raise_open_files() -> Option<(i64, i64)> {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).ok()?;
    if soft < hard {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard).ok()?;
    }
    Some((i64::try_from(soft).unwrap_or(-1), i64::try_from(hard).unwrap_or(-1)))
}
