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

/// A change to make in the world.
pub(crate) trait Effect: Clone + fmt::Debug + Send + 'static {
    /// Whether it waits behind the aggregate's earlier effects. Effects that do not queue are neither ordered nor
    /// limited.
    fn queues(&self) -> bool;

    /// For effects that queue: longer than the deadlines of all parts together. Beyond it the effect hangs in the
    /// kernel.
    fn limit(&self) -> Duration;
}

/// Performs the effects of one kind of aggregate. Each may run twice without harm and reports its outcome as a command.
pub(crate) trait Performer<A: Aggregate>: Send + Sync + 'static {
    type Effect: Effect;

    fn perform(
        self: Arc<Self>,
        id: A::Id,
        effect: Self::Effect,
        context: Context,
    ) -> impl Future<Output = ()> + Send + 'static;

    /// Reports the outcome of an effect that panicked or hung, because every intent needs an outcome.
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
pub(crate) struct Effects<A: Aggregate, E> {
    /// An aggregate with an entry has a running task.
    waiting: Mutex<HashMap<A::Id, Queued<E>>>,
    /// The daemon is ending: effects that have not begun are left to the next daemon.
    stopped: AtomicBool,
    /// Notified when no aggregate has effects any more.
    idle: Notify,
    /// Effects enqueued by the journal's own thread run here too.
    tasks: Handle,
}

impl<A: Aggregate, E: Effect> Effects<A, E> {
    pub(crate) fn new(tasks: Handle) -> Arc<Self> {
        let (waiting, stopped) = (Mutex::default(), AtomicBool::new(false));
        Arc::new(Self { waiting, stopped, idle: Notify::new(), tasks })
    }

    /// From now on no effect begins.
    pub(crate) fn stop(&self) {
        // Under the lock: `idle` must not see empty queues while an enqueuer that found it unset is about to fill one.
        let _waiting = self.lock();
        self.stopped.store(true, Ordering::SeqCst);
    }

    pub(crate) fn stopped(&self) -> bool {
        self.stopped.load(Ordering::SeqCst)
    }

    /// Waits until all effects that have begun are done.
    pub(crate) async fn idle(&self) {
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
    pub(crate) fn enqueue<P>(self: &Arc<Self>, performer: &Arc<P>, id: A::Id, effect: E, context: &Context)
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

    /// Runs one aggregate's effects, until none is left.
    async fn work<P>(self: Arc<Self>, performer: Arc<P>, id: A::Id, mut effect: E, mut context: Context)
    where
        P: Performer<A, Effect = E>,
    {
        loop {
            // A task of its own, so that an effect that panics or hangs does not stop the later ones.
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

    /// The aggregate's next effect; removes the queue when there is none. A daemon that is ending begins no more.
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
    enum TestEffect {
        Note(u32),
        Panic,
        Hang,
        AtOnce,
    }

    impl Effect for TestEffect {
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
        type Effect = TestEffect;

        async fn perform(self: Arc<Self>, id: VolumeName, effect: TestEffect, _: Context) {
            match effect {
                TestEffect::Note(0) => {
                    self.proceed.notified().await;
                    self.write(format!("{id} 0"));
                }
                TestEffect::Note(n) => self.write(format!("{id} {n}")),
                TestEffect::Panic => panic!("as the test wants"),
                TestEffect::Hang => std::future::pending().await,
                TestEffect::AtOnce => {
                    self.write(format!("{id} at once"));
                    self.proceed.notify_one();
                }
            }
        }

        async fn fail(self: Arc<Self>, id: VolumeName, effect: TestEffect, problem: String, _: Context) {
            self.write(format!("{id} {effect:?} {}", problem.split(':').next().unwrap()));
        }
    }

    #[tokio::test]
    async fn effects_of_an_aggregate_are_in_order_and_each_has_an_outcome() {
        let (effects, log) = (Effects::<Volume, TestEffect>::new(Handle::current()), Arc::<Log>::default());
        let (name, context): (VolumeName, _) = ("a".parse().unwrap(), Context::new(Actor::Engine));
        for deed in [TestEffect::Note(0), TestEffect::Panic, TestEffect::Hang, TestEffect::Note(1), TestEffect::AtOnce]
        {
            effects.enqueue(&log, name.clone(), deed, &context);
        }
        effects.idle().await;
        let expected =
            ["a at once", "a 0", "a Panic it ended abnormally", "a Hang it did not finish within 0 s", "a 1"];
        assert_eq!(*log.lines.lock().unwrap(), expected);
    }

    #[tokio::test]
    async fn a_stop_finishes_running_effects_and_begins_no_more() {
        let (effects, log) = (Effects::<Volume, TestEffect>::new(Handle::current()), Arc::<Log>::default());
        let (name, context): (VolumeName, _) = ("a".parse().unwrap(), Context::new(Actor::Engine));
        effects.enqueue(&log, name.clone(), TestEffect::Note(0), &context);
        effects.enqueue(&log, name.clone(), TestEffect::Note(1), &context);
        effects.stop();
        effects.enqueue(&log, "b".parse().unwrap(), TestEffect::Note(2), &context);
        log.proceed.notify_one();
        effects.idle().await;
        assert_eq!(*log.lines.lock().unwrap(), ["a 0"]);
    }
}
