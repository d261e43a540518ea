//! Manifests, indexes and configs: parsed with limits, from untrusted bytes.
