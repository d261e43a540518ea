//! Our terminal while the container has one of its own: ours passes every key on and interprets none.

use std::io::{self, IsTerminal};
use std::os::fd::{AsFd, OwnedFd};
use std::panic;
use std::sync::{Mutex, Once, PoisonError};

use cri_api::isula::v1::WindowSize;
use rustix::termios::{self, OptionalActions, Termios};

use crate::failure::Failure;

/// The terminal's settings to restore, shared so that every way out of the program can do it: a panic, on any thread,
/// must not leave a shell with a terminal that echoes nothing.
static BEFORE: Mutex<Option<(OwnedFd, Termios)>> = Mutex::new(None);

/// The terminal in raw mode; dropping it puts things back.
pub(super) struct RawMode {
    raw: Termios,
}

impl RawMode {
    /// Nothing when stdin is no terminal.
    pub(super) fn enter() -> Result<Option<Self>, Failure> {
        let stdin = io::stdin();
        if !stdin.is_terminal() {
            return Ok(None);
        }
        let entered = stdin.as_fd().try_clone_to_owned().and_then(Self::of);
        entered.map(Some).map_err(|error| Failure::io("switch the terminal to raw mode", error))
    }

    fn of(terminal: OwnedFd) -> io::Result<Self> {
        static HOOK: Once = Once::new();
        HOOK.call_once(|| {
            let previous = panic::take_hook();
            panic::set_hook(Box::new(move |info| {
                // Before the message, which would run off to the right otherwise.
                restore();
                previous(info);
            }));
        });
        let before = termios::tcgetattr(&terminal)?;
        let mut raw = before.clone();
        raw.make_raw();
        let guard = Self { raw };
        let terminal =
            BEFORE.lock().unwrap_or_else(PoisonError::into_inner).insert((terminal, before)).0.try_clone()?;
        termios::tcsetattr(&terminal, OptionalActions::Now, &guard.raw)?;
        Ok(guard)
    }

    /// After a stop, for which a shell took the terminal back.
    pub(super) fn reenter(&self) {
        if let Some((terminal, _)) = &*BEFORE.lock().unwrap_or_else(PoisonError::into_inner) {
            let _ = termios::tcsetattr(terminal, OptionalActions::Now, &self.raw);
        }
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        restore();
    }
}

/// Restores once: later changes by other programs stay.
fn restore() {
    if let Some((terminal, before)) = BEFORE.lock().unwrap_or_else(PoisonError::into_inner).take() {
        // The terminal may be gone: nothing is left to put right then.
        let _ = termios::tcsetattr(terminal, OptionalActions::Now, &before);
    }
}

/// The size of the terminal we write to, if it is one and knows it.
pub(super) fn size() -> Option<WindowSize> {
    let size = termios::tcgetwinsize(io::stdout()).or_else(|_| termios::tcgetwinsize(io::stdin())).ok()?;
    sensible(size.ws_col, size.ws_row)
}

/// Another size, by which a program notices the next one.
pub(super) fn taller(WindowSize { width, height }: WindowSize) -> WindowSize {
    WindowSize { width, height: height + 1 }
}

/// Serial lines and broken emulators report 0 or all ones for unknown sizes. Programs divide by these numbers.
fn sensible(width: u16, height: u16) -> Option<WindowSize> {
    let fits = |side: u16| (1..=i16::MAX as u16).contains(&side);
    (fits(width) && fits(height)).then(|| WindowSize { width: width.into(), height: height.into() })
}

#[cfg(test)]
mod tests {
    use std::os::fd::BorrowedFd;

    use rustix::fs::{Mode, OFlags};
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    use rustix::termios::LocalModes;

    use super::*;

    fn pty() -> (OwnedFd, OwnedFd) {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        let slave = rustix::fs::open(name, OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).unwrap();
        (master, slave)
    }

    fn is_raw(terminal: BorrowedFd<'_>) -> bool {
        !termios::tcgetattr(terminal).unwrap().local_modes.contains(LocalModes::ICANON | LocalModes::ECHO)
    }

    /// One test, since the settings to restore are shared by the whole program.
    #[test]
    fn the_terminal_is_put_back_on_every_way_out() {
        let (_master, slave) = pty();
        let enter = || RawMode::of(slave.try_clone().unwrap()).unwrap();
        let raw = enter();
        assert!(is_raw(slave.as_fd()));
        drop(raw);
        assert!(!is_raw(slave.as_fd()), "after the guard");

        let raw = enter();
        panic::catch_unwind(|| panic!("of a test")).unwrap_err();
        assert!(!is_raw(slave.as_fd()), "after a panic that nobody has unwound from yet");
        drop(raw);

        let raw = enter();
        std::thread::spawn(|| panic!("of a test")).join().unwrap_err();
        assert!(!is_raw(slave.as_fd()), "after a panic on another thread, while the guard is held");
        termios::tcsetattr(&slave, OptionalActions::Now, &raw.raw).unwrap();
        drop(raw);
        assert!(is_raw(slave.as_fd()), "what was set afterwards is not ours to undo");

        let mut cooked = termios::tcgetattr(&slave).unwrap();
        cooked.local_modes |= LocalModes::ICANON | LocalModes::ECHO;
        termios::tcsetattr(&slave, OptionalActions::Now, &cooked).unwrap();
        let raw = enter();
        termios::tcsetattr(&slave, OptionalActions::Now, &cooked).unwrap();
        raw.reenter();
        assert!(is_raw(slave.as_fd()), "after a stop");
        drop(raw);
        assert!(!is_raw(slave.as_fd()));
    }

    #[test]
    fn impossible_sizes_are_ignored() {
        assert_eq!(sensible(80, 24), Some(WindowSize { width: 80, height: 24 }));
        for (width, height) in [(0, 0), (0, 24), (80, 0), (65535, 24), (80, 65535), (32768, 1)] {
            assert_eq!(sensible(width, height), None, "{width} by {height}");
        }
    }
}
