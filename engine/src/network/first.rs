//! What executions of plugins share on the host, chains of the packet filter above all, is made by the first of them that finds
//! it missing; of two that find it missing at once one is refused (`File exists`). So the first ADD of a plugin in a network is
//! at work alone among such. Once it has succeeded, those that need the same are at work beside each other, until one of them
//! fails: somebody may have flushed the chains.
//!
//! A turn is held across an execution. One that hangs gives its place up when it is `PATIENCE` old.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Map, Value};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::conf::PluginConf;

/// A plugin takes a part of a second, unless it hangs.
const PATIENCE: Duration = Duration::from_secs(5);

/// The executions that have found or made what they need.
#[derive(Debug)]
pub struct Firsts {
    succeeded: Mutex<BTreeSet<Shape>>,
    alone: Arc<tokio::sync::Mutex<()>>,
    patience: Duration,
}

impl Default for Firsts {
    fn default() -> Self {
        Self::patient(PATIENCE)
    }
}

/// Executions of one shape need the same of what is shared: `portmap` makes no chains for who publishes nothing.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Shape {
    kind: String,
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
        Self { kind: plugin.kind.clone(), network: network.to_owned(), given: given.collect() }
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
        Self { succeeded: Mutex::default(), alone: Arc::default(), patience }
    }

    /// Waits until an ADD of this shape trips over no other, or for too long.
    pub async fn turn(&self, shape: Shape) -> Turn<'_> {
        let mut alone = None;
        if !self.lock().contains(&shape)
            && let Ok(guard) = timeout(2 * self.patience, self.alone.clone().lock_owned()).await
            // The one before may have been of the same shape.
            && !self.lock().contains(&shape)
        {
            alone = Some(lend(guard, self.patience));
        }
        Turn { firsts: self, shape, _alone: alone, succeeded: false }
    }

    /// A network of this name is another one from here on.
    pub fn forget(&self, network: &str) {
        self.lock().retain(|shape| shape.network != network);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<Shape>> {
        self.succeeded.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps the guard until what is given back is dropped, but no longer than `patience`.
fn lend(guard: tokio::sync::OwnedMutexGuard<()>, patience: Duration) -> oneshot::Sender<()> {
    let (held, dropped) = oneshot::channel();
    tokio::spawn(async move {
        // However it ends: the next one goes on.
        let _ = timeout(patience, dropped).await;
        drop(guard);
    });
    held
}

/// To be held while the plugin is at work. One that is dropped without `succeeded` has failed.
#[derive(Debug)]
#[must_use = "others go on when it is dropped"]
pub struct Turn<'a> {
    firsts: &'a Firsts,
    shape: Shape,
    _alone: Option<oneshot::Sender<()>>,
    succeeded: bool,
}

impl Turn<'_> {
    pub fn succeeded(mut self) {
        self.succeeded = true;
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut succeeded = self.firsts.lock();
        if self.succeeded {
            succeeded.insert(self.shape.clone());
        } else {
            succeeded.retain(|shape| shape.kind != self.shape.kind);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;

    use serde_json::json;

    use super::*;

    fn shape(kind: &str, network: &str) -> Shape {
        Shape { kind: kind.to_owned(), network: network.to_owned(), given: vec![] }
    }

    fn calm() -> Firsts {
        Firsts::patient(Duration::from_secs(1000))
    }

    /// Waits in the place that it has now.
    async fn waits<'a>(turn: &mut Pin<Box<impl Future<Output = Turn<'a>>>>) -> bool {
        timeout(Duration::ZERO, turn).await.is_err()
    }

    #[tokio::test]
    async fn the_first_is_alone_among_first_ones_and_later_ones_are_not() {
        let firsts = calm();
        let first = firsts.turn(shape("portmap", "a")).await;
        let mut same = Box::pin(firsts.turn(shape("portmap", "a")));
        let mut other = Box::pin(firsts.turn(shape("portmap", "b")));
        assert!(waits(&mut same).await && waits(&mut other).await);
        first.succeeded();
        let same = same.await;
        let other = other.await;
        let known = firsts.turn(shape("portmap", "a")).await;
        other.succeeded();
        let _both = (same, known, firsts.turn(shape("portmap", "b")).await);
    }

    #[tokio::test]
    async fn one_that_fails_or_is_given_up_makes_the_next_of_its_kind_the_first_again() {
        let firsts = calm();
        firsts.turn(shape("portmap", "a")).await.succeeded();
        firsts.turn(shape("firewall", "a")).await.succeeded();
        drop(firsts.turn(shape("portmap", "a")).await);
        let first = firsts.turn(shape("portmap", "a")).await;
        let _known = firsts.turn(shape("firewall", "a")).await;
        let mut next = Box::pin(firsts.turn(shape("portmap", "a")));
        assert!(waits(&mut next).await);
        drop(first);
        next.await.succeeded();
    }

    #[tokio::test]
    async fn a_network_that_is_made_anew_has_a_first_one_again() {
        let firsts = calm();
        firsts.turn(shape("portmap", "a")).await.succeeded();
        firsts.forget("b");
        let _alone = firsts.turn(shape("portmap", "b")).await;
        drop(timeout(Duration::from_secs(60), firsts.turn(shape("portmap", "a"))).await.unwrap());
        firsts.forget("a");
        let mut first = Box::pin(firsts.turn(shape("portmap", "a")));
        assert!(waits(&mut first).await);
    }

    #[tokio::test]
    async fn one_that_hangs_is_waited_for_once() {
        let firsts = Firsts::patient(Duration::from_millis(50));
        let begun = std::time::Instant::now();
        let _hangs = firsts.turn(shape("portmap", "a")).await;
        let second = firsts.turn(shape("portmap", "a")).await;
        assert!(begun.elapsed() >= Duration::from_millis(50), "it waits for a while");
        second.succeeded();
        let known = timeout(Duration::from_secs(60), firsts.turn(shape("portmap", "a")));
        known.await.unwrap().succeeded();
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
