//! What goes over the socket: messages and stubs, no logic.

/// The native API, spoken by `isula`.
pub mod isula {
    /// Version 1.
    pub mod v1 {
        tonic::include_proto!("isula.v1");
    }
}
