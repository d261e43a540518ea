//! A user's terminal: the master of a pseudo terminal, whose other side is a program's own terminal.

use std::cell::RefCell;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};

use crate::binaries;
use crate::deadline::{self, PATIENCE};

/// The size is 80 by 24 until it is changed.
#[derive(Debug)]
pub struct Terminal {
    ours: OwnedFd,
    theirs: File,
    /// Output that was read and not yet waited for.
    shown: RefCell<Vec<u8>>,
}

impl Default for Terminal {
    fn default() -> Self {
        Self::open()
    }
}

impl Terminal {
    pub fn open() -> Self {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let ours = openpt(flags).expect("a pseudo terminal can be opened");
        grantpt(&ours).and_then(|()| unlockpt(&ours)).expect("our terminal is ours");
        let theirs = ioctl_tiocgptpeer(&ours, flags).expect("our terminal has another side");
        let terminal = Self { ours, theirs: theirs.into(), shown: RefCell::default() };
        terminal.resize(80, 24);
        terminal
    }

    /// Starts a program in a session of its own, with this as its controlling terminal, input and output. It has the
    /// process id of the child.
    pub fn spawn(&self, command: &Command) -> Child {
        let copy = || self.theirs.try_clone().expect("a descriptor can be cloned");
        let mut inside = Command::new(binaries::required("setsid"));
        inside.arg("--ctty").arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => inside.env(name, value),
                None => inside.env_remove(name),
            };
        }
        inside.stdin(copy()).stdout(copy()).stderr(copy());
        inside.spawn().unwrap_or_else(|error| panic!("cannot run {command:?}: {error}"))
    }

    /// Types. Ctrl-A is `\x01`, and so on.
    pub fn types(&self, keys: &str) {
        let mut keys = keys.as_bytes();
        while !keys.is_empty() {
            let count = rustix::io::write(&self.ours, keys).expect("a terminal takes keys");
            keys = &keys[count..];
        }
    }

    /// Waits until this text is shown; returns the output since the last wait, up to and with it.
    ///
    /// # Panics
    /// When it is not.
    #[track_caller]
    pub fn until(&self, text: &str) -> String {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = self.take(text) {
                return found;
            }
            let left = end.saturating_duration_since(Instant::now());
            assert!(self.look(left), "`{text}` is not shown, but {:?}", String::from_utf8_lossy(&self.shown.borrow()));
        }
    }

    /// The output up to now, after a moment without more.
    pub fn rest(&self) -> String {
        while self.look(Duration::from_millis(50)) {}
        String::from_utf8_lossy(&self.shown.take()).into_owned()
    }

    fn take(&self, text: &str) -> Option<String> {
        let mut shown = self.shown.borrow_mut();
        let at = shown.windows(text.len()).position(|window| window == text.as_bytes())?;
        let rest = shown.split_off(at + text.len());
        Some(String::from_utf8_lossy(&std::mem::replace(&mut *shown, rest)).into_owned())
    }

    /// Reads the pending output; false when nothing comes.
    fn look(&self, patience: Duration) -> bool {
        if !deadline::ready(&mut [PollFd::new(&self.ours, PollFlags::IN)], patience) {
            return false;
        }
        let mut buffer = [0; 16 * 1024];
        let count = rustix::io::read(&self.ours, &mut buffer).expect("its other side is ours too, so it is open");
        self.shown.borrow_mut().extend_from_slice(&buffer[..count]);
        true
    }

    /// The program in its foreground gets SIGWINCH.
    pub fn resize(&self, columns: u16, rows: u16) {
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&self.ours, size).expect("our terminal has a size");
    }

    /// Whether it is as a shell wants it: lines, an echo, and keys that are signals.
    pub fn is_cooked(&self) -> bool {
        let modes = tcgetattr(&self.theirs).expect("our terminal has modes").local_modes;
        modes.contains(LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG)
    }
}
