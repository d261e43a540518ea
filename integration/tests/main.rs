//! The real binaries: what they promise, tried.

mod smoke;
