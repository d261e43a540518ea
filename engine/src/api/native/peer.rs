//! Who asks: the process at the other end of the socket.

use tonic::Request;
use tonic::transport::server::UdsConnectInfo;

use crate::journal::record::{Actor, Context};

/// A new operation in the name of the request's sender.
pub fn context<T>(request: &Request<T>) -> Context {
    let credentials = request.extensions().get::<UdsConnectInfo>().and_then(|info| info.peer_cred);
    let Some(credentials) = credentials else { return Context::new(Actor::Engine) };
    let pid = credentials.pid().unwrap_or_default().unsigned_abs();
    // It may be gone by now, or another one: a help to a reader, not proof.
    let exe = std::fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
    Context::new(Actor::Peer { uid: credentials.uid(), pid, exe: exe.to_string_lossy().into_owned() })
}
