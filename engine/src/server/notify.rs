//! Telling the service manager (sd_notify): one datagram to the socket it named, if it named one.
//!
//! The name is taken out of the environment: it is for this process alone. An OCI runtime that inherits it takes the
//! container for the one to tell, and may fail to start it.

use std::ffi::OsString;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use crate::sys;

/// Who wants to be told.
#[derive(Debug, Default)]
pub struct Notify {
    socket: Option<OsString>,
}

impl Notify {
    /// Reads the environment and takes the name out of it. To be called before any thread is started.
    pub fn take() -> Self {
        Self { socket: sys::take_variable("NOTIFY_SOCKET") }
    }

    pub fn ready(&self) {
        self.tell(&format!("READY=1\nMAINPID={}", std::process::id()));
    }

    pub fn stopping(&self) {
        self.tell("STOPPING=1");
    }

    fn tell(&self, state: &str) {
        let Some(name) = &self.socket else { return };
        let address = match name.as_bytes().strip_prefix(b"@") {
            Some(name) => SocketAddr::from_abstract_name(name),
            None => SocketAddr::from_pathname(name),
        };
        let sent = address.and_then(|address| UnixDatagram::unbound()?.send_to_addr(state.as_bytes(), &address));
        if let Err(error) = sent {
            tracing::warn!(%error, "the service manager could not be told `{state}`");
        }
    }
}
