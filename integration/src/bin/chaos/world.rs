//! The state that all threads of a run share, and the run itself.

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use integration::{Node, Runtime, rootfs};
use serde_json::json;

use super::claims::Claims;
use super::journal::Journal;
use super::judge::Evidence;
use super::kills::Kills;
use super::model::State;
use super::options::Options;
use super::report::Report;
use super::wire::Wire;
use super::{client, ending, isolation, journal, keeper, quiet, recipe, victims};

/// How often everything stands still to be compared.
const QUIET: Duration = Duration::from_secs(40);
/// Operations that last longer may wait for a paused container.
const THAWING: Duration = Duration::from_secs(20);

pub(crate) struct World {
    pub options: Options,
    pub wire: Wire,
    pub journal: Journal,
    pub kills: Kills,
    pub claims: Claims,
    pub report: Report,
    pub socket: PathBuf,
    pub rootfs: String,
    pub cgroup_parent: String,
    node: Mutex<Node>,
    begun: Instant,
    /// Clients and the killer shall leave.
    closing: AtomicBool,
    /// All shall leave.
    over: AtomicBool,
    gate: RwLock<()>,
    trace: Mutex<File>,
}

impl World {
    pub(crate) fn evidence(&self) -> Evidence<'_> {
        let Self { journal, kills, claims, .. } = self;
        Evidence { seed: self.options.seed, journal, kills, claims }
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Relaxed)
    }

    /// Nothing further is done or killed.
    pub(crate) fn finish(&self) {
        self.closing.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    pub(crate) fn node(&self) -> MutexGuard<'_, Node> {
        self.node.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Held during each operation and kill; a quiet moment gives none.
    pub(crate) fn enter(&self) -> RwLockReadGuard<'_, ()> {
        self.gate.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until no operation or kill is active. A process that was run in a container goes on only when that is thawed,
    /// and the clients that would do so wait for the same moment.
    pub(crate) fn hush(&self) -> RwLockWriteGuard<'_, ()> {
        let (held, is_held) = mpsc::channel();
        thread::scope(|scope| {
            scope.spawn(move || {
                while is_held.recv_timeout(THAWING) == Err(RecvTimeoutError::Timeout) {
                    self.thaw();
                }
            });
            let guard = self.gate.write().unwrap_or_else(PoisonError::into_inner);
            let _ = held.send(());
            guard
        })
    }

    fn thaw(&self) {
        let history = self.journal.read();
        let paused = history.model.present().filter(|(_, life)| life.state() == State::Paused);
        let ids: Vec<String> = paused.map(|(id, _)| id.clone()).collect();
        drop(history);
        for id in ids {
            // One that was removed or thawed meanwhile is fine.
            self.node().isula(&["unpause", &id]);
        }
    }

    pub(crate) fn time(&self, at: Instant) -> String {
        format!("{:.3} s", at.saturating_duration_since(self.begun).as_secs_f64())
    }

    pub(crate) fn clock(&self) -> String {
        self.time(Instant::now())
    }

    /// A line for the search for a violation's cause.
    pub(crate) fn trace(&self, line: &str) {
        let mut file = self.trace.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = writeln!(file, "{:>10.3} {line}", self.begun.elapsed().as_secs_f64());
    }
}

/// Runs all of it, inside of the namespaces; `true` when every reply held.
pub(crate) fn run(options: Options) -> anyhow::Result<bool> {
    let cgroup_parent = isolation::cgroup_parent(&options);
    let mut builder =
        Node::builder(Runtime::Runc).within(&options.scratch).config("cgroup-parent", json!(cgroup_parent));
    let runtimes: serde_json::Map<_, _> = [("runc", &options.runc), ("crun", &options.crun)]
        .into_iter()
        .filter_map(|(name, path)| Some((name.to_owned(), json!({"path": path.as_ref()?}))))
        .collect();
    if !runtimes.is_empty() {
        builder = builder.config("runtimes", runtimes.into());
    }
    let node = builder.start();
    for network in recipe::NETWORKS {
        node.ok(&["network", "create", network]);
    }
    let before = ending::Baseline::of(&node);
    let trace = options.scratch.join("chaos.log");
    let world = World {
        wire: Wire::new(node.socket())?,
        journal: Journal::default(),
        kills: Kills::default(),
        claims: Claims::default(),
        report: Report::default(),
        socket: node.socket(),
        rootfs: rootfs::BUSYBOX.to_string_lossy().into_owned(),
        cgroup_parent,
        node: Mutex::new(node),
        begun: Instant::now(),
        closing: AtomicBool::new(false),
        over: AtomicBool::new(false),
        gate: RwLock::new(()),
        trace: Mutex::new(File::create(&trace).with_context(|| format!("cannot write `{}`", trace.display()))?),
        options,
    };
    thread::scope(|scope| {
        scope.spawn(|| journal::follow(&world));
        scope.spawn(|| keeper::run(&world));
        scope.spawn(|| victims::run(&world));
        for number in 0..world.options.clients {
            let world = &world;
            scope.spawn(move || client::run(world, number));
        }
        conduct(&world);
        ending::run(&world, &before);
        world.over.store(true, Ordering::Relaxed);
    });
    let history = world.journal.read();
    println!(
        "chaos: {} events, {} containers, {} operations",
        history.last(),
        history.model.lives.len(),
        world.claims.counts()
    );
    println!("chaos: killed {}", world.kills.counts());
    drop(history);
    if world.report.none() {
        println!("chaos: every reply held (seed {})", world.options.seed);
        return Ok(true);
    }
    println!("chaos: broken (seed {}), with the last lines of all in `{}`:", world.options.seed, trace.display());
    println!("{}", world.report.summary());
    // Nothing is cleared: it is evidence. The namespaces end with this process.
    std::process::exit(1);
}

/// Lets it run, with a quiet moment now and then.
fn conduct(world: &World) {
    let end = world.begun + world.options.length;
    loop {
        let next = (Instant::now() + QUIET).min(end);
        while Instant::now() < next && !world.is_closing() {
            thread::sleep(Duration::from_millis(100));
        }
        if world.is_closing() || Instant::now() >= end {
            return;
        }
        let _quiet = world.hush();
        quiet::look(world);
    }
}
