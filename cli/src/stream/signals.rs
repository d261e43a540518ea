//! Signals sent to us while we stand for a container.
//!
//! Without a terminal they are the container's: Ctrl-C ends the process it was meant for. With one, the keys travel
//! as bytes, and a signal can only mean that we shall go.

use cri_api::isula::v1::attach_input::Input;
use cri_api::isula::v1::{AttachInput, KillRequest};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};

use super::terminal;
use crate::client::Client;
use crate::failure::Failure;
use crate::interrupt::{self, next};

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
        let mut passed_on = interrupt::listen(&interrupt::ENDING)?;
        passed_on.extend(interrupt::listen(&[SignalKind::user_defined1(), SignalKind::user_defined2()])?);
        let resized = signal(SignalKind::window_change()).map_err(|error| Failure::io("listen for signals", error))?;
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
