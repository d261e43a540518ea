//! Stats: rounds of measurements of containers, until the client leaves.

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
use crate::domain::id::ContainerId;
use crate::engine::Engine;
use crate::records::Entity;
use crate::usage::{Measured, READ_DEADLINE};

const INTERVAL: Duration = Duration::from_secs(1);
/// Rounds are never more frequent than this.
const SHORTEST: Duration = Duration::from_millis(50);

/// The containers that are measured.
enum Selection {
    /// The running ones, also those that start later.
    Running,
    All,
    These(Vec<ContainerId>),
}

impl Native {
    pub(super) async fn stream_stats(
        &self,
        request: StatsRequest,
    ) -> Result<ReceiverStream<Result<StatsResponse, Status>>, ApiError> {
        let selection = match (request.containers.is_empty(), request.all) {
            (true, false) => Selection::Running,
            (true, true) => Selection::All,
            (false, _) => {
                let (mut ids, mut known) = (Vec::new(), HashSet::new());
                for reference in &request.containers {
                    let id = self.resolve(reference)?;
                    if known.insert(id) {
                        ids.push(id);
                    }
                }
                Selection::These(ids)
            }
        };
        let interval = match request.interval_ms {
            0 => INTERVAL,
            milliseconds => SHORTEST.max(Duration::from_millis(milliseconds.into())),
        };
        let first = round(&self.engine, &selection).await?;
        let (sender, receiver) = mpsc::channel(1);
        // A new channel has room.
        let _ = sender.try_send(Ok(first));
        if !request.once {
            tokio::spawn(send_rounds(self.engine.clone(), selection, interval, sender));
        }
        Ok(ReceiverStream::new(receiver))
    }
}

/// Sends rounds until the client leaves. A slow client gets fewer rounds.
async fn send_rounds(
    engine: Arc<Engine>,
    selection: Selection,
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
        let round = round(&engine, &selection).await.map_err(Status::from);
        // When all named containers are gone, no further round follows.
        let all_gone = matches!((&selection, &round), (Selection::These(_), Ok(round)) if round.containers.is_empty());
        let last = round.is_err() || all_gone;
        if sender.send(round).await.is_err() || last {
            return;
        }
    }
}

async fn round(engine: &Arc<Engine>, selection: &Selection) -> Result<StatsResponse, ApiError> {
    let entities = chosen(engine, selection);
    let measured = engine.usage.measure(entities.clone()).await;
    let slow = || format!("the counters could not be read within {} s", READ_DEADLINE.as_secs());
    let measured = measured.ok_or_else(|| ApiError::Deadline { message: slow() })?;
    Ok(StatsResponse { containers: entities.iter().map(|entity| container_stats(entity, &measured)).collect() })
}

/// The containers of this round, without those that were removed.
fn chosen(engine: &Engine, selection: &Selection) -> Vec<Arc<Entity>> {
    let map = engine.containers.snapshot();
    match selection {
        Selection::Running => map.values().filter(|entity| entity.state.phase.run().is_some()).cloned().collect(),
        Selection::All => map.values().cloned().collect(),
        Selection::These(ids) => ids.iter().filter_map(|id| map.get(id)).cloned().collect(),
    }
}

fn container_stats(entity: &Entity, measured: &HashMap<ContainerId, Measured>) -> ContainerStats {
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
