//! A turn of an image.

use std::sync::Arc;

use store::{AppendError, Urgency};
use tokio::time::timeout;

use super::{Addition, CONFLICT_PATIENCE, TurnError};
use crate::domain::id::{Digest, Timestamp};
use crate::domain::image::{Command, Event, Image, Rejection, decide, evolve};
use crate::engine::Engine;
use crate::journal::record::{self, Context};

/// What a turn of an image has led to.
#[derive(Debug)]
pub struct TurnedImage {
    /// The image after it; `None` when it is gone.
    pub image: Option<Image>,
    /// What has happened; empty when it was already so.
    pub events: Vec<Event>,
}

impl Engine {
    /// One command to an image, now. Durable and visible when it returns.
    pub async fn turn_image(
        self: &Arc<Self>,
        id: Digest,
        context: &Context,
        command: &Command,
    ) -> Result<TurnedImage, TurnError<Rejection>> {
        let _lane = self.images.lanes.enter(&id).await;
        loop {
            let before = self.images.get(&id).map(|entity| entity.image.clone());
            let expected = before.as_ref().map_or(0, |image| image.version);
            let events = decide(id, before.as_ref(), command).map_err(TurnError::Rejected)?;
            if events.is_empty() {
                return Ok(TurnedImage { image: before, events });
            }
            let context = describe(context, before.as_ref(), &events);
            let after = events.iter().fold(before, evolve);
            for event in &events {
                let (event, image) = (event.name(), &context.image);
                tracing::info!(image_id = %id.short(), event, %image, operation = %context.operation, "turn");
            }
            let addition = Addition {
                stream: record::image_stream(&id),
                expected,
                urgency: if events.iter().all(is_urgent) { Urgency::Urgent } else { Urgency::Ordinary },
                events: events.iter().map(|event| record::image::encode(&context, event)).collect(),
                row: after.as_ref().map_or(store::Row::Delete, record::image::encode_row),
            };
            let (engine, published) = (self.clone(), after.clone());
            match self.append(addition, move |seq| engine.images.publish(id, published, seq)).await {
                // A turn whose caller went away is being recorded still: decide again on what it leads to.
                Err(error @ AppendError::Conflict { .. }) => {
                    timeout(CONFLICT_PATIENCE, self.images.changed_since(&id, expected)).await.map_err(|_| error)?;
                }
                Err(error) => return Err(error.into()),
                Ok(()) => return Ok(TurnedImage { image: after, events }),
            }
        }
    }

    /// Notes in the image's row that it was used at this time: no event, and nothing is lost if it is. An image that is gone,
    /// or that changes at this moment, is not touched.
    pub async fn save_image_row(self: &Arc<Self>, id: Digest, used_at: Timestamp) -> Result<(), AppendError> {
        let _lane = self.images.lanes.enter(&id).await;
        let Some(mut image) = self.images.get(&id).map(|entity| entity.image.clone()) else { return Ok(()) };
        if image.facts.used_at >= used_at {
            return Ok(());
        }
        image.facts.used_at = used_at;
        let version = image.version;
        let addition = Addition {
            stream: record::image_stream(&id),
            expected: version,
            urgency: Urgency::Ordinary,
            events: vec![],
            row: record::image::encode_row(&image),
        };
        let engine = self.clone();
        match self.append(addition, move |_| engine.images.used(&id, version, used_at)).await {
            Err(AppendError::Conflict { .. }) => Ok(()),
            outcome => outcome,
        }
    }
}

/// The context with a name of the image, by which an event is readable when the image is gone.
fn describe(context: &Context, before: Option<&Image>, events: &[Event]) -> Context {
    let told = events.iter().find_map(|event| match event {
        Event::Added { names, .. } => names.first().cloned(),
        Event::Tagged { name, .. } | Event::Untagged { name } => Some(name.clone()),
        Event::Removed => None,
    });
    let held = || before.and_then(|image| image.names.first()).map(|held| held.name.clone());
    Context { name: String::new(), image: told.or_else(held).unwrap_or_default(), ..context.clone() }
}

/// What frees something must be recorded also when the disk is full.
fn is_urgent(event: &Event) -> bool {
    match event {
        Event::Added { .. } | Event::Tagged { .. } => false,
        Event::Untagged { .. } | Event::Removed => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::domain::id::BootId;
    use crate::domain::image::tests::{ID, add, facts};
    use crate::journal::record::Actor;
    use crate::spec::Host;

    fn engine() -> Arc<Engine> {
        let journal = store::Journal::in_memory(store::Options::default()).unwrap();
        Engine::new(Config::built_in(), Host::probe().unwrap(), BootId::default(), journal)
    }

    fn tag(name: &str, since: u64) -> Command {
        Command::Tag { name: name.to_owned(), since }
    }

    #[tokio::test]
    async fn a_name_moves_with_the_event_of_its_new_image() {
        let engine = engine();
        let context = Context::new(Actor::Engine);
        let other = Digest([9; 32]);
        let since = engine.images.next_since();
        engine.turn_image(ID, &context, &add(&["a", "b"], since)).await.unwrap();
        let since = engine.images.next_since();
        engine.turn_image(other, &context, &add(&["a"], since)).await.unwrap();
        assert_eq!(engine.images.named("a").unwrap().image.id, other);
        assert_eq!(engine.images.snapshot().listing("a").len(), 2);
        let turned = engine.turn_image(ID, &context, &Command::Untag { name: "a".to_owned() }).await.unwrap();
        assert_eq!(turned.image.unwrap().names.len(), 1);
        assert_eq!(engine.images.snapshot().listing("a"), [other]);
        let records = engine.journal.read(1, 10).unwrap();
        let told: Vec<_> = records
            .iter()
            .map(|record| record::image::decode(record).unwrap())
            .map(|(context, event)| format!("{} {}", event.name(), context.image))
            .collect();
        assert_eq!(told, ["ImagePulled a", "ImagePulled a", "ImageUntagged a"]);
    }

    #[tokio::test]
    async fn an_image_that_was_removed_comes_again() {
        let engine = engine();
        let context = Context::new(Actor::Engine);
        for round in 1..=3 {
            engine.turn_image(ID, &context, &add(&["a"], round)).await.unwrap();
            engine.turn_image(ID, &context, &Command::Remove).await.unwrap();
            assert!(engine.images.get(&ID).is_none() && engine.images.named("a").is_none());
        }
        let refused = engine.turn_image(ID, &context, &Command::Remove).await;
        assert!(matches!(refused, Err(TurnError::Rejected(Rejection::NoSuchImage))));
        assert_eq!(engine.journal.last(), 6);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn racing_turns_each_decide_on_what_is_true() {
        let engine = engine();
        let context = Context::new(Actor::Engine);
        engine.turn_image(ID, &context, &add(&[], 0)).await.unwrap();
        let mut tasks = tokio::task::JoinSet::new();
        for n in 0..32_u64 {
            let (engine, context) = (engine.clone(), context.clone());
            tasks.spawn(async move {
                // Its caller goes away, perhaps when the turn is being recorded: what follows decides on that.
                let lost = tag(&format!("lost{n}"), n + 1);
                tokio::select! {
                    biased;
                    _ = engine.turn_image(ID, &context, &lost) => {}
                    () = tokio::task::yield_now() => {}
                }
                engine.turn_image(ID, &context, &tag(&format!("n{n}"), n + 1)).await.unwrap();
            });
        }
        while let Some(done) = tasks.join_next().await {
            done.unwrap();
        }
        let image = engine.images.get(&ID).unwrap().image.clone();
        assert!((0..32).all(|n| image.holds(&format!("n{n}"))));
        let records = engine.journal.read(1, 200).unwrap();
        let replayed = records.iter().fold(None, |image, record| {
            assert_eq!(record.version, record.seq, "one line, without gaps");
            evolve(image, &record::image::decode(record).unwrap().1)
        });
        assert_eq!(replayed, Some(image));
    }

    #[tokio::test]
    async fn a_use_is_saved_without_an_event() {
        let engine = engine();
        let context = Context::new(Actor::Engine);
        engine.turn_image(ID, &context, &add(&["a"], 1)).await.unwrap();
        let later = Timestamp(facts().used_at.0 + 50);
        engine.save_image_row(ID, later).await.unwrap();
        engine.save_image_row(ID, Timestamp(1)).await.unwrap();
        engine.save_image_row(Digest([9; 32]), later).await.unwrap();
        assert_eq!(engine.journal.last(), 1);
        let image = engine.images.get(&ID).unwrap().image.clone();
        assert_eq!((image.facts.used_at, image.version), (later, 1));
        engine.turn_image(ID, &context, &tag("b", 2)).await.unwrap();
        assert_eq!(engine.images.get(&ID).unwrap().image.facts.used_at, later);
    }
}
