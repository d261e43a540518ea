//! The client of registries: distribution over HTTP.
