//! With a terminal: raw while it is needed, as before afterwards, its size passed on.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::process::{Child, Command};

use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};

use super::daemon::{Attached, Daemon, Script};
use super::{finish, isula};

pub(crate) struct Terminal {
    pub ours: OwnedFd,
    theirs: File,
}

impl Terminal {
    pub(crate) fn open() -> Self {
        let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&ours).unwrap();
        unlockpt(&ours).unwrap();
        let theirs = ioctl_tiocgptpeer(&ours, OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        let terminal = Self { ours, theirs: theirs.into() };
        terminal.resize(24, 80);
        terminal
    }

    fn resize(&self, rows: u16, columns: u16) {
        tcsetwinsize(&self.ours, Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
    }

    pub(crate) fn echoes(&self) -> bool {
        tcgetattr(&self.theirs).unwrap().local_modes.contains(LocalModes::ECHO | LocalModes::ICANON)
    }

    /// For marks that a test writes behind the program's output.
    pub(crate) fn theirs_for_marks(&self) -> &File {
        &self.theirs
    }

    /// The program's output, up to and with `text`.
    pub(crate) fn read_until(&self, text: &str) -> String {
        let mut shown = Vec::new();
        let mut buffer = [0; 4096];
        while !String::from_utf8_lossy(&shown).contains(text) {
            let count = rustix::io::read(&self.ours, &mut buffer).unwrap();
            shown.extend_from_slice(&buffer[..count]);
        }
        String::from_utf8_lossy(&shown).into_owned()
    }

    pub(crate) fn spawn(&self, command: &mut Command) -> Child {
        let copy = || self.theirs.try_clone().unwrap();
        command.stdin(copy()).stdout(copy()).stderr(copy()).spawn().unwrap()
    }
}

fn session() -> (Terminal, Daemon, Child) {
    let terminal = Terminal::open();
    let daemon = Daemon::start(Script { attached: Attached::UntilKilled, ..Script::default() });
    let child = terminal.spawn(isula(&daemon).args(["run", "-it", "x"]));
    let open = daemon.wait_for("RunAttached");
    assert!(open.contains("size: Some(WindowSize { width: 80, height: 24 })"), "{open}");
    assert!(!terminal.echoes(), "raw mode comes before the container");
    (terminal, daemon, child)
}

#[test]
fn keys_and_sizes_are_passed_on_and_the_terminal_is_put_back() {
    let (terminal, daemon, child) = session();
    rustix::io::write(&terminal.ours, b"\x03").unwrap();
    // Ctrl-C is a byte for the container, not a signal for us.
    assert_eq!(daemon.wait_for("Input"), "Input Stdin([3])");
    terminal.resize(50, 132);
    kill_process(Pid::from_child(&child), Signal::WINCH).unwrap();
    assert_eq!(daemon.wait_for("Input"), "Input Resize(WindowSize { width: 132, height: 50 })");
    assert!(super::outcome(isula(&daemon).args(["kill", "-s", "15", "x"])).code == Some(0));
    assert_eq!(finish(child).status.code(), Some(143));
    assert!(terminal.echoes());
}

#[test]
fn a_signal_ends_us_with_the_terminal_as_before() {
    let (terminal, daemon, child) = session();
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    assert_eq!(finish(child).status.code(), Some(143));
    assert!(terminal.echoes());
    assert!(daemon.asked().iter().all(|asked| !asked.starts_with("Kill")));
}

#[test]
fn a_lost_daemon_leaves_the_terminal_as_before() {
    let (terminal, mut daemon, child) = session();
    daemon.die();
    assert_eq!(finish(child).status.code(), Some(122));
    assert!(terminal.echoes());
    let shown = terminal.read_until("still");
    assert!(shown.starts_with("The connection to the daemon was lost ("), "{shown}");
}

#[test]
fn bytes_before_the_detach_keys_are_sent_first() {
    let (terminal, daemon, child) = session();
    rustix::io::write(&terminal.ours, b"ls\r\x10\x10").unwrap();
    assert_eq!(daemon.wait_for("Input"), format!("Input Stdin({:?})", b"ls\r\x10"));
    rustix::io::write(&terminal.ours, b"\x11rm\r").unwrap();
    assert_eq!(daemon.wait_for("Input"), "Input Detach(Empty)");
    assert_eq!(finish(child).status.code(), Some(0));
    assert!(terminal.echoes());
    assert!(daemon.asked().iter().all(|asked| !asked.starts_with("Kill")));
}
