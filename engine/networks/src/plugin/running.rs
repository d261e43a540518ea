//! A plugin at work: its output is read with limits, and with its end, or at the deadline, its whole process group
//! ends.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::process::ExitStatus;
use std::time::Duration;

use isulad_shim::ProcessRef;
use isulad_shim::sys::pidfd::PidFd;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};

use super::input;
use engine_host::sys;

/// The longest answer of a plugin.
pub(super) const OUTPUT_LIMIT: u64 = 1 << 20;
/// The longest part of its error output that is kept.
const ERROR_LIMIT: u64 = 64 << 10;
/// A process that has left the group may hold the output open for longer.
const DRAIN: Duration = Duration::from_secs(1);
/// A killed process is gone soon after.
pub(super) const KILL_PATIENCE: Duration = Duration::from_secs(10);

/// A running plugin; the drop ends it with all that it has started.
pub(super) struct Running {
    group: Group,
    /// Readable once the plugin has ended, before it is reaped.
    ended: AsyncFd<OwnedFd>,
    input: File,
}

pub(super) struct Ended {
    pub status: ExitStatus,
    /// Of too long an output, a little more than the limit.
    pub output: Vec<u8>,
    pub errors: Vec<u8>,
}

impl Running {
    /// `input` is the locked file that is the plugin's, too.
    pub(super) fn begin(mut command: Command, input: File) -> io::Result<Self> {
        let group = Group(command.process_group(0).kill_on_drop(true).spawn()?);
        let pid = group.0.id().ok_or(io::ErrorKind::NotFound)?;
        let pidfd = ProcessRef::of(pid.cast_signed()).and_then(PidFd::open)?;
        Ok(Self { group, ended: sys::watch(pidfd.into())?, input })
    }

    pub(super) async fn finish(&mut self) -> io::Result<Ended> {
        let (stdout, stderr) = (self.group.0.stdout.take(), self.group.0.stderr.take());
        let (mut output, mut errors) = (Vec::new(), Vec::new());
        let status = {
            let reading = async {
                tokio::join!(read(stdout, OUTPUT_LIMIT + 1, &mut output), read(stderr, ERROR_LIMIT, &mut errors));
            };
            let mut reading = std::pin::pin!(reading);
            let read = tokio::select! {
                ended = self.ended.readable() => ended.map(|_| false)?,
                () = &mut reading => self.ended.readable().await.map(|_| true)?,
            };
            // A process left in the background has the input, and would keep the next call waiting. The plugin is not
            // reaped yet, so the number of its group is not reused.
            self.group.kill();
            let status = self.group.0.wait().await?;
            input::unlock(&self.input);
            if !read {
                let _ = tokio::time::timeout(DRAIN, &mut reading).await;
            }
            status
        };
        Ok(Ended { status, output, errors })
    }

    pub(super) async fn end(&mut self) {
        self.group.kill();
        match tokio::time::timeout(KILL_PATIENCE, self.group.0.wait()).await {
            Ok(_) => input::unlock(&self.input),
            Err(_) => tracing::warn!(pid = self.group.0.id(), "a plugin was killed and does not end"),
        }
    }
}

struct Group(Child);

impl Group {
    fn kill(&self) {
        // `None` once it was waited for: the number may be another's then.
        if let Some(pid) = self.0.id().and_then(|pid| Pid::from_raw(pid.cast_signed())) {
            let _ = kill_process_group(pid, Signal::KILL);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Up to a limit; the rest is read and dropped, so that the plugin never waits with a full pipe.
async fn read(from: Option<impl AsyncRead + Unpin>, limit: u64, into: &mut Vec<u8>) {
    let Some(mut from) = from else { return };
    if (&mut from).take(limit).read_to_end(into).await.is_ok() {
        let _ = tokio::io::copy(&mut from, &mut tokio::io::sink()).await;
    }
}
