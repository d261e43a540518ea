//! Messages and stubs of the protocols on the sockets, without logic.

#![forbid(unsafe_code)]

#[cfg(feature = "cri")]
pub mod runtime;

/// The largest message that is taken or sent, in bytes. The kubelet takes no larger one, and lists grow beyond the 4 MiB
/// at which gRPC stops by default.
pub const LARGEST_MESSAGE: usize = 16 << 20;

/// The native API, spoken by `isula`.
pub mod isula {
    /// Version 1.
    #[allow(clippy::all, clippy::unwrap_used, reason = "generated")]
    pub mod v1 {
        tonic::include_proto!("isula.v1");

        /// The descriptors of its files, for reflection.
        pub const DESCRIPTORS: &[u8] = tonic::include_file_descriptor_set!("isula.v1");

        /// The full names of its services.
        pub const SERVICES: &[&str] = include!(concat!(env!("OUT_DIR"), "/isula.v1.services.rs"));
    }
}
