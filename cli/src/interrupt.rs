//! Signals that end the program. The command's future is dropped then, and with it everything it had begun: the
//! request, half a file, bars on the terminal.

use std::pin::Pin;
use std::task::Poll;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::failure::Failure;

/// The signals that end a program by default.
pub(crate) const ENDING: [SignalKind; 4] =
    [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup(), SignalKind::quit()];

/// Signals that are listened for.
pub(crate) type Listening = Vec<(SignalKind, Signal)>;

/// Does `work` unless a signal comes first; it is dropped then.
pub(crate) async fn unless_interrupted<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let mut signals = listen(&ENDING)?;
    tokio::select! {
        done = work => done,
        signal = next(&mut signals) => Err(Failure::Interrupted(signal)),
    }
}

/// From here on these signals no longer end the program. Those that we were made to ignore stay ignored.
pub(crate) fn listen(kinds: &[SignalKind]) -> Result<Listening, Failure> {
    let ignored = ignored();
    let wanted = kinds.iter().filter(|kind| ignored & (1 << (kind.as_raw_value() - 1)) == 0);
    let listened = wanted.map(|&kind| Ok((kind, signal(kind)?)));
    listened.collect::<Result<_, std::io::Error>>().map_err(|error| Failure::io("listen for signals", error))
}

/// The number of the next of them.
pub(crate) async fn next(signals: &mut [(SignalKind, Signal)]) -> i32 {
    std::future::poll_fn(|context| {
        for (kind, signal) in signals.iter_mut() {
            if Pin::new(signal).poll_recv(context).is_ready() {
                return Poll::Ready(kind.as_raw_value());
            }
        }
        Poll::Pending
    })
    .await
}

/// Signals, as bits, that the parent process has set to be ignored: `nohup isula run …` means that a hang-up shall not
/// reach the container either.
fn ignored() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}
