//! The model: a container's life by its events, written anew from the documented contract and not from the engine's
//! code.

use std::collections::BTreeMap;

use cri_api::isula::v1::Event;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Created,
    Starting,
    Running,
    Pausing,
    Paused,
    Resuming,
    Exited,
    Restarting,
    Removing,
    Gone,
}

impl State {
    /// Its first process lives.
    pub(crate) fn is_up(self) -> bool {
        matches!(self, Self::Running | Self::Pausing | Self::Paused | Self::Resuming)
    }

    /// The state's word in lists.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Created => "inited",
            Self::Starting => "starting",
            Self::Running | Self::Pausing | Self::Resuming => "running",
            Self::Paused => "paused",
            Self::Exited => "exited",
            Self::Restarting => "restarting",
            Self::Removing => "removing",
            Self::Gone => "gone",
        }
    }
}

/// The known facts of the run that began last.
#[derive(Debug, Clone, Default)]
pub(crate) struct Run {
    /// The number of its `StartRequested`.
    pub since: u64,
    pub pid: Option<i32>,
    /// Signals that were asked for, also by stops.
    pub signals: Vec<String>,
    pub unhealthy: bool,
    pub removal: bool,
    pub oom: bool,
    /// A user has stopped it between two runs: no start by policy follows.
    pub restart_cancelled: bool,
}

/// One container, also after its end.
#[derive(Debug, Clone)]
pub(crate) struct Life {
    pub name: String,
    /// From which event on it was in which state.
    pub states: Vec<(u64, State)>,
    pub run: Run,
    /// How the last run ended: a number, or `unknown`.
    pub ended: Option<String>,
    /// Starts by policy since a user's.
    pub restarts: u32,
    /// Intents of execs without their ends, by id.
    pub execs: BTreeMap<String, u64>,
}

impl Life {
    pub(crate) fn state(&self) -> State {
        self.states.last().map_or(State::Gone, |(_, state)| *state)
    }

    /// The states it was in from the event `from` on until the event `to`; none before its first.
    pub(crate) fn states_in(&self, from: u64, to: u64) -> impl Iterator<Item = State> {
        let first = self.states.iter().rposition(|(seq, _)| *seq <= from).unwrap_or(0);
        self.states[first..].iter().take_while(move |(seq, _)| *seq <= to).map(|(_, state)| *state)
    }

    pub(crate) fn first_seq(&self) -> u64 {
        self.states.first().map_or(0, |(seq, _)| *seq)
    }
}

#[derive(Debug, Default)]
pub(crate) struct Model {
    pub lives: BTreeMap<String, Life>,
    /// Which container had a name from which event on.
    names: BTreeMap<String, Vec<(u64, Option<String>)>>,
    pub volumes: BTreeMap<String, bool>,
}

impl Model {
    /// Takes in an event; `Err` is the rule that the event breaks.
    pub(crate) fn take(&mut self, event: &Event) -> Result<(), String> {
        match event.kind.as_str() {
            "container" => self.take_of_container(event),
            "volume" => {
                match event.name.as_str() {
                    "VolumeCreated" => drop(self.volumes.insert(event.id.clone(), true)),
                    "VolumeRemoved" => drop(self.volumes.insert(event.id.clone(), false)),
                    _ => {}
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn take_of_container(&mut self, event: &Event) -> Result<(), String> {
        let name = event.attributes.get("name").cloned().unwrap_or_default();
        let before = self.lives.get(&event.id).map(Life::state);
        let after = next(before, &event.name)
            .ok_or_else(|| format!("event {} `{}` cannot follow on {before:?}", event.seq, event.name))?;
        let life = self.lives.entry(event.id.clone()).or_insert_with(|| Life {
            name: name.clone(),
            states: vec![],
            run: Run::default(),
            ended: None,
            restarts: 0,
            execs: BTreeMap::new(),
        });
        let old_name = std::mem::replace(&mut life.name, name.clone());
        life.note(event);
        if before != Some(after) {
            life.states.push((event.seq, after));
        }
        if after == State::Gone {
            self.name(&name, event.seq, None)
        } else if before.is_none() || event.name == "Renamed" {
            if before.is_some() {
                self.name(&old_name, event.seq, None)?;
            }
            self.name(&name, event.seq, Some(&event.id))
        } else {
            Ok(())
        }
    }

    fn name(&mut self, name: &str, seq: u64, id: Option<&str>) -> Result<(), String> {
        let history = self.names.entry(name.to_owned()).or_default();
        let holder = history.last().and_then(|(_, holder)| holder.clone());
        history.push((seq, id.map(str::to_owned)));
        match (holder, id) {
            (Some(holder), Some(id)) => Err(format!("name `{name}` of {holder} is given to {id}")),
            _ => Ok(()),
        }
    }

    /// The containers that had the name between two events; `None` stands for a time without one.
    pub(crate) fn holders(&self, name: &str, from: u64, to: u64) -> Vec<Option<String>> {
        let history = self.names.get(name).map(Vec::as_slice).unwrap_or_default();
        let first = history.iter().rposition(|(seq, _)| *seq <= from);
        let mut holders: Vec<Option<String>> = history[first.unwrap_or(0)..]
            .iter()
            .take_while(|(seq, _)| *seq <= to)
            .map(|(_, holder)| holder.clone())
            .collect();
        if first.is_none() {
            holders.insert(0, None);
        }
        holders
    }

    /// The container that has the name now.
    pub(crate) fn holder(&self, name: &str) -> Option<&str> {
        self.names.get(name)?.last()?.1.as_deref()
    }

    pub(crate) fn present(&self) -> impl Iterator<Item = (&String, &Life)> {
        self.lives.iter().filter(|(_, life)| life.state() != State::Gone)
    }
}

impl Life {
    fn note(&mut self, event: &Event) {
        let attribute = |key: &str| event.attributes.get(key).cloned();
        match event.name.as_str() {
            "StartRequested" => {
                self.restarts = if self.state() == State::Restarting { self.restarts + 1 } else { 0 };
                self.run = Run { since: event.seq, ..Run::default() };
            }
            "Started" => self.run.pid = attribute("pid").and_then(|pid| pid.parse().ok()),
            "StopRequested" | "Killed" => self.run.signals.extend(attribute("signal")),
            "RemoveRequested" => self.run.removal = true,
            "RestartCancelled" => self.run.restart_cancelled = true,
            "OomKilled" => self.run.oom = true,
            "HealthChanged" => self.run.unhealthy |= attribute("health").as_deref() == Some("unhealthy"),
            "Exited" | "StartFailed" => self.ended = attribute("exitCode"),
            "ExecStarted" => drop(self.execs.insert(attribute("execID").unwrap_or_default(), event.seq)),
            "ExecExited" => drop(self.execs.remove(&attribute("execID").unwrap_or_default())),
            _ => {}
        }
    }
}

/// The state after an event; `None` when it cannot happen then.
fn next(before: Option<State>, event: &str) -> Option<State> {
    use State::{Created, Exited, Gone, Paused, Pausing, Removing, Restarting, Resuming, Running, Starting};
    let Some(state) = before else { return (event == "Created").then_some(Created) };
    let among = |allowed: &[State], after: State| allowed.contains(&state).then_some(after);
    match event {
        "StartRequested" => among(&[Created, Exited, Restarting], Starting),
        "Started" => among(&[Starting], Running),
        "StartFailed" => among(&[Starting], Exited),
        "PauseRequested" => among(&[Running], Pausing),
        // After a restart of the daemon the state found is recorded, also in the midst of an operation.
        "Paused" => among(&[Pausing, Running], Paused),
        "PauseFailed" => among(&[Pausing], Running),
        "ResumeRequested" => among(&[Paused], Resuming),
        "Resumed" => among(&[Resuming, Paused, Pausing], Running),
        "ResumeFailed" => among(&[Resuming], Paused),
        "Exited" if state == Removing => Some(Removing),
        "Exited" => among(&[Running, Pausing, Paused, Resuming], Exited),
        "RestartScheduled" => among(&[Exited], Restarting),
        "RestartCancelled" => among(&[Restarting], Exited),
        "RemoveRequested" => {
            among(&[Created, Exited, Restarting, Running, Pausing, Paused, Resuming, Removing], Removing)
        }
        "RemoveFailed" => among(&[Removing], Removing),
        "Removed" => among(&[Removing], Gone),
        "StopRequested" | "Killed" | "OomKilled" | "ShimLost" | "ShimAdopted" | "HealthChanged" => {
            among(&[Starting, Running, Pausing, Paused, Resuming, Removing], state)
        }
        "Created" => None,
        // Sessions, networks, updates, names: beside the state.
        _ => (state != Gone).then_some(state),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(seq: u64, id: &str, name: &str, event: &str) -> Event {
        Event {
            seq,
            kind: "container".to_owned(),
            id: id.to_owned(),
            name: event.to_owned(),
            attributes: [("name".to_owned(), name.to_owned())].into(),
            ..Event::default()
        }
    }

    fn model(events: &[Event]) -> Result<Model, String> {
        let mut model = Model::default();
        events.iter().try_for_each(|event| model.take(event))?;
        Ok(model)
    }

    #[test]
    fn names_and_states_are_known_for_every_moment() {
        let events = [
            event(1, "a", "x", "Created"),
            event(2, "a", "y", "Renamed"),
            event(3, "b", "x", "Created"),
            event(4, "b", "x", "RemoveRequested"),
            event(5, "b", "x", "Removed"),
        ];
        let model = model(&events).expect("all of it may happen");
        assert_eq!(model.holders("x", 0, 1), [None, Some("a".to_owned())]);
        assert_eq!(model.holders("x", 2, 3), [None, Some("b".to_owned())]);
        assert_eq!(model.holder("y"), Some("a"));
        let states: Vec<State> = model.lives["b"].states_in(3, 5).collect();
        assert_eq!(states, [State::Created, State::Removing, State::Gone]);
    }

    #[test]
    fn impossible_events_are_rejected() {
        let twice = [event(1, "a", "x", "Created"), event(2, "b", "x", "Created")];
        assert!(model(&twice).is_err_and(|broken| broken.contains("name `x` of a")));
        let dead = [event(1, "a", "x", "Created"), event(2, "a", "x", "Exited")];
        assert!(model(&dead).is_err_and(|broken| broken.contains("cannot follow")));
    }
}
