//! Stats: rounds of what containers use, until the client has enough.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use cri_api::isula::v1::{ContainerStats, StatsRequest, StatsResponse};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use crate::api::native::container::nanoseconds;
use crate::api::native::{ApiError, Native};
use crate::clock;
use crate::containers::Entity;
use crate::domain::id::ContainerId;
use crate::engine::Engine;
use crate::usage::{Measured, READ_DEADLINE};

const INTERVAL: Duration = Duration::from_secs(1);
/// Rounds more often than that would be work for nobody.
const SHORTEST: Duration = Duration::from_millis(50);

/// Whose rounds these are.
enum Whose {
    /// Those that run, also the ones that begin to later.
    Running,
    All,
    These(Vec<ContainerId>),
}

impl Native {
    pub(super) async fn stream_stats(
        &self,
        request: StatsRequest,
    ) -> Result<ReceiverStream<Result<StatsResponse, Status>>, ApiError> {
        let whose = match (request.containers.is_empty(), request.all) {
            (true, false) => Whose::Running,
            (true, true) => Whose::All,
            (false, _) => {
                let (mut ids, mut known) = (Vec::new(), HashSet::new());
                for reference in &request.containers {
                    let id = self.resolve(reference)?;
                    if known.insert(id) {
                        ids.push(id);
                    }
                }
                Whose::These(ids)
            }
        };
        let interval = match request.interval_ms {
            0 => INTERVAL,
            milliseconds => SHORTEST.max(Duration::from_millis(milliseconds.into())),
        };
        let first = round(&self.engine, &whose).await?;
        let (sender, receiver) = mpsc::channel(1);
        // A channel that was just made has room.
        let _ = sender.try_send(Ok(first));
        if !request.once {
            tokio::spawn(go_on(self.engine.clone(), whose, interval, sender));
        }
        Ok(ReceiverStream::new(receiver))
    }
}

/// Until nobody listens. A client that does not keep up gets fewer rounds.
async fn go_on(
    engine: Arc<Engine>,
    whose: Whose,
    interval: Duration,
    sender: mpsc::Sender<Result<StatsResponse, Status>>,
) {
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    ticks.tick().await;
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = sender.closed() => return,
        }
        let round = round(&engine, &whose).await.map_err(Status::from);
        // Of containers that were named and are all gone there is nothing more to tell.
        let all_gone = matches!((&whose, &round), (Whose::These(_), Ok(round)) if round.containers.is_empty());
        let last = round.is_err() || all_gone;
        if sender.send(round).await.is_err() || last {
            return;
        }
    }
}

async fn round(engine: &Arc<Engine>, whose: &Whose) -> Result<StatsResponse, ApiError> {
    let entities = chosen(engine, whose);
    let measured = engine.measure(entities.clone()).await;
    let slow = || format!("the counters could not be read within {} s", READ_DEADLINE.as_secs());
    let measured = measured.ok_or_else(|| ApiError::Deadline { message: slow() })?;
    Ok(StatsResponse { containers: entities.iter().map(|entity| told(entity, &measured)).collect() })
}

/// One that was removed is in no round any more.
fn chosen(engine: &Engine, whose: &Whose) -> Vec<Arc<Entity>> {
    let map = engine.containers.snapshot();
    match whose {
        Whose::Running => map.values().filter(|entity| entity.state.phase.run().is_some()).cloned().collect(),
        Whose::All => map.values().cloned().collect(),
        Whose::These(ids) => ids.iter().filter_map(|id| map.get(id)).cloned().collect(),
    }
}

fn told(entity: &Entity, measured: &HashMap<ContainerId, Measured>) -> ContainerStats {
    let container = &entity.state;
    let about = ContainerStats {
        id: container.id.to_string(),
        name: container.card.name.to_string(),
        state: container.phase.word().to_owned(),
        ..ContainerStats::default()
    };
    let Some(Measured { at, cpu_percent, counters, traffic }) = measured.get(&container.id).copied() else {
        return ContainerStats { at: nanoseconds(clock::now()), ..about };
    };
    ContainerStats {
        at: nanoseconds(at),
        cpu_percent,
        cpu_usage: counters.cpu_usage,
        cpu_user: counters.cpu_user,
        cpu_system: counters.cpu_system,
        memory_usage: counters.memory_usage,
        memory_limit: counters.memory_limit,
        memory_total: counters.memory_total,
        memory_cache: counters.memory_cache,
        memory_rss: counters.memory_rss,
        swap_usage: counters.swap_usage,
        page_faults: counters.page_faults,
        major_page_faults: counters.major_page_faults,
        block_read: counters.block_read,
        block_write: counters.block_write,
        pids: counters.pids,
        pids_limit: counters.pids_limit,
        net_received: traffic.map(|traffic| traffic.received),
        net_sent: traffic.map(|traffic| traffic.sent),
        kernel_memory: counters.kernel_memory,
        ..about
    }
}
