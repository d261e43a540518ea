//! The peer of a request: the process at the other end of the socket.

use tonic::Request;
use tonic::transport::server::UdsConnectInfo;

use crate::journal::record::{Actor, Context};

/// A new operation with the request's sender as its actor.
pub(super) fn context<T>(request: &Request<T>) -> Context {
    let credentials = request.extensions().get::<UdsConnectInfo>().and_then(|info| info.peer_cred);
    let Some(credentials) = credentials else { return Context::new(Actor::Engine) };
    let pid = credentials.pid().unwrap_or_default().unsigned_abs();
    // The process may have ended by now, and its pid may be another one's: the program's name helps a reader, and
    // proves nothing.
    let exe = std::fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
    Context::new(Actor::Peer { uid: credentials.uid(), pid, exe: exe.to_string_lossy().into_owned() })
}
