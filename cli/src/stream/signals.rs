//! Signals sent to us while we stand for a container.
//!
//! Without a terminal they are the container's: Ctrl-C ends the process it was meant for. With one, the keys travel
//! as bytes, and a signal can only mean that we shall go.

use std::pin::Pin;

use cri_api::isula::v1::attach_input::Input;
use cri_api::isula::v1::{AttachInput, KillRequest};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};

use super::terminal;
use crate::client::Client;
use crate::failure::Failure;

/// Signals kept for a container that is being started. One more, and the caller means us.
const PATIENCE: usize = 2;

pub(super) struct Signals {
    tty: bool,
    passed_on: Vec<(SignalKind, Signal)>,
    resized: Signal,
}

impl Signals {
    /// From here on these signals no longer end the program.
    pub(super) fn listen(tty: bool) -> Result<Self, Failure> {
        let failed = |error| Failure::io("listen for signals", error);
        let mut passed_on = Vec::new();
        let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup(), SignalKind::quit()];
        let ignored = ignored();
        for kind in kinds.into_iter().chain([SignalKind::user_defined1(), SignalKind::user_defined2()]) {
            if ignored & (1 << (kind.as_raw_value() - 1)) != 0 {
                continue;
            }
            passed_on.push((kind, signal(kind).map_err(failed)?));
        }
        let resized = signal(SignalKind::window_change()).map_err(failed)?;
        Ok(Self { tty, passed_on, resized })
    }

    /// Passes signals on for as long as it is polled. Returns the signal that shall end us.
    pub(super) async fn forward(
        mut self,
        client: &Client,
        container: &str,
        to_daemon: mpsc::Sender<AttachInput>,
        mut started: watch::Receiver<bool>,
    ) -> i32 {
        let mut kept: Vec<i32> = Vec::new();
        loop {
            let running = *started.borrow();
            if running {
                for signal in kept.drain(..) {
                    kill(client, container, signal).await;
                }
            }
            tokio::select! {
                number = next(&mut self.passed_on) => {
                    if self.tty || (!running && kept.len() >= PATIENCE) {
                        return number;
                    }
                    kept.push(number);
                }
                _ = self.resized.recv(), if self.tty => {
                    if let Some(size) = terminal::size() {
                        // A full queue means that the container does not read: the next change will tell it.
                        let _ = to_daemon.try_send(AttachInput { input: Some(Input::Resize(size)) });
                    }
                }
                Ok(()) = started.changed() => {}
            }
        }
    }
}

/// Signals, as bits, that whoever started us made us ignore: `nohup isula run …` means that a hang-up shall not reach
/// the container either.
fn ignored() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

async fn next(signals: &mut [(SignalKind, Signal)]) -> i32 {
    std::future::poll_fn(|context| {
        for (kind, signal) in signals.iter_mut() {
            if Pin::new(signal).poll_recv(context).is_ready() {
                return std::task::Poll::Ready(kind.as_raw_value());
            }
        }
        std::task::Poll::Pending
    })
    .await
}

/// A container that has just exited cannot be told; its exit is on the way to us.
async fn kill(client: &Client, container: &str, signal: i32) {
    let request = KillRequest { container: container.to_owned(), signal: signal.to_string() };
    if let Err(status) = client.containers().kill(request).await
        && status.code() != tonic::Code::FailedPrecondition
        && status.code() != tonic::Code::NotFound
    {
        crate::output::complain(&format!("Cannot pass signal {signal} on: {}", status.message()));
    }
}
