//! The OCI spec of a container, from its definition and the host.
