//! The queues of effects: those of one aggregate run one after the other, those of different ones in parallel.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::Notify;

use crate::domain::aggregate::Aggregate;
use crate::journal::record::{Actor, Context};
use crate::panics::contained;

/// Something to do in the world.
pub trait Effect: Clone + fmt::Debug + Send + 'static {
    /// Whether it waits behind the aggregate's earlier effects. Those that do not are neither ordered nor limited.
    fn queues(&self) -> bool;

    /// Of those that queue: beyond the deadlines of all its parts together. An effect that takes longer hangs in the kernel.
    fn limit(&self) -> Duration;
}

/// Does the effects of one kind of aggregate. Each may run twice without harm and reports its outcome as a command.
pub trait Performer<A: Aggregate>: Send + Sync + 'static {
    type Effect: Effect;

    fn perform(
        self: Arc<Self>,
        id: A::Id,
        effect: Self::Effect,
        context: Context,
    ) -> impl Future<Output = ()> + Send + 'static;

    /// The outcome of an effect that has none of its own, because it panicked or hung: every intent gets one.
    fn fail(
        self: Arc<Self>,
        id: A::Id,
        effect: Self::Effect,
        problem: String,
        context: Context,
    ) -> impl Future<Output = ()> + Send + 'static;
}

type Queued<E> = VecDeque<(E, Context)>;

/// Effects that wait for their turn, per aggregate.
#[derive(Debug)]
pub struct Effects<A: Aggregate, E> {
    /// An aggregate with an entry has a task at work.
    waiting: Mutex<HashMap<A::Id, Queued<E>>>,
    /// The daemon is leaving: what is not begun is left to the next one.
    stopped: AtomicBool,
    /// Notified when no aggregate has effects any more.
    idle: Notify,
    /// Also those enqueued by the journal's own thread run here.
    tasks: Handle,
}

impl<A: Aggregate, E: Effect> Effects<A, E> {
    pub fn new(tasks: Handle) -> Arc<Self> {
        let (waiting, stopped) = (Mutex::default(), AtomicBool::new(false));
        Arc::new(Self { waiting, stopped, idle: Notify::new(), tasks })
    }

    /// No effect is begun from now on.
    pub fn stop(&self) {
        // Under the lock: `idle` must not see empty queues while an enqueuer that found it unset is about to fill one.
        let _waiting = self.lock();
        self.stopped.store(true, Ordering::SeqCst);
    }

    pub fn stopped(&self) -> bool {
        self.stopped.load(Ordering::SeqCst)
    }

    /// Waits until what was begun is done.
    pub async fn idle(&self) {
        loop {
            let notified = self.idle.notified();
            tokio::pin!(notified);
            notified.as_mut().enable();
            if self.lock().is_empty() {
                return;
            }
            notified.await;
        }
    }

    /// Puts an effect in its aggregate's queue, or runs it at once. Never blocks: the journal's thread calls it.
    pub fn enqueue<P>(self: &Arc<Self>, performer: &Arc<P>, id: A::Id, effect: E, context: &Context)
    where
        P: Performer<A, Effect = E>,
    {
        if self.stopped() {
            return;
        }
        let context = Context { actor: Actor::Engine, ..context.clone() };
        if !effect.queues() {
            self.tasks.spawn(performer.clone().perform(id, effect, context));
            return;
        }
        let mut waiting = self.lock();
        if self.stopped() {
            return;
        }
        if let Some(queue) = waiting.get_mut(&id) {
            queue.push_back((effect, context));
            return;
        }
        waiting.insert(id.clone(), VecDeque::new());
        drop(waiting);
        self.tasks.spawn(self.clone().work(performer.clone(), id, effect, context));
    }

    /// One aggregate's effects, until none is left.
    async fn work<P>(self: Arc<Self>, performer: Arc<P>, id: A::Id, mut effect: E, mut context: Context)
    where
        P: Performer<A, Effect = E>,
    {
        loop {
            // A task of its own: an effect that panics or hangs must not take those behind it along.
            let work = performer.clone().perform(id.clone(), effect.clone(), context.clone());
            let mut task = self.tasks.spawn(contained(work));
            let problem = match tokio::time::timeout(effect.limit(), &mut task).await {
                Ok(Ok(())) => None,
                Ok(Err(error)) => Some(format!("it ended abnormally: {error}")),
                Err(_) => {
                    task.abort();
                    Some(format!("it did not finish within {} s", effect.limit().as_secs()))
                }
            };
            if let Some(problem) = problem {
                tracing::error!(of = A::NOUN, id = A::short(&id), ?effect, problem, "an effect has failed");
                performer.clone().fail(id.clone(), effect.clone(), problem, context.clone()).await;
            }
            match self.next(&id) {
                Some(next) => (effect, context) = next,
                None => return,
            }
        }
    }

    /// The aggregate's next effect; its queue ends without one. A daemon that leaves begins nothing more.
    fn next(&self, id: &A::Id) -> Option<(E, Context)> {
        let mut waiting = self.lock();
        let next = waiting.get_mut(id).filter(|_| !self.stopped()).and_then(VecDeque::pop_front);
        if next.is_none() {
            waiting.remove(id);
            if waiting.is_empty() {
                self.idle.notify_waiters();
            }
        }
        next
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<A::Id, Queued<E>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::id::VolumeName;
    use crate::domain::volume::Volume;

    #[derive(Debug, Clone, PartialEq, Eq)]
    enum Deed {
        Note(u32),
        Panic,
        Hang,
        AtOnce,
    }

    impl Effect for Deed {
        fn queues(&self) -> bool {
            *self != Self::AtOnce
        }

        fn limit(&self) -> Duration {
            if *self == Self::Hang { Duration::from_millis(1) } else { Duration::from_secs(60) }
        }
    }

    #[derive(Debug, Default)]
    struct Log {
        lines: Mutex<Vec<String>>,
        proceed: Notify,
    }

    impl Log {
        fn write(&self, line: String) {
            self.lines.lock().unwrap().push(line);
        }
    }

    impl Performer<Volume> for Log {
        type Effect = Deed;

        async fn perform(self: Arc<Self>, id: VolumeName, effect: Deed, _: Context) {
            match effect {
                Deed::Note(0) => {
                    self.proceed.notified().await;
                    self.write(format!("{id} 0"));
                }
                Deed::Note(n) => self.write(format!("{id} {n}")),
                Deed::Panic => panic!("as the test wants"),
                Deed::Hang => std::future::pending().await,
                Deed::AtOnce => {
                    self.write(format!("{id} at once"));
                    self.proceed.notify_one();
                }
            }
        }

        async fn fail(self: Arc<Self>, id: VolumeName, effect: Deed, problem: String, _: Context) {
            self.write(format!("{id} {effect:?} {}", problem.split(':').next().unwrap()));
        }
    }

    #[tokio::test]
    async fn effects_of_one_are_in_order_and_each_has_an_outcome() {
        let (effects, log) = (Effects::<Volume, Deed>::new(Handle::current()), Arc::<Log>::default());
        let (name, context): (VolumeName, _) = ("a".parse().unwrap(), Context::new(Actor::Engine));
        for deed in [Deed::Note(0), Deed::Panic, Deed::Hang, Deed::Note(1), Deed::AtOnce] {
            effects.enqueue(&log, name.clone(), deed, &context);
        }
        effects.idle().await;
        let expected =
            ["a at once", "a 0", "a Panic it ended abnormally", "a Hang it did not finish within 0 s", "a 1"];
        assert_eq!(*log.lines.lock().unwrap(), expected);
    }

    #[tokio::test]
    async fn a_stop_finishes_what_was_begun_and_begins_nothing() {
        let (effects, log) = (Effects::<Volume, Deed>::new(Handle::current()), Arc::<Log>::default());
        let (name, context): (VolumeName, _) = ("a".parse().unwrap(), Context::new(Actor::Engine));
        effects.enqueue(&log, name.clone(), Deed::Note(0), &context);
        effects.enqueue(&log, name.clone(), Deed::Note(1), &context);
        effects.stop();
        effects.enqueue(&log, "b".parse().unwrap(), Deed::Note(2), &context);
        log.proceed.notify_one();
        effects.idle().await;
        assert_eq!(*log.lines.lock().unwrap(), ["a 0"]);
    }
}
