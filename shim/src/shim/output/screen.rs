//! The output of a terminal, to the log and the clients.
//!
//! A read fails with EIO while nobody has the other side open. That is not the end: a process may close its terminal and
//! open it again later, by its name. While the first process lives, it is looked at now and then; nothing else tells.

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

/// Between the first two looks while nobody has the terminal open. It doubles, up to the longest.
const PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

enum Seen {
    Some(usize),
    /// Somebody has it open, and a hang-up that is over would be told for ever.
    Stale,
    NobodyThere,
}

struct Screen {
    hub: Rc<Hub>,
    stop: watch::Receiver<bool>,
    bytes: Vec<u8>,
    /// What is not logged yet: the beginning of a line.
    line: Vec<u8>,
}

/// Runs until nobody has the terminal open and the first process has ended, or until `stop`. What a killed shim has read
/// and not logged is lost, with the terminal itself.
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
            let seen = tokio::select! {
                // First what is there, then the order to stop.
                biased;
                seen = look(&master, &mut self.bytes) => seen?,
                _ = self.stop.changed() => return Ok(()),
            };
            match seen {
                Seen::Some(count) => {
                    self.show(count);
                    pause = PAUSE;
                    tokio::task::yield_now().await;
                }
                Seen::Stale => master = readable::watch(master.into_inner())?,
                Seen::NobodyThere => {
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
        self.hub.note(Stream::Stdout, &self.line);
    }
}

async fn look(master: &AsyncFd<OwnedFd>, bytes: &mut [u8]) -> io::Result<Seen> {
    loop {
        let mut guard = master.readable().await?;
        let hung_up = guard.ready().is_read_closed();
        match guard.try_io(|fd| Ok(rustix::io::read(fd.get_ref(), &mut *bytes)?)) {
            Ok(Ok(count @ 1..)) => return Ok(Seen::Some(count)),
            Ok(Ok(0)) => return Ok(Seen::NobodyThere),
            Ok(Err(error)) => match Errno::from_io_error(&error) {
                Some(Errno::INTR) => {}
                Some(Errno::IO) => return Ok(Seen::NobodyThere),
                Some(_) | None => return Err(error),
            },
            Err(_) if hung_up => return Ok(Seen::Stale),
            Err(_) => {}
        }
    }
}
