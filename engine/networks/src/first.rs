//! The first execution of a plugin in a network runs alone. Executions share things on the host, chains of the packet
//! filter above all: the first of them that finds one missing makes it; of two that find it missing at once one is
//! refused (`File exists`). So the first ADD of a plugin in a network excludes other first ones. Once it has succeeded,
//! those that need the same run beside each other, until one of them fails: another program may have flushed the
//! chains.
//!
//! A permit is held across an execution. One that hangs loses its exclusion when it is `PATIENCE` old.

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

/// The executions that have found or made the shared things that they need.
#[derive(Debug)]
pub struct FirstRuns {
    succeeded: Mutex<BTreeSet<Shape>>,
    alone: Arc<tokio::sync::Mutex<()>>,
    patience: Duration,
}

impl Default for FirstRuns {
    fn default() -> Self {
        Self::patient(PATIENCE)
    }
}

/// Executions of one shape share the same things: `portmap` makes no chains for a container without published ports.
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

impl FirstRuns {
    pub(super) fn patient(patience: Duration) -> Self {
        Self { succeeded: Mutex::default(), alone: Arc::default(), patience }
    }

    /// Waits until an ADD of this shape conflicts with no other, or until twice the patience is over.
    pub async fn permit(&self, shape: Shape) -> Permit<'_> {
        let mut alone = None;
        if !self.lock().contains(&shape)
            && let Ok(guard) = timeout(2 * self.patience, self.alone.clone().lock_owned()).await
            // The previous run may have been of the same shape.
            && !self.lock().contains(&shape)
        {
            alone = Some(lend(guard, self.patience));
        }
        Permit { first_runs: self, shape, _alone: alone, succeeded: false }
    }

    /// A network of this name is another one from here on.
    pub fn forget(&self, network: &str) {
        self.lock().retain(|shape| shape.network != network);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<Shape>> {
        self.succeeded.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps the guard until the returned sender is dropped, but no longer than `patience`.
fn lend(guard: tokio::sync::OwnedMutexGuard<()>, patience: Duration) -> oneshot::Sender<()> {
    let (held, dropped) = oneshot::channel();
    tokio::spawn(async move {
        // Dropped, or too old: either way the next one goes on.
        let _ = timeout(patience, dropped).await;
        drop(guard);
    });
    held
}

/// To be held while the plugin is at work. One that is dropped without `succeeded` has failed.
#[derive(Debug)]
#[must_use = "others go on when it is dropped"]
pub struct Permit<'a> {
    first_runs: &'a FirstRuns,
    shape: Shape,
    _alone: Option<oneshot::Sender<()>>,
    succeeded: bool,
}

impl Permit<'_> {
    pub fn succeeded(mut self) {
        self.succeeded = true;
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        let mut succeeded = self.first_runs.lock();
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

    fn calm() -> FirstRuns {
        FirstRuns::patient(Duration::from_secs(1000))
    }

    /// Waits in the place that it has now.
    async fn waits<'a>(permit: &mut Pin<Box<impl Future<Output = Permit<'a>>>>) -> bool {
        timeout(Duration::ZERO, permit).await.is_err()
    }

    #[tokio::test]
    async fn first_runs_exclude_each_other_and_later_ones_do_not() {
        let first_runs = calm();
        let first = first_runs.permit(shape("portmap", "a")).await;
        let mut same = Box::pin(first_runs.permit(shape("portmap", "a")));
        let mut other = Box::pin(first_runs.permit(shape("portmap", "b")));
        assert!(waits(&mut same).await && waits(&mut other).await);
        first.succeeded();
        let same = same.await;
        let other = other.await;
        let known = first_runs.permit(shape("portmap", "a")).await;
        other.succeeded();
        let _both = (same, known, first_runs.permit(shape("portmap", "b")).await);
    }

    #[tokio::test]
    async fn a_failed_or_cancelled_run_makes_the_next_of_its_kind_a_first_run() {
        let first_runs = calm();
        first_runs.permit(shape("portmap", "a")).await.succeeded();
        first_runs.permit(shape("firewall", "a")).await.succeeded();
        drop(first_runs.permit(shape("portmap", "a")).await);
        let first = first_runs.permit(shape("portmap", "a")).await;
        let _known = first_runs.permit(shape("firewall", "a")).await;
        let mut next = Box::pin(first_runs.permit(shape("portmap", "a")));
        assert!(waits(&mut next).await);
        drop(first);
        next.await.succeeded();
    }

    #[tokio::test]
    async fn a_recreated_network_has_a_first_run_again() {
        let first_runs = calm();
        first_runs.permit(shape("portmap", "a")).await.succeeded();
        first_runs.forget("b");
        let _alone = first_runs.permit(shape("portmap", "b")).await;
        drop(timeout(Duration::from_secs(60), first_runs.permit(shape("portmap", "a"))).await.unwrap());
        first_runs.forget("a");
        let mut first = Box::pin(first_runs.permit(shape("portmap", "a")));
        assert!(waits(&mut first).await);
    }

    #[tokio::test]
    async fn a_hanging_run_is_waited_for_once() {
        let first_runs = FirstRuns::patient(Duration::from_millis(50));
        let begun = std::time::Instant::now();
        let _hangs = first_runs.permit(shape("portmap", "a")).await;
        let second = first_runs.permit(shape("portmap", "a")).await;
        assert!(begun.elapsed() >= Duration::from_millis(50), "it waits for a while");
        second.succeeded();
        let known = timeout(Duration::from_secs(60), first_runs.permit(shape("portmap", "a")));
        known.await.unwrap().succeeded();
    }

    #[test]
    fn executions_with_other_chains_differ_in_shape() {
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
        assert_eq!(none, other, "a capability that it does not take does not matter");
        assert_eq!(of(&port("127.0.0.1", 1)), of(&port("10.0.0.1", 2)));
        assert_ne!(none, of(&port("", 1)));
        assert_ne!(of(&port("127.0.0.1", 1)), of(&port("::1", 1)));
    }
}
