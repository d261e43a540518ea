//! Messages and stubs of the protocols on the sockets, without logic.

#![forbid(unsafe_code)]

/// The native API, spoken by `isula`.
pub mod isula {
    /// Version 1.
    pub mod v1 {
        tonic::include_proto!("isula.v1");
    }
}

/// The Container Runtime Interface, spoken by the kubelet and crictl.
#[cfg(feature = "cri")]
pub mod runtime {
    /// Version 1: messages and services.
    pub mod v1 {
        tonic::include_proto!("runtime.v1");
    }

    /// The older name: services only, over the messages of version 1.
    pub mod v1alpha2 {
        tonic::include_proto!("runtime.v1alpha2");
    }
}
