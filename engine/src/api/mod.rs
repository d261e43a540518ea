//! The doors: requests in, replies out. Nothing here decides anything about a container.

pub(crate) mod introspection;
pub(crate) mod native;
