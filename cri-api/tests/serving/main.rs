//! Both services under both names, called over a unix socket.
#![cfg(feature = "cri")]
#![allow(clippy::unwrap_used, reason = "every function here is part of a test")]

mod call;
mod fake;
mod limits;
mod names;
