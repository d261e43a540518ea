//! Signals sent to us while we stand for a process.
//!
//! Without a terminal they are the container's: Ctrl-C ends the process it was meant for. With one, the keys travel
//! as bytes, and a signal can only mean that we shall go.

use cri_api::isula::v1::KillRequest;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tonic::Code;

use super::call::Call;
use super::terminal::{self, RawMode};
use crate::client::Client;
use crate::failure::Failure;
use crate::interrupt::{self, next};

/// Signals pending for a container that is being started. One more, and the caller means us.
const PATIENCE: usize = 2;

pub(super) struct Signals {
    pass_on: bool,
    /// Came before there was anything to pass them to.
    pending: Vec<i32>,
    caught: interrupt::Listening,
    resized: Signal,
    continued: Signal,
}

impl Signals {
    /// From here on these signals no longer end the program. `pass_on`: they are the container's.
    pub(super) fn listen(pass_on: bool) -> Result<Self, Failure> {
        let users = [SignalKind::user_defined1(), SignalKind::user_defined2()];
        let caught = interrupt::listen(&[&interrupt::ENDING[..], &users].concat())?;
        let listen = |kind| signal(kind).map_err(|error| Failure::io("listen for signals", error));
        let (resized, continued) = (
            listen(SignalKind::window_change())?,
            listen(SignalKind::from_raw(rustix::process::Signal::CONT.as_raw()))?,
        );
        Ok(Self { pass_on, pending: Vec::new(), caught, resized, continued })
    }

    /// Holds signals for the process until it exists. Returns the signal that ends this program.
    pub(super) async fn hold(&mut self) -> i32 {
        loop {
            let number = next(&mut self.caught).await;
            if !self.pass_on || self.pending.len() >= PATIENCE {
                return number;
            }
            self.pending.push(number);
        }
    }

    /// Passes signals on for as long as it is polled. Returns the signal that shall end us.
    pub(super) async fn forward<C: Call>(
        mut self,
        client: &Client,
        container: &str,
        raw: Option<&RawMode>,
        to_daemon: mpsc::Sender<C::Input>,
        mut started: watch::Receiver<bool>,
    ) -> i32 {
        let mut pending = std::mem::take(&mut self.pending);
        let mut new_size = None;
        loop {
            let running = *started.borrow();
            if running && !pending.is_empty() {
                match self.pass(client, container, std::mem::take(&mut pending)).await {
                    Ok(more) => pending = more,
                    Err(number) => return number,
                }
                continue;
            }
            tokio::select! {
                number = next(&mut self.caught) => {
                    if !self.pass_on || (!running && pending.len() >= PATIENCE) {
                        return number;
                    }
                    pending.push(number);
                }
                _ = self.resized.recv() => new_size = terminal::size(),
                _ = self.continued.recv() => {
                    raw.inspect(|raw| raw.reenter());
                    new_size = terminal::size();
                }
                // Only the newest size is sent, as soon as the queue has room behind the input that the container has
                // not read.
                Ok(place) = to_daemon.reserve(), if new_size.is_some() => {
                    if let Some(size) = new_size.take() {
                        place.send(C::resize(size));
                    }
                }
                Ok(()) = started.changed() => {}
            }
        }
    }

    /// Passes these on, one after the other; gives those that have come meanwhile. The error is the signal that shall
    /// end us, since the daemon does not answer. Nothing is passed on any more once there is nothing to pass it to.
    async fn pass(&mut self, client: &Client, container: &str, pending: Vec<i32>) -> Result<Vec<i32>, i32> {
        let mut more = Vec::new();
        for signal in pending {
            let mut passing = std::pin::pin!(kill(client, container, signal));
            let goes_on = loop {
                tokio::select! {
                    goes_on = &mut passing => break goes_on,
                    // A daemon that does not answer must not keep us here against the caller's will.
                    number = next(&mut self.caught) => {
                        if more.len() + 1 >= PATIENCE {
                            return Err(number);
                        }
                        more.push(number);
                    }
                }
            };
            if !goes_on {
                // The exit is on its way to us, but may wait for ever behind output that has no reader. The signals
                // before this answer were meant for the exited process; the next one is for us.
                self.pass_on = false;
                return Ok(vec![]);
            }
        }
        Ok(more)
    }
}

/// Whether the container can take further signals. One that has just exited cannot, which is no trouble: its exit is on
/// the way to us. A paused one takes no signals either.
async fn kill(client: &Client, container: &str, signal: i32) -> bool {
    let request = KillRequest { container: container.to_owned(), signal: signal.to_string() };
    let Err(status) = client.containers().kill(request).await else { return true };
    if matches!(status.code(), Code::FailedPrecondition | Code::NotFound) {
        return false;
    }
    crate::output::complain(&format!("Cannot pass signal {signal} on: {}", status.message()));
    // Without a daemon the session is over, too.
    status.code() != Code::Unavailable
}
