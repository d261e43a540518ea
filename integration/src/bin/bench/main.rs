//! `bench`: measures the real binaries against the bare runtime and against their budgets, and prints a table.
//!
//! Ratios and overheads are taken within one run, in turn, since nothing else is comparable on a shared machine. It
//! needs root, leaves nothing behind, and exits with an error only when something could not be measured.

mod bare;
mod child;
mod daemon;
mod exec;
mod figures;
mod images;
mod life;
mod logs;
mod many;
mod memory;
mod place;
mod restart;
mod stages;
mod start;
mod update;
mod usage;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};
use tokio::signal::unix::{SignalKind, signal};

use place::{Disk, Place};

const USAGE: &str = "usage: bench --bin-dir DIR [--only sequential,parallel,life,running,recorded,images,logs,update,usage,exec,execs,many] \
                     [--runtimes runc,crun] [--rounds N] [--execs N] [--compare DIR] [--work-dir DIR] \
                     [--disk image|plain] [--busybox FILE]";

/// The options of the command line.
struct Options {
    bins: PathBuf,
    only: Vec<String>,
    runtimes: Vec<String>,
    rounds: usize,
    /// In a row.
    execs: usize,
    /// Other binaries, to be started in turn with the first.
    compare: Option<PathBuf>,
    work: PathBuf,
    busybox: PathBuf,
    disk: Disk,
}

impl Options {
    fn parse(mut words: impl Iterator<Item = String>) -> anyhow::Result<Self> {
        let list = |value: &str| value.split(',').map(str::to_owned).collect();
        let mut options = Self {
            bins: PathBuf::new(),
            // Not `execs`, which takes minutes.
            only: list("sequential,parallel,life,running,recorded,images,logs,update,usage,exec,many"),
            runtimes: list("runc,crun"),
            rounds: 50,
            execs: 10_000,
            compare: None,
            // On a disk, where /tmp often is not.
            work: "/var/tmp".into(),
            busybox: "/bin/busybox".into(),
            disk: Disk::Image,
        };
        while let Some(flag) = words.next() {
            let value = words.next().with_context(|| format!("{flag} needs a value\n{USAGE}"))?;
            match flag.as_str() {
                "--bin-dir" => options.bins = value.into(),
                "--only" => options.only = list(&value),
                "--runtimes" => options.runtimes = list(&value),
                "--rounds" => options.rounds = value.parse().context("--rounds needs a number")?,
                "--execs" => options.execs = value.parse().context("--execs needs a number")?,
                "--compare" => options.compare = Some(place::find(value.as_ref())?),
                "--work-dir" => options.work = value.into(),
                "--disk" if value == "image" => options.disk = Disk::Image,
                "--disk" if value == "plain" => options.disk = Disk::Plain,
                "--busybox" => options.busybox = value.into(),
                _ => bail!("unknown flag {flag}\n{USAGE}"),
            }
        }
        if options.bins.as_os_str().is_empty() {
            bail!("--bin-dir is missing\n{USAGE}");
        }
        Ok(options)
    }

    fn wants(&self, name: &str) -> bool {
        self.only.iter().any(|only| only == name)
    }
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let [first, rest @ ..] = words.as_slice()
        && first == child::WORD
    {
        return child::main(rest);
    }
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> anyhow::Result<()> {
    let options = Options::parse(std::env::args().skip(1))?;
    place::enter_own_mounts()?;
    let place = Place::new(&options.work, &options.bins, &options.busybox, options.disk)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        tokio::select! {
            measured = measure(&place, &options) => measured,
            _ = interrupt.recv() => bail!("interrupted"),
            _ = terminate.recv() => bail!("terminated"),
        }
    })
}

async fn measure(place: &Place, options: &Options) -> anyhow::Result<()> {
    println!(
        "on {}, state in memory, kernel {}",
        match place.disk {
            Disk::Image => "an ext4 file system of its own, with a journal",
            Disk::Plain => "the work directory's file system",
        },
        std::fs::read_to_string("/proc/sys/kernel/osrelease")?.trim()
    );
    for runtime in &options.runtimes {
        if options.wants("sequential") {
            start::sequential(place, options.compare.as_deref(), runtime, options.rounds).await?;
        }
        if options.wants("parallel") {
            start::parallel(place, runtime, options.rounds.div_ceil(10)).await?;
        }
        if options.wants("life") {
            life::life(place, options.compare.as_deref(), runtime, options.rounds).await?;
        }
        if options.wants("update") {
            update::update(place, runtime, options.rounds).await?;
        }
        if options.wants("exec") {
            exec::pairs(place, runtime, options.rounds).await?;
        }
        if options.wants("execs") {
            exec::many(place, runtime, options.execs).await?;
        }
    }
    let runtime = options.runtimes.first().context("there is no runtime to measure with")?;
    if options.wants("running") {
        restart::running(place, runtime).await?;
    }
    if options.wants("recorded") {
        restart::recorded(place, runtime).await?;
    }
    if options.wants("usage") {
        usage::usage(place, runtime, options.rounds.div_ceil(2)).await?;
    }
    if options.wants("logs") {
        logs::logs(place, options.compare.as_deref(), runtime, options.rounds.div_ceil(10)).await?;
    }
    if options.wants("many") {
        many::many(place, options.compare.as_deref(), runtime, options.rounds.div_ceil(10)).await?;
    }
    if options.wants("images") {
        images::images(place, runtime, options.rounds.div_ceil(10)).await?;
    }
    Ok(())
}
