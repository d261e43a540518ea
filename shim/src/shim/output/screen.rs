//! Carries the output of a terminal to the log and the clients.
//!
//! A read fails with EIO while no process has the other side open. That is not the end: a process may close its
//! terminal and open it again later, by its name. While the first process lives, the terminal is read now and then,
//! since there is no event for this.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::time::Duration;

use isulad_shim::sys::readable;
use rustix::io::{Errno, ioctl_fionbio};
use tokio::io::unix::AsyncFd;
use tokio::sync::watch;

use super::Stream;
use super::hub::Hub;
use super::log::LINE_LIMIT;

/// Pause between the first two reads while no process has the terminal open. It doubles, up to the longest.
const PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

enum Read {
    Some(usize),
    /// A process has it open again, but the watch still reports the earlier hang-up.
    Stale,
    Closed,
}

struct Screen {
    hub: Rc<Hub>,
    stop: watch::Receiver<bool>,
    bytes: Vec<u8>,
    /// Output that is not logged yet: the beginning of a line.
    line: Vec<u8>,
}

/// Runs until no process has the terminal open and the first process has ended, or until `stop`. Output that a killed
/// shim has read and not logged is lost, with the terminal itself.
pub(crate) async fn carry(master: OwnedFd, hub: Rc<Hub>, stop: watch::Receiver<bool>) {
    let mut screen = Screen { hub, stop, bytes: vec![0; LINE_LIMIT], line: Vec::new() };
    if let Err(error) = screen.run(master).await {
        eprintln!("isulad-shim: cannot read the container's terminal: {error}");
    }
    screen.hub.log.borrow_mut().write_rest(Stream::Stdout, &screen.line);
}

impl Screen {
    async fn run(&mut self, master: OwnedFd) -> io::Result<()> {
        ioctl_fionbio(master.as_fd(), true)?;
        let mut master = readable::watch(master)?;
        let mut pause = PAUSE;
        loop {
            self.hub.room().await;
            let read = tokio::select! {
                // Order: available output comes before the order to stop.
                biased;
                read = read_from(&master, &mut self.bytes) => read?,
                _ = self.stop.changed() => return Ok(()),
            };
            match read {
                Read::Some(count) => {
                    self.show(count);
                    pause = PAUSE;
                    tokio::task::yield_now().await;
                }
                Read::Stale => master = readable::watch(master.into_inner())?,
                Read::Closed => {
                    tokio::select! {
                        biased;
                        () = self.hub.ended() => return Ok(()),
                        _ = self.stop.changed() => return Ok(()),
                        () = tokio::time::sleep(pause) => {}
                    }
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }

    fn show(&mut self, count: usize) {
        self.line.extend_from_slice(&self.bytes[..count]);
        let done = self.hub.log.borrow_mut().write(Stream::Stdout, &self.line, LINE_LIMIT);
        self.line.drain(..done);
        self.hub.output(Stream::Stdout, &self.bytes[..count]);
        self.hub.record_unfinished(Stream::Stdout, &self.line);
    }
}

async fn read_from(master: &AsyncFd<OwnedFd>, bytes: &mut [u8]) -> io::Result<Read> {
    loop {
        let mut guard = master.readable().await?;
        let hung_up = guard.ready().is_read_closed();
        match guard.try_io(|fd| Ok(rustix::io::read(fd.get_ref(), &mut *bytes)?)) {
            Ok(Ok(count @ 1..)) => return Ok(Read::Some(count)),
            Ok(Ok(0)) => return Ok(Read::Closed),
            Ok(Err(error)) => match Errno::from_io_error(&error) {
                Some(Errno::INTR) => {}
                Some(Errno::IO) => return Ok(Read::Closed),
                Some(_) | None => return Err(error),
            },
            Err(_) if hung_up => return Ok(Read::Stale),
            Err(_) => {}
        }
    }
}
