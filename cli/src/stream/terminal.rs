//! Our terminal while the container has one of its own: ours passes every key on and interprets none.

use std::io::{self, IsTerminal};

use cri_api::isula::v1::WindowSize;
use rustix::termios::{self, OptionalActions, Termios};

use crate::failure::Failure;

/// The terminal in raw mode; dropping it puts things back, on errors and panics too.
pub(super) struct RawMode {
    before: Termios,
}

impl RawMode {
    /// Nothing when stdin is no terminal.
    pub(super) fn enter() -> Result<Option<Self>, Failure> {
        let stdin = io::stdin();
        if !stdin.is_terminal() {
            return Ok(None);
        }
        let failed = |error: rustix::io::Errno| Failure::io("switch the terminal to raw mode", error.into());
        let before = termios::tcgetattr(&stdin).map_err(failed)?;
        let mut raw = before.clone();
        raw.make_raw();
        let guard = Self { before };
        termios::tcsetattr(&stdin, OptionalActions::Now, &raw).map_err(failed)?;
        Ok(Some(guard))
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        // The terminal may be gone: nothing is left to put right then.
        let _ = termios::tcsetattr(io::stdin(), OptionalActions::Now, &self.before);
    }
}

/// The size of the terminal we write to, if it is one.
pub(super) fn size() -> Option<WindowSize> {
    let size = termios::tcgetwinsize(io::stdout()).or_else(|_| termios::tcgetwinsize(io::stdin())).ok()?;
    Some(WindowSize { width: size.ws_col.into(), height: size.ws_row.into() })
}
