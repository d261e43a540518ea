//! Notifications of the service manager (sd_notify): datagrams to the socket that it named, if it named one.
//!
//! The name is taken out of the environment: it is for this process alone. An OCI runtime that inherits it notifies the
//! service manager on behalf of the container, and may fail to start it.

use std::ffi::OsString;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use crate::sys;

/// The service manager's socket, if it named one.
#[derive(Debug, Default)]
pub struct Notify {
    socket: Option<OsString>,
}

impl Notify {
    /// Takes the name out of the environment. To be called before any thread is started.
    pub fn take() -> Self {
        Self { socket: sys::take_variable("NOTIFY_SOCKET") }
    }

    pub fn ready(&self) {
        self.send(&format!("READY=1\nMAINPID={}", std::process::id()));
    }

    pub fn stopping(&self) {
        self.send("STOPPING=1");
    }

    fn send(&self, state: &str) {
        let Some(name) = &self.socket else { return };
        let address = match name.as_bytes().strip_prefix(b"@") {
            Some(name) => SocketAddr::from_abstract_name(name),
            None => SocketAddr::from_pathname(name),
        };
        let sent = address.and_then(|address| UnixDatagram::unbound()?.send_to_addr(state.as_bytes(), &address));
        if let Err(error) = sent {
            tracing::warn!(%error, "the service manager could not be notified of `{state}`");
        }
    }
}
