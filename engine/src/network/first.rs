//! What executions of a plugin share on the host, chains of the packet filter above all, is made by the first of them that finds
//! it missing; two that find it missing at once trip over each other, and one is refused. So the first ADD of its kind and
//! shape is at work alone among its kind. Once it has succeeded, those of its shape are at work beside each other, until one
//! of the kind fails: somebody may have flushed the chains. Who comes while a first one waits to be alone lets it pass, so that
//! those of known shapes cannot keep it waiting by following each other.
//!
//! A turn is held across an execution, which is awaited; no lock is. Dropped, for whatever reason, it lets the next ones go on.
//! It is a courtesy, not a guarantee: one that hangs is waited for until it is `PATIENCE` old, and nobody waits longer than
//! twice that, for however many.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Map, Value};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::conf::PluginConf;

/// A plugin takes a part of a second, unless it hangs.
const PATIENCE: Duration = Duration::from_secs(5);

/// Who has been first, of each kind of plugin.
#[derive(Debug)]
pub struct Firsts {
    kinds: Mutex<BTreeMap<String, Kind>>,
    left: Notify,
    patience: Duration,
}

impl Default for Firsts {
    fn default() -> Self {
        Self::patient(PATIENCE)
    }
}

#[derive(Debug, Default)]
struct Kind {
    /// What they share is there.
    succeeded: BTreeSet<Shape>,
    /// By numbers in the order of their coming, as those that are at work.
    waiting: BTreeMap<u64, Shape>,
    at_work: BTreeMap<u64, Work>,
    next: u64,
}

#[derive(Debug)]
struct Work {
    since: Instant,
    alone: bool,
}

/// Executions of one shape need the same of what is shared: `portmap` makes no chains for who publishes nothing.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Shape {
    network: String,
    /// Capabilities that it is given, each with the families of the addresses in it.
    given: Vec<(String, BTreeSet<Family>)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Family {
    V4,
    V6,
}

impl Shape {
    pub fn of(network: &str, plugin: &PluginConf, capability_args: &Map<String, Value>) -> Self {
        let taken = capability_args.iter().filter(|(name, _)| plugin.takes(name));
        let given = taken.map(|(name, value)| {
            let mut families = BTreeSet::new();
            collect(value, &mut families);
            (name.clone(), families)
        });
        Self { network: network.to_owned(), given: given.collect() }
    }
}

fn collect(value: &Value, families: &mut BTreeSet<Family>) {
    match value {
        Value::String(text) => match text.parse() {
            Ok(IpAddr::V4(_)) => drop(families.insert(Family::V4)),
            Ok(IpAddr::V6(_)) => drop(families.insert(Family::V6)),
            Err(_) => {}
        },
        Value::Array(values) => values.iter().for_each(|value| collect(value, families)),
        Value::Object(map) => map.values().for_each(|value| collect(value, families)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

impl Firsts {
    pub(super) fn patient(patience: Duration) -> Self {
        Self { kinds: Mutex::default(), left: Notify::new(), patience }
    }

    /// Waits until an ADD of this kind and shape trips over nobody, or for too long.
    pub async fn turn(&self, kind: &str, shape: Shape) -> Turn<'_> {
        // Who has waited for one that hangs waits for the next first one too.
        let end = Instant::now() + 2 * self.patience;
        let coming = self.come(kind);
        loop {
            let mut left = std::pin::pin!(self.left.notified());
            // Who leaves between the look and the wait is heard.
            left.as_mut().enable();
            match self.enter(&coming, &shape, end) {
                Ok(()) => {
                    let (kind, number) = (kind.to_owned(), coming.number);
                    return Turn { firsts: self, kind, shape, number, succeeded: false };
                }
                Err(until) => drop(tokio::time::timeout_at(until, left).await),
            }
        }
    }

    fn come<'a>(&'a self, kind: &'a str) -> Coming<'a> {
        let mut kinds = self.lock();
        let of = kinds.entry(kind.to_owned()).or_default();
        let number = of.next;
        of.next += 1;
        Coming { firsts: self, kind, number }
    }

    /// When to look again, if it is not its turn.
    fn enter(&self, coming: &Coming<'_>, shape: &Shape, end: Instant) -> Result<(), Instant> {
        let mut kinds = self.lock();
        let kind = kinds.entry(coming.kind.to_owned()).or_default();
        let (now, alone) = (Instant::now(), !kind.succeeded.contains(shape));
        let ends = kind.at_work.values().filter(|work| alone || work.alone).map(|work| work.since + self.patience);
        let mut before = kind.waiting.range(..coming.number);
        // For half of its time at most.
        let passes = before.any(|(_, shape)| !kind.succeeded.contains(shape)).then(|| end - self.patience);
        // One that began longer ago hangs.
        if let Some(last) = ends.chain(passes).max().filter(|last| *last > now && end > now) {
            kind.waiting.insert(coming.number, shape.clone());
            return Err(last.min(end));
        }
        kind.at_work.insert(coming.number, Work { since: now, alone });
        Ok(())
    }

    /// A network of this name is another one from here on.
    pub fn forget(&self, network: &str) {
        for kind in self.lock().values_mut() {
            kind.succeeded.retain(|shape| shape.network != network);
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Kind>> {
        self.kinds.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// On its way in. Dropped, it keeps nobody waiting.
struct Coming<'a> {
    firsts: &'a Firsts,
    kind: &'a str,
    number: u64,
}

impl Drop for Coming<'_> {
    fn drop(&mut self) {
        let waited = self.firsts.lock().get_mut(self.kind).and_then(|kind| kind.waiting.remove(&self.number));
        if waited.is_some() {
            self.firsts.left.notify_waiters();
        }
    }
}

/// To be held while the plugin is at work. One that is dropped without `succeeded` has failed.
#[derive(Debug)]
#[must_use = "others go on when it is dropped"]
pub struct Turn<'a> {
    firsts: &'a Firsts,
    kind: String,
    shape: Shape,
    number: u64,
    succeeded: bool,
}

impl Turn<'_> {
    pub fn succeeded(mut self) {
        self.succeeded = true;
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if let Some(kind) = self.firsts.lock().get_mut(&self.kind) {
            kind.at_work.remove(&self.number);
            if self.succeeded {
                kind.succeeded.insert(self.shape.clone());
            } else {
                kind.succeeded.clear();
            }
        }
        self.firsts.left.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;

    use serde_json::json;

    use super::*;

    const NOW: Duration = Duration::ZERO;

    fn shape(network: &str) -> Shape {
        Shape { network: network.to_owned(), given: vec![] }
    }

    async fn now<'a>(firsts: &'a Firsts, kind: &str, network: &str) -> Option<Turn<'a>> {
        tokio::time::timeout(NOW, firsts.turn(kind, shape(network))).await.ok()
    }

    #[tokio::test]
    async fn the_first_is_alone_among_its_kind_and_later_ones_are_not() {
        let firsts = Firsts::default();
        let first = now(&firsts, "portmap", "a").await.unwrap();
        assert!(now(&firsts, "portmap", "a").await.is_none() && now(&firsts, "portmap", "b").await.is_none());
        let other = now(&firsts, "firewall", "a").await.expect("another kind shares nothing with it");
        first.succeeded();
        let known = [now(&firsts, "portmap", "a").await.unwrap(), now(&firsts, "portmap", "a").await.unwrap()];
        assert!(now(&firsts, "portmap", "b").await.is_none(), "it is the first of its shape");
        known.into_iter().for_each(Turn::succeeded);
        let first = now(&firsts, "portmap", "b").await.unwrap();
        assert!(now(&firsts, "portmap", "a").await.is_none());
        first.succeeded();
        let _known = [now(&firsts, "portmap", "a").await.unwrap(), now(&firsts, "portmap", "b").await.unwrap()];
        other.succeeded();
    }

    #[tokio::test]
    async fn one_that_fails_or_is_given_up_makes_the_next_the_first_again() {
        let firsts = Firsts::default();
        now(&firsts, "portmap", "a").await.unwrap().succeeded();
        drop(now(&firsts, "portmap", "a").await.unwrap());
        let next = now(&firsts, "portmap", "a").await.unwrap();
        assert!(now(&firsts, "portmap", "a").await.is_none());
        next.succeeded();
        firsts.forget("b");
        let _known = [now(&firsts, "portmap", "a").await.unwrap(), now(&firsts, "portmap", "a").await.unwrap()];
        firsts.forget("a");
        assert!(now(&firsts, "portmap", "a").await.is_none(), "a network of that name is made anew");
    }

    #[tokio::test]
    async fn who_waits_goes_on_when_the_first_leaves() {
        let firsts = Firsts::default();
        let first = firsts.turn("portmap", shape("a")).await;
        let waiting = async { tokio::join!(firsts.turn("portmap", shape("a")), firsts.turn("portmap", shape("a"))) };
        let (_, _both) = tokio::join!(async { first.succeeded() }, waiting);
    }

    #[tokio::test]
    async fn nobody_waits_for_long() {
        let firsts = Firsts::patient(Duration::from_millis(50));
        let begun = Instant::now();
        let _hangs = firsts.turn("portmap", shape("a")).await;
        let second = firsts.turn("portmap", shape("a")).await;
        assert!(begun.elapsed() >= Duration::from_millis(50), "it waits for a while");
        second.succeeded();
        assert!(now(&firsts, "portmap", "a").await.is_some(), "what hangs is waited for once");
    }

    /// Waits in the place that it has now.
    async fn waits<'a>(turn: &mut Pin<Box<impl Future<Output = Turn<'a>>>>) -> bool {
        tokio::time::timeout(NOW, turn).await.is_err()
    }

    #[tokio::test]
    async fn who_comes_later_lets_a_first_one_pass() {
        let firsts = Firsts::patient(Duration::from_secs(1000));
        now(&firsts, "portmap", "a").await.unwrap().succeeded();
        let at_work = now(&firsts, "portmap", "a").await.unwrap();
        let mut first = Box::pin(firsts.turn("portmap", shape("b")));
        assert!(waits(&mut first).await);
        let mut later = Box::pin(firsts.turn("portmap", shape("a")));
        assert!(waits(&mut later).await, "it would keep the first one waiting");
        at_work.succeeded();
        let first = first.await;
        assert!(waits(&mut later).await, "it is alone");
        first.succeeded();
        later.await.succeeded();
    }

    #[tokio::test]
    async fn a_first_one_that_is_given_up_keeps_nobody_waiting() {
        let firsts = Firsts::patient(Duration::from_secs(1000));
        now(&firsts, "portmap", "a").await.unwrap().succeeded();
        let _at_work = now(&firsts, "portmap", "a").await.unwrap();
        let mut first = Box::pin(firsts.turn("portmap", shape("b")));
        assert!(waits(&mut first).await);
        let mut later = Box::pin(firsts.turn("portmap", shape("a")));
        assert!(waits(&mut later).await);
        let later = tokio::time::timeout(Duration::from_secs(60), later);
        let (_, later) = tokio::join!(async { drop(first) }, later);
        later.unwrap().succeeded();
    }

    #[tokio::test]
    async fn a_first_one_that_waits_for_long_is_let_pass_for_a_while_only() {
        let firsts = Firsts::patient(Duration::from_millis(50));
        now(&firsts, "portmap", "a").await.unwrap().succeeded();
        let _hangs = now(&firsts, "portmap", "a").await.unwrap();
        let mut first = Box::pin(firsts.turn("portmap", shape("b")));
        if waits(&mut first).await {
            let begun = Instant::now();
            let later = firsts.turn("portmap", shape("a"));
            tokio::time::timeout(Duration::from_secs(60), later).await.unwrap().succeeded();
            assert!(begun.elapsed() >= Duration::from_millis(50), "it lets it pass");
        }
    }

    #[test]
    fn what_needs_other_chains_is_of_another_shape() {
        let plugin = |capabilities: &[&str]| PluginConf {
            kind: "portmap".to_owned(),
            capabilities: capabilities.iter().map(|&name| name.to_owned()).collect(),
            raw: Map::new(),
        };
        let of = |value: &Value| {
            let Value::Object(args) = value else { panic!("{value} is not an object") };
            Shape::of("net", &plugin(&["portMappings"]), args)
        };
        let port =
            |ip: &str, port: u16| json!({"portMappings": [{"hostPort": port, "containerPort": 80, "hostIP": ip}]});
        let (none, other) = (of(&json!({})), of(&json!({"ips": ["10.0.0.1"]})));
        assert_eq!(none, other, "what it does not take is nothing to it");
        assert_eq!(of(&port("127.0.0.1", 1)), of(&port("10.0.0.1", 2)));
        assert_ne!(none, of(&port("", 1)));
        assert_ne!(of(&port("127.0.0.1", 1)), of(&port("::1", 1)));
    }
}
