//! A turn of a container.
//!
//! Every change of a container, whoever asks for it, is `turn`. Users come through `ask`, which queues them per
//! container and lets them wait for an operation under way; the world's reports do not queue.

use std::sync::Arc;
use std::time::Duration;

use store::{AppendError, Urgency};
use tokio::time::timeout_at;

use super::{Addition, CONFLICT_PATIENCE, TurnError};
use crate::domain::container::{Command, Container, Event, Rejection, decide, evolve};
use crate::domain::id::ContainerId;
use crate::effects;
use crate::engine::Engine;
use crate::journal::record::{self, Context};
use crate::projection::Queue;

/// How long a user's command waits for an operation under way before it is refused.
const PATIENCE: Duration = Duration::from_secs(150);

/// What a turn has led to.
#[derive(Debug)]
pub struct Turned {
    /// The container after it; `None` when it is gone.
    pub container: Option<Container>,
    /// What has happened; empty when it was already so.
    pub events: Vec<Event>,
}

impl Engine {
    /// A user's command: waits for its place and for an operation under way, then takes its turn. `command` is made
    /// anew for each attempt, since it carries the time.
    pub async fn ask(
        self: &Arc<Self>,
        id: ContainerId,
        context: &Context,
        command: impl Fn() -> Command,
    ) -> Result<Turned, TurnError> {
        self.ask_all(id, context, || vec![command()]).await
    }

    /// The same for several commands in one step, see [`Self::turn_all`].
    pub async fn ask_all(
        self: &Arc<Self>,
        id: ContainerId,
        context: &Context,
        commands: impl Fn() -> Vec<Command>,
    ) -> Result<Turned, TurnError> {
        self.ask_in(Queue::Commands, id, context, commands).await
    }

    /// A process that is to be run: the same in a queue of its own.
    pub async fn ask_to_exec(
        self: &Arc<Self>,
        id: ContainerId,
        context: &Context,
        command: impl Fn() -> Command,
    ) -> Result<Turned, TurnError> {
        self.ask_in(Queue::Execs, id, context, || vec![command()]).await
    }

    async fn ask_in(
        self: &Arc<Self>,
        queue: Queue,
        id: ContainerId,
        context: &Context,
        commands: impl Fn() -> Vec<Command>,
    ) -> Result<Turned, TurnError> {
        let Some(entity) = self.containers.get(&id) else {
            return Err(TurnError::Rejected(Rejection::NoSuchContainer));
        };
        let deadline = tokio::time::Instant::now() + PATIENCE;
        let busy = || TurnError::Rejected(Rejection::InTransition);
        // Only the waiting ends with patience: a turn that was begun is finished, since it may have been recorded.
        let _place = timeout_at(deadline, entity.place(queue)).await.map_err(|_| busy())?;
        // Until recovery has compared it with the world, a command would race with what recovery does.
        timeout_at(deadline, self.containers.verified(&id)).await.map_err(|_| busy())?;
        loop {
            let version = self.containers.get(&id).map_or(0, |entity| entity.container.version);
            match self.turn_all(id, context, &commands()).await {
                Err(TurnError::Rejected(Rejection::InTransition)) => {
                    timeout_at(deadline, self.containers.changed_since(&id, version)).await.map_err(|_| busy())?;
                }
                settled => return settled,
            }
        }
    }

    /// One command, now.
    pub async fn turn(
        self: &Arc<Self>,
        id: ContainerId,
        context: &Context,
        command: &Command,
    ) -> Result<Turned, TurnError> {
        self.turn_all(id, context, std::slice::from_ref(command)).await
    }

    /// Several commands in one step: each decides on what the ones before it have led to, and all of it is recorded, or
    /// nothing. Effects follow from the state after the last one.
    pub async fn turn_all(
        self: &Arc<Self>,
        id: ContainerId,
        context: &Context,
        commands: &[Command],
    ) -> Result<Turned, TurnError> {
        loop {
            let before = self.containers.get(&id).map(|entity| entity.container.clone());
            let expected = before.as_ref().map_or(0, |container| container.version);
            let (mut after, mut events) = (before, Vec::new());
            for command in commands {
                let decided = decide(after.as_ref(), command).map_err(TurnError::Rejected)?;
                after = decided.iter().fold(after, evolve);
                events.extend(decided);
            }
            if events.is_empty() {
                return Ok(Turned { container: after, events });
            }
            tracing::info!(container_id = %id.short(), events = %names(&events), operation = %context.operation, "turn");
            let publish = self.publication(id, context, &events, after.as_ref());
            let addition = self.addition(id, expected, context, &events, after.as_ref());
            match self.append(addition, publish).await {
                // Somebody else's event came first: decide again on what is true once that is told. If it never is, the
                // store and what was read from it do not agree.
                Err(error @ AppendError::Conflict { .. }) => {
                    let told = self.containers.changed_since(&id, expected);
                    tokio::time::timeout(CONFLICT_PATIENCE, told).await.map_err(|_| error)?;
                }
                Err(error) => return Err(error.into()),
                Ok(()) => return Ok(Turned { container: after, events }),
            }
        }
    }

    /// Puts in the history of a container that the store has lost, as far as it could be found out: facts, decided long
    /// ago. Recovery takes it from there, so no effects follow.
    pub async fn record_rebuilt(
        self: &Arc<Self>,
        id: ContainerId,
        context: &Context,
        events: &[Event],
    ) -> Result<(), AppendError> {
        let mut known = 0;
        loop {
            let mut after = events.iter().fold(None, evolve);
            if let Some(container) = &mut after {
                container.version = known + events.len() as u64;
            }
            let (engine, container) = (self.clone(), after.clone());
            let publish = move |seq| {
                if let Some(container) = container {
                    engine.containers.restore(container, seq);
                }
            };
            let addition = self.addition(id, known, context, events, after.as_ref());
            match self.append(addition, publish).await {
                // Its state is lost, but not all of its history: this goes on behind it.
                Err(AppendError::Conflict { found, .. }) if found > known => known = found,
                outcome => return outcome,
            }
        }
    }

    fn addition(
        &self,
        id: ContainerId,
        expected: u64,
        context: &Context,
        events: &[Event],
        after: Option<&Container>,
    ) -> Addition {
        let context = self.describe(context, &id, after, events);
        Addition {
            stream: record::stream(&id),
            expected,
            urgency: events.iter().map(urgency).max().unwrap_or(Urgency::Ordinary),
            events: events.iter().map(|event| record::encode(&context, event)).collect(),
            row: after.map_or(store::Row::Delete, record::encode_row),
        }
    }

    /// What becomes of durable events: the new state for every reader, word to who waits, and effects.
    fn publication(
        self: &Arc<Self>,
        id: ContainerId,
        context: &Context,
        events: &[Event],
        after: Option<&Container>,
    ) -> impl FnOnce(u64) + Send + 'static {
        let (engine, context) = (self.clone(), context.clone());
        let (events, after) = (events.to_vec(), after.cloned());
        move |seq| {
            let planned = effects::plan(&events, after.as_ref());
            engine.containers.publish(id, after, seq, &events);
            for effect in planned {
                engine.enqueue(id, effect, &context);
            }
        }
    }

    /// The context with the container's own name and image, by which an event is readable when all else is gone.
    fn describe(&self, context: &Context, id: &ContainerId, after: Option<&Container>, events: &[Event]) -> Context {
        let current = self.containers.get(id);
        let card = match events.first() {
            Some(Event::Created { card, .. }) => Some(card),
            _ => after.map(|container| &container.card).or(current.as_ref().map(|entity| &entity.container.card)),
        };
        let (name, image) = card.map(|card| (card.name.to_string(), card.image.clone())).unwrap_or_default();
        Context { name, image, ..context.clone() }
    }
}

/// What of the space that is held back an event may use: all of it whatever ends or frees something, and the outcomes of
/// intents.
fn urgency(event: &Event) -> Urgency {
    match event {
        Event::Created { .. }
        | Event::StartRequested { .. }
        | Event::UpdateRequested { .. }
        | Event::ExecStarted { detached: true, .. }
        | Event::Renamed { .. } => Urgency::Ordinary,
        // With these, people look for what fills the disk, halt it and delete it.
        Event::ExecStarted { detached: false, .. } | Event::Attached { .. } | Event::PauseRequested => Urgency::Cleanup,
        Event::Started { .. }
        | Event::StartFailed { .. }
        | Event::Paused
        | Event::PauseFailed { .. }
        | Event::ResumeRequested
        | Event::Resumed
        | Event::ResumeFailed { .. }
        | Event::StopRequested { .. }
        | Event::Killed { .. }
        | Event::Exited { .. }
        | Event::OomKilled { .. }
        | Event::ShimLost { .. }
        | Event::ShimAdopted { .. }
        | Event::Updated
        | Event::UpdateFailed { .. }
        | Event::RestartScheduled { .. }
        | Event::RestartCancelled { .. }
        // Later reports wait for it.
        | Event::HealthChanged { .. }
        | Event::ExecExited { .. }
        | Event::Detached { .. }
        | Event::NetworkAttached { .. }
        | Event::NetworkDetached { .. }
        | Event::RemoveRequested { .. }
        | Event::RemoveFailed { .. }
        | Event::Removed => Urgency::Urgent,
    }
}

fn names(events: &[Event]) -> String {
    events.iter().map(Event::name).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::domain::container::{Card, HealthAction, Phase, RestartPolicy};
    use crate::domain::id::{BootId, Digest, Name, Signal, Timestamp};
    use crate::journal::record::Actor;
    use crate::spec::Host;

    fn engine() -> Arc<Engine> {
        let journal = store::Journal::in_memory(store::Options::default()).unwrap();
        Engine::new(Config::built_in(), Host::probe().unwrap(), BootId::default(), journal)
    }

    fn create(byte: u8) -> (ContainerId, Command) {
        let card = Card {
            name: format!("c{byte}").parse().unwrap(),
            image: "none".into(),
            image_id: None,
            runtime: "runc".into(),
            command: "sh".into(),
            definition: Digest([0; 32]),
            created_at: Timestamp(1),
            auto_remove: false,
            tty: false,
            open_stdin: false,
            stop_signal: Signal::TERM,
            stop_timeout: 10,
            restart: RestartPolicy::No,
            health: HealthAction::Unwatched,
        };
        let id = ContainerId::from_bytes([byte; 32]);
        (id, Command::Create { id, card })
    }

    fn name(text: String) -> Name {
        text.parse().unwrap()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn racing_turns_each_decide_on_what_is_true() {
        let engine = engine();
        let context = Context::new(Actor::Engine);
        let (id, create) = create(1);
        engine.turn(id, &context, &create).await.unwrap();
        let mut tasks = tokio::task::JoinSet::new();
        for n in 0..64 {
            let (engine, context) = (engine.clone(), context.clone());
            tasks.spawn(async move {
                engine.turn(id, &context, &Command::Rename { name: name(format!("n{n}")) }).await.map(drop)
            });
        }
        while let Some(done) = tasks.join_next().await {
            done.unwrap().unwrap();
        }
        let container = engine.containers.get(&id).unwrap().container.clone();
        assert_eq!(container.version, 1 + 64);
        // Each event says what it replaced: one unbroken line of names, told to the journal in that order.
        let records = engine.journal.read(2, 100).unwrap();
        let mut current = name("c1".to_owned());
        for record in &records {
            match record::decode(record).unwrap().1 {
                Event::Renamed { from, to } => {
                    assert_eq!(from, current);
                    current = to;
                }
                other => panic!("{other:?}"),
            }
        }
        assert_eq!((records.len(), current), (64, container.card.name));
    }

    #[tokio::test]
    async fn several_commands_are_recorded_together_or_not_at_all() {
        let engine = engine();
        let context = Context::new(Actor::Engine);
        let (id, create) = create(2);
        let rename = Command::Rename { name: name("other".to_owned()) };
        let refused = engine.turn_all(id, &context, &[create.clone(), rename.clone(), Command::Pause]).await;
        assert!(matches!(refused, Err(TurnError::Rejected(Rejection::NotRunning))));
        assert_eq!(engine.journal.last(), 0);
        assert!(engine.containers.get(&id).is_none());
        let done = engine.turn_all(id, &context, &[create, rename]).await.unwrap();
        assert_eq!(done.container.unwrap().phase, Phase::Created);
        assert_eq!(engine.journal.last(), 2);
    }

    #[tokio::test]
    async fn what_is_already_so_is_not_recorded_again() {
        let engine = engine();
        let context = Context::new(Actor::Engine);
        let (id, create) = create(3);
        engine.turn(id, &context, &create).await.unwrap();
        let stop = Command::Stop { signal: None, grace: None, at: Timestamp(9) };
        assert!(engine.turn(id, &context, &stop).await.unwrap().events.is_empty());
        assert_eq!(engine.journal.last(), 1);
    }

    #[tokio::test]
    async fn an_event_names_its_container_after_the_removal_too() {
        let engine = engine();
        let context = Context::new(Actor::Engine);
        let (id, create) = create(4);
        engine.turn(id, &context, &create).await.unwrap();
        let mut told = engine.containers.listen(id);
        engine
            .turn_all(id, &context, &[Command::Remove { force: false, volumes: false }, Command::ReportRemoved])
            .await
            .unwrap();
        assert!(engine.containers.get(&id).is_none());
        let last = engine.journal.read(3, 1).unwrap().remove(0);
        assert_eq!(record::decode(&last).unwrap().0.name, "c4");
        assert_eq!(told.recv().await.unwrap().event, Event::RemoveRequested { force: false, volumes: false });
        assert_eq!(told.recv().await.unwrap().event, Event::Removed);
        assert!(told.recv().await.is_none(), "nothing more is told of what is gone");
    }
}
